"""What a member takes itself for: master, slave of which one, or neither."""

from __future__ import annotations

from reconciler.members import Role, Said
from xapi.address import parse_address, sibling
from xapi.probe import PROBING
from xapi.session import REFUSED, PoolSession
from xapi.transport import FailureKind, TransportFailure, Unavailable, XapiFailure

EMERGENCY = frozenset(
    {
        "HOST_HAS_NO_MANAGEMENT_IP",
        "HOST_MASTER_CANNOT_TALK_BACK",
        "HOST_UNKNOWN_TO_MASTER",
        "HOST_ITS_OWN_SLAVE",
        "HOST_BROKEN",
        "HOST_XAPI_VERSION_HIGHER_THAN_COORDINATOR",
        "INTERNAL_ERROR",
    }
)
"""What a toolstack in emergency mode answers to everybody: why it did not get to its master."""

_NO_TOOLSTACK = frozenset(
    {FailureKind.REFUSED, FailureKind.NO_HOST, FailureKind.TIMEOUT, FailureKind.RESET}
)
"""Whoever else may be there: no toolstack that is the pool's master now."""


async def role(session: PoolSession, address: str, within_s: float) -> Said:
    """What the member at `address` (without a port: the pool's) answers to a login. Never raises for
    what it can do. It needs no master for that, and a slave names the one at which it started."""
    if session.refused:
        return Said(role=Role.UNKNOWN, message="the pool refused our password a moment ago")
    try:
        parse_address(address)
        asked = sibling(session.addresses[0], address)
    except ValueError as error:
        return Said(role=Role.UNKNOWN, message=str(error))
    try:
        ref = await session.enter(asked, PROBING, within_s)
    except XapiFailure as failure:
        return _refusal(failure)
    except TransportFailure as failure:
        silent = failure.kind in _NO_TOOLSTACK
        return Said(role=Role.SILENT if silent else Role.UNKNOWN, message=failure.message)
    except Unavailable as failure:
        return Said(role=Role.UNKNOWN, message=failure.message)
    session.leave_later(asked, ref)
    return Said(role=Role.MASTER)


def _refusal(failure: XapiFailure) -> Said:
    if failure.code == "HOST_IS_SLAVE" and failure.params:
        return Said(role=Role.SLAVE, follows=str(failure.params[0]))
    if failure.code == "HOST_STILL_BOOTING":
        return Said(role=Role.BOOTING, message=failure.message)
    if failure.code in EMERGENCY:
        return Said(role=Role.ALONE, message=failure.message)
    if failure.code in REFUSED:
        # A slave sends everybody away before it looks at a password.
        return Said(role=Role.MASTER, message=failure.message)
    return Said(role=Role.UNKNOWN, message=failure.message)
