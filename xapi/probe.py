"""Whether a host's own toolstack answers: the one sign of a server that does not come from its daemon."""

from __future__ import annotations

from xapi.address import parse_address, sibling
from xapi.session import PoolSession
from xapi.transport import FailureKind, TransportFailure, XapiFailure

PROBING = "probe"

SILENT = frozenset({FailureKind.NO_HOST, FailureKind.TIMEOUT})
"""Nobody is there, or nobody who answers. Anything else came from somebody: a connection is refused or
cut by a kernel that lives, as while its toolstack restarts."""


async def probe(session: PoolSession, address: str, within_s: float) -> bool | None:
    """True where XenAPI itself answers at `address` (without a port: the pool's), be it with a refusal;
    False where nothing does; None where that cannot be told, as where a connection is refused.

    A login is what any member answers at once, also one whose master is dead. No certificate that is
    not trusted gets to see the password. A master says only after seconds that it is wrong, so while
    it is known to be wrong nobody is asked: late would look like silent.
    """
    if session.refused:
        return None
    try:
        parse_address(address)
        asked = sibling(session.addresses[0], address)
    except ValueError:
        return None
    try:
        ref = await session.enter(asked, PROBING, within_s)
    except XapiFailure:
        return True
    except TransportFailure as failure:
        return False if failure.kind in SILENT else None
    session.leave_later(asked, ref)
    return True
