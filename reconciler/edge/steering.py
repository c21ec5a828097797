"""The one loop in which the reconciler lives: an event in, its effects out, the next deadline kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from membership.clock import Now
from membership.edge.supervision import Supervisor
from membership.roster import Candidacy
from reconciler.edge.clock import DaemonClock
from reconciler.edge.converge import Converge
from reconciler.edge.inbox import Inbox, Question
from reconciler.messages import Ask, Effect, Event, Reply, Tick
from reconciler.status import Status
from reconciler.whatif import WhatIf
from reconciler.why import Why


class Core(Protocol):
    """The reconciler's surface."""

    def start(self, now: Now) -> list[Effect]: ...
    def handle(self, event: Event, now: Now) -> list[Effect]: ...
    def ask(self, ask: Ask, now: Now) -> tuple[Reply, list[Effect]]: ...
    def deadline(self) -> float | None: ...
    def candidacy(self) -> Candidacy: ...
    def status(self, now: Now) -> Status: ...
    def why(self, obj: str, now: Now) -> Why: ...
    def what_if(self, down: Sequence[str], now: Now) -> WhatIf | Reply: ...


class Steering:
    """Everything that touches the core happens in `run`, one after the other. What fails there ends
    the daemon: a core that is half way through a step has no state to go on from."""

    def __init__(
        self,
        core: Core,
        converge: Converge,
        inbox: Inbox,
        clock: DaemonClock,
        supervisor: Supervisor,
    ) -> None:
        self._core = core
        self._converge = converge
        self._inbox = inbox
        self._clock = clock
        self._supervisor = supervisor

    async def run(self) -> None:
        self._carry_out(self._core.start(self._clock.now()))
        while True:
            item = await self._inbox.take(self._patience_s())
            self._supervisor.tell("WATCHDOG=1")
            if isinstance(item, Question):
                item.put()
            elif item is not None:
                self._carry_out(self._core.handle(item, self._clock.now()))
            elif self._due():
                self._carry_out(self._core.handle(Tick(), self._clock.now()))

    # --- what the control socket asks ----------------------------------------------------------

    async def status(self) -> Status:
        return await self._inbox.ask(lambda: self._core.status(self._clock.now()))

    async def why(self, obj: str) -> Why:
        return await self._inbox.ask(lambda: self._core.why(obj, self._clock.now()))

    async def what_if(self, down: Sequence[str]) -> WhatIf | Reply:
        return await self._inbox.ask(lambda: self._core.what_if(down, self._clock.now()))

    async def candidacy(self) -> Candidacy:
        """What the heartbeats are told. That it is answered proves that the reconciler goes on."""
        return await self._inbox.ask(self._core.candidacy)

    async def request(self, ask: Ask) -> Reply:
        """What is accepted is durable before it is answered."""
        return await self._inbox.ask(lambda: self._requested(ask))

    def _requested(self, ask: Ask) -> Reply:
        reply, effects = self._core.ask(ask, self._clock.now())
        self._carry_out(effects)
        return reply

    def _carry_out(self, effects: Sequence[Effect]) -> None:
        self._converge.carry_out(effects)

    def _due(self) -> bool:
        deadline_s = self._core.deadline()
        return deadline_s is not None and self._clock.seconds_until(deadline_s) == 0.0

    def _patience_s(self) -> float | None:
        deadline_s = self._core.deadline()
        watchdog_s = self._supervisor.watchdog_s
        waits = [] if deadline_s is None else [self._clock.seconds_until(deadline_s)]
        waits += [] if watchdog_s is None else [watchdog_s / 2]
        return min(waits, default=None)
