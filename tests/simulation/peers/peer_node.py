"""One node: what is durable on it, the daemons that live there now, and who is told what they do."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from membership.events import HandOver
from membership.ledger import Ledger
from membership.roster import Candidacy
from membership.view import View
from reconciler.edge.assembly import Assembly
from reconciler.edge.requests import Requests
from reconciler.messages import PoolObserved
from reconciler.paging import Page
from reconciler.records import Record
from simulator.site import LogEntry
from tests.simulation.peers.peer_channel import PeerDaemon
from tests.simulation.peers.peer_heart import Body, HeartDaemon
from tests.simulation.peers.peer_process import NodeClock, Stoppable


def now_s() -> float:
    """True time."""
    return asyncio.get_running_loop().time()


class Watching(Protocol):
    """What is told of everything that happens; see `peer_checkers`."""

    def journalled(self, node: PeerNode, record: Record) -> None: ...
    def called(self, entry: LogEntry) -> None: ...
    def pictured(self, node: PeerNode, seen: PoolObserved) -> None: ...
    def viewed(self, node: PeerNode, view: View) -> None: ...
    def said(self, node: PeerNode, data: bytes) -> None: ...
    def sent(self, node: PeerNode, method: str, subject: str) -> None: ...
    def paged(self, node: PeerNode, page: Page) -> None: ...


@dataclass
class PeerNode:
    """What outlives the daemons of one node, and the daemons that live now.

    `down_until_s`: nothing of it is started before. `reaches_pool`, `reaches_svn`: as its network is.
    `freeze_s` is how long its `cxmd` will be stopped between its next look at the lease and its call.
    While it is `hung` its machine stands still, and nothing on it goes on.
    """

    name: str
    folder: Path
    clock: NodeClock
    body: Body
    kept: int | None = None
    trees: set[int] = field(default_factory=set)
    records: list[Record] = field(default_factory=list)
    lives: int = 0
    down_until_s: float = 0.0
    reaches_pool: bool = True
    reaches_svn: bool = True
    freeze_s: float = 0.0
    hung: bool = False
    process: Stoppable = field(default_factory=Stoppable)
    heart: HeartDaemon | None = None
    heart_died: asyncio.Event = field(default_factory=asyncio.Event)
    parts: Assembly | None = None
    requests: Requests | None = None
    daemon: PeerDaemon | None = None
    view: View | None = None
    runs_since_s: float = 0.0
    beats_since_s: float = 0.0
    silent_since_s: float | None = 0.0
    candid_s: float = 0.0
    asleep_since_s: float | None = None

    # --- stopped, and going on --------------------------------------------------------------------

    def stop_heart(self) -> None:
        if self.heart_runs and self.heart is not None:
            self.heart.stop()
            self.silent_since_s = now_s()

    def fall_asleep(self) -> None:
        """The machine is suspended: whichever of its daemons goes on first, it is awake by then."""
        if self.asleep_since_s is None:
            self.asleep_since_s = now_s()
            self.stop_heart()
            self.process.stop()

    def wake(self) -> None:
        since_s, self.asleep_since_s = self.asleep_since_s, None
        if since_s is not None:
            self.clock.slept(now_s() - since_s)
            self.go_on_heart()
            self.go_on()

    def go_on_heart(self) -> None:
        self.wake()
        if self.hung:
            return
        if self.heart is not None and self.heart.alive and self.heart.stopped:
            self.silent_since_s, self.beats_since_s = None, now_s()
            self.heart.go_on()

    def go_on(self) -> None:
        self.wake()
        if self.process.stopped and not self.hung:
            self.runs_since_s = now_s()
            self.process.go_on()

    @property
    def heart_runs(self) -> bool:
        return self.heart is not None and self.heart.alive and not self.heart.stopped

    @property
    def runs(self) -> bool:
        """Whether its `cxmd` is there and not stopped."""
        return self.process.alive and not self.process.stopped and self.parts is not None

    @property
    def ledger(self) -> Ledger:
        """All that is durable on it; empty while its daemon is down."""
        return self.parts.ledger if self.parts is not None else Ledger()

    def to_heart(self, said: Candidacy | str) -> None:
        if self.heart is not None:
            self.candid_s = now_s() if isinstance(said, Candidacy) else self.candid_s
            event = HandOver(to=said) if isinstance(said, str) else said
            self.heart.asked(event)
