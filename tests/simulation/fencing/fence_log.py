"""What a story tells: power, decisions, and the calls that follow from them; nothing in between."""

from __future__ import annotations

import asyncio

from reconciler.paging import Page
from reconciler.records import Drilled, Excepted, Fenced, Noticed, Record, Recovered, TookOver
from simulator.site import LogEntry
from tests.simulation.checkers import BESIDE
from tests.simulation.estate import VM_HOMES
from tests.simulation.fencing.fence_site import FenceChecker, FenceSite
from tests.simulation.peers.peer_checkers import is_ours, node_of
from tests.simulation.peers.peer_node import PeerNode

QUIET = ("host.compute", "pool.sync_database")


class FenceLog(FenceChecker):
    """`lines` are in seconds since the story began, rounded."""

    def __init__(self, site: FenceSite, began_s: float) -> None:
        super().__init__(site)
        self._began_s = began_s
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        at_s = asyncio.get_running_loop().time() - self._began_s
        if at_s >= 0.0:
            self.lines.append(f"{at_s:6.0f}  {text}")

    def power_lost(self, host: str) -> None:
        self.say(f"{host} loses its power")

    def switched_off(self, node: PeerNode, victim: str) -> None:
        self.say(f"{node.name} tells a device to switch off {victim}")

    def paged(self, node: PeerNode, page: Page) -> None:
        self.say(f"{node.name} tells people: {page.title}")

    def called(self, entry: LogEntry) -> None:
        if entry.cls in BESIDE or entry.method in QUIET:
            return
        who = node_of(entry) if is_ours(entry) else "somebody"
        self.say(f"{who} calls {entry.method} of {entry.name}")

    def journalled(self, node: PeerNode, record: Record) -> None:
        match record.entry:
            case TookOver(term=term):
                self.say(f"{node.name} leads and acts in term {term}")
            case Fenced(node=victim, stage=stage, message=message):
                self.say(f"{node.name}: fencing of {victim} {stage}: {message}")
            case Drilled(node=tried, stage=stage, message=message):
                self.say(f"{node.name}: live drill of {tried} {stage}: {message}")
            case Recovered(vm=vm, node=where, died_with=died_with):
                name = self.site.scene.name_of(vm)
                self.say(f"{node.name}: {name}, which died with {died_with}, runs on {where}")
            case Excepted(object=name, message=message):
                self.say(f"{node.name}: {name} {message}")
            case Noticed(object=name, reason=reason, message=message) if self._leads(node):
                self.say(f"{node.name}: {name} {reason}: {message}")

    def _leads(self, node: PeerNode) -> bool:
        return node.view is not None and node.view.leader == node.name

    def end(self) -> None:
        """Where everything runs."""
        for name in VM_HOMES:
            hosts = self.site.world.running_on(name).hosts
            self.lines.append(f"   end  {name}: {', '.join(hosts) or 'nowhere'}")
