"""Claims of terms, as the pool keeps them: `cxm-term-N` in its other_config, a key for each term.

Adding a key that exists fails, and nothing else in XenAPI is a test-and-set for all nodes at once. A
claim whose answer was lost is read back: the mark says whose it is.
"""

from __future__ import annotations

import asyncio
import logging

from reconciler.messages import TermClaimed
from xapi.building import TERM_KEY, terms_of
from xapi.session import PoolSession
from xapi.transport import FailureKind, TransportFailure, Unavailable, XapiFailure

KEPT = 3
"""Claims that stay in the pool. The highest alone counts; the others are for people."""

TIDY_S = 3.0

_log = logging.getLogger("cxm.xapi")


async def claim(session: PoolSession, term: int, mark: str, within_s: float) -> TermClaimed:
    """Claim `term` for whoever `mark` names, its first word being the node. `won` means that the pool
    showed it afterwards, with no higher term beside it; `unsure` that it may have been claimed."""
    try:
        async with asyncio.timeout(within_s):
            answer = await _claimed(session, term, mark)
    except TimeoutError:
        text = f"the pool did not answer within {within_s:g} s"
        return TermClaimed(term=term, result="unsure", message=text)
    except Unavailable as failure:
        return TermClaimed(term=term, result="unsure", message=failure.message)
    if answer.result == "won":
        await _tidy(session)
    return answer


async def _claimed(session: PoolSession, term: int, mark: str) -> TermClaimed:
    terms = await _terms(session)
    if max(terms, default=0) < term:
        await _add(session, term, mark)
        terms = await _terms(session)
    return _judged(terms, term, mark)


async def _add(session: PoolSession, term: int, mark: str) -> None:
    pool = (await session.login()).pool_ref
    try:
        await session.call("pool.add_to_other_config", pool, f"{TERM_KEY}{term}", mark)
    except XapiFailure as failure:
        if failure.code != "MAP_DUPLICATE_KEY":
            raise
    except TransportFailure as failure:
        if not failure.sent:
            raise
        _log.info("the answer to a claim was lost: %s", failure.message)


def _judged(terms: dict[int, str], term: int, mark: str) -> TermClaimed:
    highest = max(terms, default=0)
    before = max((other for other in terms if other != term), default=0)
    if highest > term:
        holder = terms[highest].partition(" ")[0]
        text = f"the pool knows term {highest}, of {holder or 'nobody who is named'}"
        return TermClaimed(
            term=term, result="lost", holder=holder, highest=highest, before=before, message=text
        )
    if term not in terms:
        text = "the pool took the claim and does not show it"
        return TermClaimed(term=term, result="unsure", before=before, message=text)
    holder = terms[term].partition(" ")[0]
    if terms[term] == mark:
        return TermClaimed(term=term, result="won", holder=holder, highest=term, before=before)
    text = f"term {term} is {holder}'s in the pool"
    return TermClaimed(
        term=term, result="lost", holder=holder, highest=term, before=before, message=text
    )


async def _terms(session: PoolSession) -> dict[int, str]:
    login = await session.login()
    config = await session.call("pool.get_other_config", login.pool_ref)
    if not isinstance(config, dict):
        text = f"{login.address}: pool.get_other_config: no map"
        raise TransportFailure(FailureKind.HTTP, text, sent=True)
    return terms_of({key: str(value) for key, value in config.items()})


async def _tidy(session: PoolSession) -> None:
    """Remove claims that are long over. Whatever goes wrong here, the next claim tries again."""
    try:
        async with asyncio.timeout(TIDY_S):
            pool = (await session.login()).pool_ref
            for old in sorted(await _terms(session), reverse=True)[KEPT:]:
                await session.call("pool.remove_from_other_config", pool, f"{TERM_KEY}{old}")
    except (TimeoutError, Unavailable) as failure:
        _log.info("old claims of terms are left: %s", failure)
