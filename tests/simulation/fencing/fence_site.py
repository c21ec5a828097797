"""A site whose nodes live on the very servers of the pool, and die with them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.ports import Devices
from simulator.world import World
from tests.simulation.estate import HOSTS, Wish, make_world
from tests.simulation.fencing.fence_devices import OwnDevices
from tests.simulation.peers.peer_checkers import PeerChecker
from tests.simulation.peers.peer_node import PeerNode
from tests.simulation.peers.peer_site import PeerSite
from tests.simulation.world_devices import WorldDevices

MASTER = HOSTS[0]
LOOK_S = 0.5
AGENT = "fencing: {agent: fence_ipmilan, credentialsRef: bmc, options: {lanplus: '1'}}\n"


@dataclass(frozen=True)
class Layout:
    """What differs between two sites. `feeds`: what the controller of a host lives on, where it is not
    its own supply; `outlets` the distribution units that a host hangs on. `cluster`, `nodes` and `vms`
    are lines for these files, `files` whole other ones; a node with a line `fencing:` has no controller
    of its own in the tree."""

    nodes_with_daemons: int = 3
    disk: bool = False
    mode: str = "auto"
    feeds: Mapping[str, str] = field(default_factory=dict)
    outlets: Mapping[str, Sequence[str]] = field(default_factory=dict)
    cluster: str = ""
    nodes: Mapping[str, str] = field(default_factory=dict)
    vms: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


class FenceChecker(PeerChecker):
    """Told of more; says nothing by itself."""

    site: FenceSite

    def power_lost(self, host: str) -> None:
        """This server has lost its power, a moment ago."""

    def switched_off(self, node: PeerNode, victim: str) -> None:
        """This node is about to tell a device to switch off the server of that one."""

    def looks(self) -> None:
        """Twice a second."""


class FenceSite(PeerSite):
    """Each node has a controller, and its daemons run only while its server has power and is up."""

    def __init__(self, seed: int, folder: Path, layout: Layout) -> None:
        self._layout = layout
        super().__init__(seed, folder, layout.nodes_with_daemons, disk=layout.disk)
        self.fence_checkers: Sequence[FenceChecker] = ()
        self._devices = WorldDevices(self.world)
        self._abroad = copy_context()
        self._booting: set[str] = set()
        self._boots = dict.fromkeys(HOSTS, 0)

    def new_world(self, seed: int) -> World:
        return make_world(seed, self._layout.feeds, self._layout.outlets)

    # --- the tree -------------------------------------------------------------------------------

    def tree_of(self, wish: Wish) -> dict[str, bytes]:
        layout = self._layout
        texts = {path: text.decode() for path, text in super().tree_of(wish).items()}
        mode = texts["cluster.yaml"].replace("mode: auto", f"mode: {layout.mode}")
        texts["cluster.yaml"] = mode + AGENT + layout.cluster
        for number, name in enumerate(HOSTS, start=1):
            path, more = f"nodes/{name}.yaml", layout.nodes.get(name, "")
            own = "" if "fencing:" in more else f"bmc: 127.89.0.{number}\n"
            texts[path] = texts[path].replace("unfenced: accepted\n", own) + more
        for name, more in layout.vms.items():
            texts[f"vms/{name}.yaml"] += more
        texts.update(layout.files)
        return {path: text.encode() for path, text in texts.items()}

    def commit(self, wish: Wish, message: str = "a wish") -> int:
        """Raises AssertionError where the layout makes a tree that is none."""
        revision = super().commit(wish, message)
        errors = self.repository.commits[revision - 1].loaded.errors
        assert errors == (), errors
        return revision

    # --- servers --------------------------------------------------------------------------------

    def server_up(self, name: str) -> bool:
        """Whether the server runs, so that its service VM does, too."""
        return name not in HOSTS or (self.has_power(name) and name not in self._booting)

    def has_power(self, host: str) -> bool:
        return self.world.site.machines[host].powered

    def open(self) -> None:
        super().open()
        self._services.append(asyncio.create_task(self._follow_servers()))
        self._services.append(asyncio.create_task(self._look_on()))

    async def _follow_servers(self) -> None:
        """Whoever switched a server off, the daemons on it are gone with it; and whatever stands still
        stands still with it."""
        while True:
            for host in HOSTS:
                self._follow(host)
            await self.world.changed()

    def _follow(self, host: str) -> None:
        machine, node = self.world.site.machines[host], self.nodes.get(host)
        if machine.boots != self._boots[host]:
            self._boots[host] = machine.boots
            self._booting.add(host)
            for checker in self.fence_checkers:
                checker.power_lost(host)
            if node is not None:
                node.body.boots += 1
                self._die(node)
        if machine.up:
            self._booting.discard(host)
        if node is not None:
            self._stand_still(node, self.world.site.machines.hung(machine))

    def _stand_still(self, node: PeerNode, hung: bool) -> None:
        if hung and not node.hung:
            node.stop_heart()
            node.process.stop()
            node.hung = True
        elif node.hung and not hung:
            node.hung = False
            node.go_on_heart()
            node.go_on()

    async def _look_on(self) -> None:
        while True:
            for checker in self.fence_checkers:
                checker.looks()
            await asyncio.sleep(LOOK_S)

    def _die(self, node: PeerNode) -> None:
        if node.heart is not None and node.heart.alive:
            node.heart.die()
        if node.process.alive:
            node.process.die()

    async def _until_up(self, node: PeerNode) -> None:
        """It is the server's own toolstack that starts the machine in which the daemons run."""
        await super()._until_up(node)
        while not self._booted(node.name) or node.hung:
            await asyncio.sleep(LOOK_S)

    def _booted(self, name: str) -> bool:
        return name not in HOSTS or self.world.site.machines[name].up

    # --- devices --------------------------------------------------------------------------------

    def devices_of(self, node: PeerNode) -> Devices:
        def sent(victim: str) -> None:
            for checker in self.fence_checkers:
                checker.switched_off(node, victim)

        return OwnDevices(self._devices, node.process, self._abroad, sent)
