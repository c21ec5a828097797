"""Daemons that have nothing but their peering: real TLS on loopback, heartbeats by hand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from msgspec.structs import replace

from membership.edge.door import Asked, Door
from membership.edge.identity import Identity
from membership.edge.key_file import KeyFile
from membership.ledger import Drain, Fact, Ledger, Target
from membership.roster import Candidacy, Member, Roster, Timing
from membership.view import SOCKET, Peer, PeerState, View
from reconciler.edge.peering import PeerLink
from reconciler.edge.revisions import RevisionStore
from reconciler.edge.source import SubversionSource
from reconciler.edge.subversion import Subversion
from reconciler.edge.subversion_wire import Access
from reconciler.messages import Staged
from tests.edge.repositories import free_port

CLUSTER = "0f2a9a1e-6b0c-4a53-9f5e-2f6a7f1f7f01"
KEY = b"first-key-of-the-cluster-32-chars-or-more"
TIMING = Timing(interval_s=0.2, suspect_after_s=1.0, dead_after_s=2.0)


def fact(number: int) -> Fact:
    value = Drain(node=f"n{number}", until_epoch_s=None, reason="", by="alice")
    return Fact(key=f"drain/n{number}", term=1, seq=number, at_epoch_s=0.0, value=value)


class FakeInside:
    """Fills `Inside`. `broken` is what the ledger's file raises; `slow_s` how long the reconciler takes."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.views: list[View] = []
        self.broken: OSError | None = None
        self.slow_s = 0.0

    def take(self, facts: Sequence[Fact]) -> None:
        if self.broken is not None:
            raise self.broken
        self.ledger = self.ledger.merge(facts)

    def saw(self, view: View) -> None:
        self.views.append(view)

    async def candidacy(self) -> Candidacy:
        await asyncio.sleep(self.slow_s)
        return Candidacy(floor=7, notes={"ledger": self.ledger.digest})


class LinkedNode:
    """One node of the cluster: xenN at 127.0.4.N. `asked` is what its heartbeats were told."""

    def __init__(self, number: int, folder: Path, port: int, key: bytes = KEY) -> None:
        self.name, self.host, self.port = f"xen{number}", f"127.0.4.{number}", port
        self.state, self.run_dir = folder / f"s{number}", folder / f"r{number}"
        self.state.mkdir()
        self.run_dir.mkdir()
        self.key_file = self.state / "cluster-key"
        self.have_keys(key)
        access = Access(config_dir=str(self.state / "subversion"))
        store = RevisionStore(self.state)
        self.source = SubversionSource(Subversion(lambda: access), store, "file:///gone")
        self.inside = FakeInside()
        self.link = PeerLink(
            Identity(self.name, CLUSTER, (key,)),
            KeyFile(self.key_file),
            (self.state, self.run_dir),
            self.source,
            "builtin",
            lambda: b"{}",
        )
        self.link.attach(self.inside, self._answer)
        self.heartbeats = Door(self.run_dir / SOCKET)
        self.asked: list[Asked] = []
        self.requests: list[tuple[str, bytes]] = []
        self.view = View(me=self.name, term=3, leader="xen1", lead_until_s=0.0, engine="builtin")
        self.beats = True
        self.running: asyncio.Task[None]

    def have_keys(self, *keys: bytes) -> None:
        """Somebody writes them into the file."""
        fresh = self.state / "cluster-key.new"
        fresh.write_bytes(b"\n".join(keys))
        fresh.chmod(0o600)
        fresh.replace(self.key_file)

    async def _answer(self, peer: str, body: bytes) -> tuple[int, bytes]:
        self.requests.append((peer, body))
        return 409, b'{"reason":"NotLeader"}'

    @property
    def member(self) -> Member:
        return Member(name=self.name, doors=((self.host, self.port),))

    def roster(self, *members: Member, revision: int = 1) -> Roster:
        return Roster(
            cluster_id=CLUSTER, me=self.name, members=members, timing=TIMING, revision=revision
        )

    def see(self, *names: str, notes: Mapping[str, str] | None = None) -> None:
        peer = Peer(state=PeerState.ALIVE, notes=notes or {})
        self.view = replace(self.view, peers=dict.fromkeys((self.name, *names), peer))

    def shown(self) -> View:
        return self.view

    async def beat(self) -> None:
        """Push the view, as often as heartbeats do."""
        while True:
            if self.beats:
                self.heartbeats.push(self.view)
            await asyncio.sleep(0.05)


Nodes = tuple[LinkedNode, ...]


@asynccontextmanager
async def linked(folder: Path, count: int, keys: Mapping[int, bytes]) -> AsyncIterator[Nodes]:
    """So many nodes that know, hear and reach each other. `keys` of those that have another one."""
    port = free_port()
    nodes = tuple(LinkedNode(n, folder, port, keys.get(n, KEY)) for n in range(1, count + 1))
    beating = []
    for node in nodes:
        node.see(*(other.name for other in nodes))
        await node.heartbeats.open(node.shown, node.asked.append)
        beating.append(asyncio.create_task(node.beat()))
        node.link.muster(node.roster(*(other.member for other in nodes)))
        node.running = asyncio.create_task(node.link.run())
    try:
        await until(lambda: all(node.inside.views for node in nodes))
        for node in nodes:
            await until_open(node.host, port)
        yield nodes
    finally:
        for task in (*beating, *(node.running for node in nodes)):
            task.cancel()
        await asyncio.gather(*(node.running for node in nodes), *beating, return_exceptions=True)
        for node in nodes:
            await node.link.close()
            node.heartbeats.close()
            await node.source.close()


async def until(true: Callable[[], bool], within_s: float = 10.0) -> None:
    end_s = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end_s, "it did not happen in time"
        await asyncio.sleep(0.02)


async def opened(host: str, port: int) -> bool:
    with suppress(OSError):
        _, writer = await asyncio.open_connection(host, port)
        writer.close()
        return True
    return False


async def until_open(host: str, port: int) -> None:
    end_s = time.monotonic() + 10.0
    while not await opened(host, port):
        assert time.monotonic() < end_s, f"{host}:{port} does not listen"
        await asyncio.sleep(0.02)


async def given(node: LinkedNode, files: Mapping[str, bytes], target: Target) -> Staged:
    """Put a tree on the node's disk."""

    async def fill(into: Path) -> None:
        _write(into, files)

    return await node.source.receive(target, fill)


def _write(into: Path, files: Mapping[str, bytes]) -> None:
    into.mkdir()
    for name, content in files.items():
        (into / name).write_bytes(content)
