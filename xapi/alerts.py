"""Messages of ours in the pool, where every tool that shows the pool shows them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from reconciler.paging import Page, Severity
from xapi.session import PoolSession
from xapi.transport import Unavailable

PRIORITIES: Mapping[Severity, int] = {
    Severity.CRITICAL: 2,
    Severity.WARNING: 3,
    Severity.UNKNOWN: 3,
    Severity.OK: 4,
}
"""XenAPI's: 2 is the loss of a service, 3 its degradation, 4 its recovery; 1 would be loss of data."""


async def tell(session: PoolSession, page: Page, within_s: float) -> str:
    """Leave a message about the pool itself, once; "" if it took it, else why it may not have."""
    priority = PRIORITIES[page.severity]
    try:
        async with asyncio.timeout(within_s):
            pool = (await session.login()).pool_uuid
            arguments = (page.title, priority, "Pool", pool, page.text)
            await session.call("message.create", *arguments)
    except TimeoutError:
        return f"the pool did not answer within {within_s:g} s"
    except Unavailable as failure:
        return failure.message
    return ""
