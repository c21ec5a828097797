"""Engines beside the built-in one, loaded only where the roster asks for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from membership.edge import log
from membership.edge.clock import boot_s
from membership.edge.node_settings import NodeSettings
from membership.roster import Roster
from membership.view import Standing


class Engine(Protocol):
    """Who may act, by somebody else's word."""

    def stand(self, wants: bool, floor: int) -> None: ...
    def hand_over(self, to: str | None) -> None: ...
    async def leave(self) -> None: ...


class Running:
    """An engine and the task in which it runs. A failure of it ends the daemon."""

    def __init__(self, engine: Engine, task: asyncio.Task[None]) -> None:
        self.engine = engine
        self._task = task
        task.add_done_callback(_unless_cancelled)

    def close(self) -> None:
        """At once; what it holds ends by itself."""
        self._task.cancel()


def start(
    settings: NodeSettings, roster: Roster, grant: Callable[[Standing], None]
) -> Running | None:
    """The engine that the roster names; None where the heart itself is the engine."""
    if roster.engine != "etcd":
        return None
    from membership.edge.etcd import EtcdEngine  # noqa: PLC0415 - ssl and http, for those who need it

    engine = EtcdEngine(
        settings.engine,
        roster.cluster_id,
        roster.me,
        roster.timing,
        grant,
        boot_s,
        lambda text: log.warning("etcd", message=text),
    )
    return Running(engine, asyncio.get_running_loop().create_task(engine.run()))


def _unless_cancelled(task: asyncio.Task[None]) -> None:
    """Raised in a callback, an exception reaches the loop's handler, which ends the daemon."""
    if not task.cancelled():
        task.result()
