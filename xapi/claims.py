"""Claims of terms, as the pool keeps them: `cxm-term-N` in its other_config, a key for each term.

Adding a key that exists fails, and nothing else in XenAPI is a test-and-set for all nodes at once. A
claim whose answer was lost is read back: the mark says whose it is. Who leads alone in its term says so
by `cxm-alone-N.COUNT`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from msgspec.structs import replace

from reconciler.messages import TermClaimed
from xapi.building import ALONE_KEY, TERM_KEY, alone_of, terms_of
from xapi.session import PoolSession
from xapi.transport import FailureKind, TransportFailure, Unavailable, XapiFailure

KEPT = 3
"""Claims that stay in the pool. The highest alone counts; the others are for people."""

TIDY_S = 3.0

_log = logging.getLogger("cxm.xapi")


async def claim(
    session: PoolSession, term: int, alone: int, mark: str, within_s: float
) -> TermClaimed:
    """Claim `term` for whoever `mark` names, its first word being the node, and say that it has led alone
    in it `alone` times. `won` means that the pool showed it afterwards, with no higher term beside it;
    `unsure` that it may have been claimed."""
    try:
        async with asyncio.timeout(within_s):
            answer = replace(await _claimed(session, term, alone, mark), alone=alone)
    except TimeoutError:
        text = f"the pool did not answer within {within_s:g} s"
        return TermClaimed(term=term, result="unsure", alone=alone, message=text)
    except Unavailable as failure:
        return TermClaimed(term=term, result="unsure", alone=alone, message=failure.message)
    if answer.result == "won":
        await _tidy(session)
    return answer


async def _claimed(session: PoolSession, term: int, alone: int, mark: str) -> TermClaimed:
    config = await _config(session)
    if max(terms_of(config), default=0) < term:
        config = await _added(session, f"{TERM_KEY}{term}", mark)
    said = f"{ALONE_KEY}{term}.{alone}"
    if alone and terms_of(config).get(term) == mark and said not in config:
        config = await _added(session, said, mark)
    before, by = _before(config, term)
    answer = replace(_judged(terms_of(config), term, mark), before=before, before_by=by)
    if answer.result == "won" and alone and said not in config:
        text = "the pool took it that this node leads alone, and does not show it"
        return replace(answer, result="unsure", message=text)
    return answer


async def _added(session: PoolSession, key: str, mark: str) -> dict[str, str]:
    """What the pool shows once it was asked to take this key."""
    pool = (await session.login()).pool_ref
    try:
        await session.call("pool.add_to_other_config", pool, key, mark)
    except XapiFailure as failure:
        if failure.code != "MAP_DUPLICATE_KEY":
            raise
    except TransportFailure as failure:
        if not failure.sent:
            raise
        _log.info("the answer to a claim was lost: %s", failure.message)
    return await _config(session)


def _judged(terms: dict[int, str], term: int, mark: str) -> TermClaimed:
    highest = max(terms, default=0)
    if highest > term:
        holder = terms[highest].partition(" ")[0]
        text = f"the pool knows term {highest}, of {holder or 'nobody who is named'}"
        return TermClaimed(term=term, result="lost", holder=holder, highest=highest, message=text)
    if term not in terms:
        text = "the pool took the claim and does not show it"
        return TermClaimed(term=term, result="unsure", message=text)
    holder = terms[term].partition(" ")[0]
    if terms[term] == mark:
        return TermClaimed(term=term, result="won", holder=holder, highest=term)
    text = f"term {term} is {holder}'s in the pool"
    return TermClaimed(term=term, result="lost", holder=holder, highest=term, message=text)


def _before(config: Mapping[str, str], term: int) -> tuple[tuple[int, int], str]:
    """The last reign of another term than this one, and the mark of who led alone in it."""
    last = max((known for known in terms_of(config) if known != term), default=0)
    alone = {count: by for (at, count), by in alone_of(config).items() if at == last}
    count = max(alone, default=0)
    return (last, count), alone.get(count, "")


async def _config(session: PoolSession) -> dict[str, str]:
    login = await session.login()
    config = await session.call("pool.get_other_config", login.pool_ref)
    if not isinstance(config, dict):
        text = f"{login.address}: pool.get_other_config: no map"
        raise TransportFailure(FailureKind.HTTP, text, sent=True)
    return {key: str(value) for key, value in config.items()}


async def _tidy(session: PoolSession) -> None:
    """Remove claims that are long over. Whatever goes wrong here, the next claim tries again."""
    try:
        async with asyncio.timeout(TIDY_S):
            pool = (await session.login()).pool_ref
            config = await _config(session)
            old = [f"{TERM_KEY}{term}" for term in sorted(terms_of(config), reverse=True)[KEPT:]]
            past = sorted(alone_of(config), reverse=True)[1:]
            for key in (*old, *(f"{ALONE_KEY}{term}.{count}" for term, count in past)):
                await session.call("pool.remove_from_other_config", pool, key)
    except (TimeoutError, Unavailable) as failure:
        _log.info("old claims of terms are left: %s", failure)
