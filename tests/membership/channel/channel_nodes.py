"""Nodes that have nothing but the peer channel: real TLS over loopback, a ledger in memory."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from membership.edge.exchange import Exchange
from membership.edge.identity import Identity
from membership.edge.peer_server import PeerServer
from membership.ledger import Drain, Fact, Ledger
from membership.roster import Door, Member, Roster
from membership.view import Peer, PeerState, View

CLUSTER = "0f2a9a1e-6b0c-4a53-9f5e-2f6a7f1f7f01"
KEY = b"first-key-of-the-cluster-32-chars-or-more"


def fact(number: int, *, term: int = 1, key: str = "drain", reason: str = "") -> Fact:
    value = Drain(node=f"n{number}", until_epoch_s=None, reason=reason, by="alice")
    return Fact(key=f"{key}/n{number}", term=term, seq=number, at_epoch_s=0.0, value=value)


def free_door() -> Door:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        host, port = door.getsockname()
        return str(host), int(port)


class ChannelNode:
    """Fills `Host`. `broken`: what the ledger's file raises; `trees` by (revision, digest)."""

    def __init__(
        self, name: str, keys: Sequence[bytes] = (KEY,), cluster_id: str = CLUSTER
    ) -> None:
        self.name = name
        self.identity = Identity(name, cluster_id, keys)
        self.doors: tuple[Door, ...] = (free_door(),)
        self.ledger = Ledger()
        self.taken = 0
        self.broken: OSError | None = None
        self.heard: list[tuple[str, bytes]] = []
        self.trees: dict[tuple[int, str], Mapping[str, bytes]] = {}
        self.server = PeerServer(self.identity, self)
        self.exchange: Exchange

    @property
    def door(self) -> Door:
        """The first one."""
        return self.doors[0]

    def take(self, facts: Sequence[Fact]) -> None:
        if self.broken is not None:
            raise self.broken
        self.taken += 1
        self.ledger = self.ledger.merge(facts)

    async def asked(self, peer: str, body: bytes) -> tuple[int, bytes]:
        self.heard.append((peer, body))
        return 409, b'{"reason":"NotLeader"}'

    async def tree(self, revision: int, digest: str) -> Mapping[str, bytes] | None:
        return self.trees.get((revision, digest))

    async def joining(self, body: bytes) -> tuple[int, bytes]:
        del body
        return 403, b""

    def know(self, *nodes: ChannelNode) -> None:
        members = tuple(Member(name=node.name, doors=node.doors) for node in nodes)
        self.exchange.follow(Roster(cluster_id=CLUSTER, me=self.name, members=members))

    def see(self, states: Mapping[str, PeerState], notes: Mapping[str, str] | None = None) -> None:
        """What the heartbeats say: the peers' states, and the digests that they tell, "" for none; where
        nothing is said here, ours."""
        told = {**dict.fromkeys(states, self.ledger.digest), **(notes or {})}
        peers = {
            name: Peer(state=state, notes={"ledger": told[name]} if told[name] else {})
            for name, state in states.items()
        }
        view = View(
            me=self.name, term=1, leader=None, lead_until_s=0.0, peers=peers, engine="builtin"
        )
        self.exchange.saw(view)


@asynccontextmanager
async def running(*nodes: ChannelNode) -> AsyncIterator[None]:
    """All of them serve, know and see each other."""
    async with AsyncExitStack() as closing:
        for node in nodes:
            assert await node.server.listen(node.doors) == {}
            closing.push_async_callback(node.server.close)
            node.exchange = Exchange(node.identity, node)
            closing.push_async_callback(node.exchange.close)
        for node in nodes:
            node.know(*nodes)
            node.see({other.name: PeerState.ALIVE for other in nodes})
        yield
