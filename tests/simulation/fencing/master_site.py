"""A site whose pool's master dies: servers that stand still, and what strikes amid a promotion."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from membership.ledger import Hold
from membership.proofs import Certificate, Promotion
from membership.view import View
from reconciler.messages import AskHandOver, AskRelease, PoolObserved
from reconciler.paging import Page
from reconciler.records import Fenced, Intended, Promoted, Record, TookOver
from simulator.site import LogEntry
from tests.simulation.estate import VM_HOMES
from tests.simulation.fencing.fence_site import FenceSite, Layout
from tests.simulation.peers.peer_node import PeerNode

Blow = Callable[[PeerNode], None]
V = TypeVar("V", Promotion, Certificate)

MASTER = "xen1"
LOST = sorted(vm for vm, home in VM_HOMES.items() if home == MASTER)
TRANSITION = "pool.emergency_transition_to_master"
GATHER = "pool.recover_slaves"
COPY = "pool.sync_database"


class Watch:
    """Sees every promotion, and strikes once at the step of the name `at` whoever takes it."""

    def __init__(self, site: MasterSite) -> None:
        self.site = site
        self.at = ""
        self.blow: Blow | None = None
        self.struck: list[str] = []
        self.ordered: list[str] = []
        self.copied_s: list[float] = []
        self.pages: list[Page] = []

    def journalled(self, node: PeerNode, record: Record) -> None:
        match record.entry:
            case Promoted(stage=stage):
                self._step(stage, node)
            case TookOver() if self.ordered:
                self._step("took-over", node)
            case Intended(action=action) if node is self.site.leader:
                self._step(str(action.verb), node)
            case Fenced(stage="proven"):
                self._step("proven", node)

    def called(self, entry: LogEntry) -> None:
        if entry.method == TRANSITION:
            self._judge(entry.host)
        if entry.method == COPY:
            self.copied_s.append(asyncio.get_running_loop().time())
        leader = self.site.leader
        if leader is not None and entry.method in (TRANSITION, GATHER):
            self._step(entry.method, leader)

    def _judge(self, host: str) -> None:
        """No other server that lives is master, and the last one that was told so is dead."""
        site = self.site.world.site
        others = [m.name for m in site.masters if m.name != host and m.powered]
        if others:
            self.site.scene.blame(f"{host} is made master, and {others} live as such")
        last = self.ordered[-1] if self.ordered else host
        if last != host and site.machines[last].powered:
            self.site.scene.blame(f"{host} is made master after {last}, which lives")
        self.ordered.append(host)

    def _step(self, name: str, node: PeerNode) -> None:
        if name == self.at and self.blow is not None and not self.struck:
            self.struck.append(node.name)
            self.blow(node)

    def pictured(self, node: PeerNode, seen: PoolObserved) -> None:
        del node, seen

    def viewed(self, node: PeerNode, view: View) -> None:
        del node, view

    def said(self, node: PeerNode, data: bytes) -> None:
        del node, data

    def sent(self, node: PeerNode, method: str, subject: str) -> None:
        del node, method, subject

    def paged(self, node: PeerNode, page: Page) -> None:
        del node
        self.pages.append(page)


class MasterSite(FenceSite):
    def __init__(self, seed: int, folder: Path, count: int, *, disk: bool) -> None:
        super().__init__(seed, folder, Layout(nodes_with_daemons=count, disk=disk))
        self.watch = Watch(self)
        self.watching = [self.watch]

    # --- servers --------------------------------------------------------------------------------

    def hang(self, name: str, for_s: float) -> None:
        """The whole server stands still, its daemons with it."""
        node = self.nodes[name]
        node.stop_heart()
        node.process.stop()
        self.world.faults.start("hang", for_s, host=name)
        asyncio.get_running_loop().call_later(for_s, self._goes_on, node)

    def _goes_on(self, node: PeerNode) -> None:
        node.go_on_heart()
        node.go_on()

    def isolate(self, name: str, for_s: float) -> None:
        """Nothing of a server's management reaches anybody: heartbeats, daemons, toolstack. It lives."""
        self.world.faults.start("net-cut", for_s, host=name)
        cut = {link for link in self.links if name in (link[0], link[1])}
        self.net.sever(cut)
        self.nodes[name].reaches_pool = False
        asyncio.get_running_loop().call_later(for_s, self._heals, name, cut)

    def _heals(self, name: str, cut: set[tuple[str, str, int]]) -> None:
        self.net.join(cut)
        self.nodes[name].reaches_pool = True

    # --- what is so -----------------------------------------------------------------------------

    @property
    def masters(self) -> list[str]:
        """The servers that take themselves for master, of those that have power."""
        return [machine.name for machine in self.world.site.masters if machine.powered]

    def promotion(self) -> Promotion | None:
        """What the ledgers say of the last one."""
        return self._latest("promotion", Promotion)

    def certificate(self, node: str) -> Certificate | None:
        return self._latest(f"certificate/{node}", Certificate)

    def _latest(self, key: str, kind: type[V]) -> V | None:
        facts = [n.ledger.facts[key] for n in self.nodes.values() if key in n.ledger.facts]
        found = max(facts, key=lambda fact: (fact.term, fact.seq), default=None)
        return found.value if found is not None and isinstance(found.value, kind) else None

    @property
    def holds(self) -> dict[str, Hold]:
        return {hold.id: hold for node in self.nodes.values() for hold in node.ledger.holds}

    def home(self, vm: str) -> tuple[str, ...]:
        return self.world.running_on(vm).hosts

    async def until(self, so: Callable[[], bool], within_s: float) -> float:
        """Seconds until it is so."""
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        while loop.time() < begun_s + within_s:
            if so():
                return loop.time() - begun_s
            await asyncio.sleep(1.0)
        raise AssertionError(f"not within {within_s:.0f} s: {self.masters}, {self.promotion()}")

    async def all_back(self, within_s: float) -> float:
        """Seconds until everything that is wished for runs, once each."""
        return await self.until(
            lambda: all(len(self.home(vm)) == 1 for vm, home in VM_HOMES.items() if home), within_s
        )

    # --- people -----------------------------------------------------------------------------------

    async def lead_by(self, name: str) -> None:
        """Have this node lead."""
        leader = self.leader
        if leader is not None and leader.name != name:
            await self.request_at(leader, AskHandOver(to=name, by="anna"))
        await self.until(lambda: self.leader is self.nodes[name], 60.0)
        await asyncio.sleep(15.0)

    async def release(self, hold: str) -> None:
        await self.ask(AskRelease(id=hold, by="anna"))
