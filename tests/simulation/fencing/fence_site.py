"""A site whose nodes live on the very servers of the pool, and die with them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.simulation.estate import HOSTS, Wish
from tests.simulation.peers.peer_node import PeerNode
from tests.simulation.peers.peer_site import PeerSite

AGENT = "fencing: {agent: fence_ipmilan, credentialsRef: bmc, options: {lanplus: '1'}}\n"


class FenceSite(PeerSite):
    """Each node has a controller, and its daemons run only while its server has power and is up."""

    def __init__(self, seed: int, folder: Path, count: int, *, disk: bool) -> None:
        super().__init__(seed, folder, count, disk=disk)
        self.mode = "auto"

    def tree_of(self, wish: Wish) -> dict[str, bytes]:
        files = super().tree_of(wish)
        files["cluster.yaml"] = (
            files["cluster.yaml"].decode().replace("mode: auto", f"mode: {self.mode}") + AGENT
        ).encode()
        for number, name in enumerate(sorted(path for path in files if "nodes/" in path), start=1):
            text = files[name].decode()
            bmc = f"bmc: 127.89.0.{number}"
            files[name] = text.replace("unfenced: accepted", bmc).encode()
        return files

    # --- servers --------------------------------------------------------------------------------

    def server_up(self, name: str) -> bool:
        """Whether the server runs, so that its service VM does, too."""
        return name not in HOSTS or self.world.site.machines[name].powered

    def open(self) -> None:
        super().open()
        self._services.append(asyncio.create_task(self._die_with_servers()))

    async def _die_with_servers(self) -> None:
        """Whoever switched a server off, the daemons on it are gone with it."""
        while True:
            for node in self.nodes.values():
                if not self.server_up(node.name):
                    self._die(node)
            await self.world.changed()

    def _die(self, node: PeerNode) -> None:
        if node.heart is not None and node.heart.alive:
            node.heart.die()
        if node.process.alive:
            node.process.die()

    async def _until_up(self, node: PeerNode) -> None:
        await super()._until_up(node)
        while not self.server_up(node.name):
            await self.world.changed()
