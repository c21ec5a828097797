"""A site of several nodes: one pool, one repository, and on each node both daemons over their own files."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from membership.edge.supervision import Supervisor
from membership.roster import Roster
from membership.view import View
from reconciler.edge.assembly import Assembly, Identity, Surroundings
from reconciler.edge.requests import Requests
from reconciler.messages import (
    Ask,
    AskHold,
    AskLook,
    FetchFailed,
    Head,
    PoolLost,
    PoolObserved,
    Progress,
    Reply,
    SourceFailed,
    SourceSeen,
    TreeLoaded,
)
from reconciler.mustering import Peering
from reconciler.paging import Page
from reconciler.ports import Devices
from reconciler.records import Record
from reconciler.status import Status, Verdict
from simulator.site import LogEntry
from tests.simulation.estate import ADDRESSES, CLUSTER_ID, HOSTS, Wish
from tests.simulation.peers.peer_channel import PeerDaemon, Switchboard
from tests.simulation.peers.peer_heart import Body, HeartDaemon
from tests.simulation.peers.peer_net import Link, PeerDisk, PeerNet
from tests.simulation.peers.peer_node import PeerNode, Watching, now_s
from tests.simulation.peers.peer_process import NodeClock, Stoppable
from tests.simulation.process import Killed, WatchedMemory
from tests.simulation.repository import ScriptedSource
from tests.simulation.site import LOOK_AGAIN_S, RELEASE, RESTART_S, Site, WatchedPool
from tests.simulation.wire import CHANGING, Network, Wire
from tests.simulation.world_devices import WorldDevices
from tests.simulation.world_guests import WorldGuests
from xapi.transport import FailureKind, JsonValue, TransportFailure

T = TypeVar("T")

WITNESS = "yard"
"""The fifth node runs no VMs: it is there to vote."""

DISK = "/dev/heartbeat"
CHANNELS = 2
CONNECT_S = 5.0


class PeerSource(ScriptedSource):
    """The repository as one node reaches it, and the trees on its disk."""

    def __init__(self, node: PeerNode, site: PeerSite) -> None:
        super().__init__(site.repository, node.process)
        self._node = node
        self._site = site

    async def look(self, timeout_s: float) -> SourceSeen | SourceFailed:
        if not self._node.reaches_svn:
            await asyncio.sleep(timeout_s)
            return SourceFailed(reason="unreachable", message="no answer in time")
        return await super().look(timeout_s)

    async def fetch(self, head: Head, since: int, timeout_s: float) -> TreeLoaded | FetchFailed:
        if not self._node.reaches_svn:
            await asyncio.sleep(timeout_s)
            return FetchFailed(head=head, reason="unreachable", message="no answer in time")
        fetched = await super().fetch(head, since, timeout_s)
        if isinstance(fetched, TreeLoaded):
            self._node.trees.add(head.revision)
        return fetched

    def keep(self, revision: int, digest: str) -> None:
        self._node.process.seam("the last good tree is not yet kept")
        assert digest == self._site.repository.commits[revision - 1].loaded.digest
        self._node.kept = revision
        self._node.process.seam("the last good tree is kept")

    def load_kept(self) -> TreeLoaded | None:
        kept = self._node.kept
        return None if kept is None else self._site.repository.tree(kept)


class PeerWire(Wire):
    """The way to the pool from one node, on which it can be cut off, and be stopped in mid-call."""

    def __init__(self, network: Network, node: PeerNode, site: PeerSite) -> None:
        super().__init__(network, node.process)
        self._node = node
        self._site = site

    async def call(
        self, address: str, method: str, params: Sequence[JsonValue], deadline_s: float
    ) -> JsonValue:
        if not self._node.reaches_pool:
            await asyncio.sleep(min(CONNECT_S, deadline_s))
            self._site.fired["pool-cut"] += 1
            raise TransportFailure(FailureKind.TIMEOUT, f"{address}: no route", sent=False)
        if method.startswith(CHANGING):
            self._site.sent(self._node, method, str(params[1]))
        if method.startswith((*CHANGING, "pool.emergency_")):
            await self._frozen()
        return await super().call(address, method, params, deadline_s)

    async def _frozen(self) -> None:
        """Stopped after the last look at the lease: the request leaves when the process goes on."""
        node, freeze_s = self._node, self._node.freeze_s
        if freeze_s:
            node.freeze_s = 0.0
            self._site.fired["frozen-in-call"] += 1
            node.process.stop()
            asyncio.get_running_loop().call_later(freeze_s, node.go_on)
            await asyncio.sleep(0)


class Pager:
    """`Telling` that only remembers."""

    def __init__(self, node: PeerNode, site: PeerSite) -> None:
        self._node = node
        self._site = site

    async def tell(self, page: Page) -> Sequence[str]:
        self._node.process.seam(f"telling {page.key}")
        self._site.paged(self._node, page)
        return ("pager: told",)


class PeerSite(Site):
    """Several nodes around one pool. `watching` sees all of it; `fired` counts the faults that struck."""

    def __init__(self, seed: int, folder: Path, count: int, *, disk: bool) -> None:
        super().__init__(seed, folder)
        self.watching: Sequence[Watching] = ()
        self.chance = random.Random(f"peers/{seed}")
        self.fired: Counter[str] = Counter()
        self.net = PeerNet(random.Random(f"net/{seed}"), fired=self.fired)
        disk_chance = random.Random(f"disk/{seed}")
        self.disk = PeerDisk(disk_chance, self.fired) if disk else None
        self.switchboard = Switchboard(self.net)
        names = sorted((*HOSTS[: count - 1], WITNESS) if count > len(HOSTS) else HOSTS[:count])
        self.nodes = {name: self._node(name) for name in names}
        self._services: list[asyncio.Task[None]] = []

    def _node(self, name: str) -> PeerNode:
        chance = random.Random(f"{name}/{self._seed}")
        clock = NodeClock(chance.uniform(1.0, 1.0099), chance.uniform(100.0, 1_000_000.0))
        folder = self._folder / name
        folder.mkdir()
        body = Body(
            name,
            clock,
            self.net,
            self.disk,
            chance,
            lambda view: self.viewed(name, view),
            lambda data: self.said(name, data),
        )
        return PeerNode(name, folder, clock, body)

    # --- life and death -------------------------------------------------------------------------

    def open(self) -> None:
        """All nodes start, and are brought back whenever a daemon of theirs dies."""
        for node in self.nodes.values():
            for service in (self._serve(node), self._serve_heart(node)):
                self._services.append(asyncio.create_task(service))

    async def close(self) -> None:
        for service in self._services:
            service.cancel()
        for node in self.nodes.values():
            if node.heart is not None:
                node.heart.die()
            await node.process.bury()

    async def _serve(self, node: PeerNode) -> None:
        while True:
            await self._until_up(node)
            node.lives += 1
            node.runs_since_s = now_s()
            process = node.process = Stoppable()
            process.begin(self._lived(node, process))
            await process.died.wait()
            node.wake()
            node.parts = node.requests = node.daemon = None
            self.switchboard.daemons.pop(node.name, None)
            await process.bury()
            await asyncio.sleep(RESTART_S)

    async def _serve_heart(self, node: PeerNode) -> None:
        while True:
            await self._until_up(node)
            node.heart_died.clear()
            node.silent_since_s, node.beats_since_s = None, now_s()
            node.heart = HeartDaemon(node.body, node.heart_died.set)
            await node.heart_died.wait()
            node.wake()
            node.silent_since_s = now_s()
            await asyncio.sleep(RESTART_S)

    async def _until_up(self, node: PeerNode) -> None:
        loop = asyncio.get_running_loop()
        while loop.time() < node.down_until_s:
            await asyncio.sleep(min(1.0, node.down_until_s - loop.time()))

    async def _lived(self, node: PeerNode, process: Stoppable) -> None:
        memory = WatchedMemory(
            node.folder, lambda: self._wall(node), process, lambda r: self.journalled_at(node, r)
        )
        memory.boot = node.clock.boot_s
        try:
            async with asyncio.TaskGroup() as tasks:
                self._put_together(node, memory, tasks)
        except* Killed:
            pass
        except* (
            AssertionError,
            LookupError,
            TypeError,
            ValueError,
            AttributeError,
            OSError,
            RuntimeError,
        ) as why:
            self.scene.blame(f"{node.name}: the daemon broke: {_first(why)!r}")
            process.die()
        finally:
            memory.close()

    def _put_together(
        self, node: PeerNode, memory: WatchedMemory, tasks: asyncio.TaskGroup
    ) -> None:
        process = node.process
        pool = self._pool(node, memory)
        source = PeerSource(node, self)
        daemon = PeerDaemon(
            node.name,
            process,
            node.clock,
            self.switchboard,
            self.repository,
            node.trees,
            lambda roster: self._mustered(node, roster),
            node.to_heart,
        )
        pager = Pager(node, self)
        parts = Assembly(
            Identity(node=node.name, release=RELEASE, cluster_id=CLUSTER_ID),
            memory,
            pool,
            source,
            Surroundings(
                daemon,
                pager,
                self.devices_of(node),
                WorldGuests(self.world),
                Peering(engine="builtin", mark=f"mark of {node.name}"),
            ),
            source.load_kept(),
            random.Random(f"{self._seed}/{node.name}/{node.lives}"),
            Supervisor({}),
            tasks.create_task,
        )
        requests = Requests(
            node.name, node.folder / "node.yaml", parts.steering, daemon, pager, parts
        )
        daemon.attach(parts, requests.asked_by)
        node.parts, node.requests, node.daemon = parts, requests, daemon
        tasks.create_task(parts.observe())
        tasks.create_task(parts.steering.run())
        tasks.create_task(daemon.run())

    def devices_of(self, node: PeerNode) -> Devices:
        """The fence devices as this node's daemon asks for them."""
        del node
        return WorldDevices(self.world)

    def _pool(self, node: PeerNode, memory: WatchedMemory) -> WatchedPool:
        pool = WatchedPool(
            PeerWire(self.network, node, self),
            memory.known_pool.reached(tuple(ADDRESSES.values())[:2]),
            "root",
            "secret",
            node.name,
            RELEASE,
            clock=lambda: self._wall(node),
            jitter=random.Random(f"{self._seed}/{node.name}/{node.lives}/pool"),
            pool_uuid=memory.known_pool.known.uuid,
        )
        pool.told = lambda seen: self.pictured(node, seen)
        return pool

    def _wall(self, node: PeerNode) -> float:
        return self.world.pool.clock.wall() + node.clock.wall_s

    def _mustered(self, node: PeerNode, roster: Roster) -> None:
        node.body.files.roster = roster

    # --- what is told of it ---------------------------------------------------------------------

    def journalled_at(self, node: PeerNode, record: Record) -> None:
        node.records.append(record)
        for checker in self.watching:
            checker.journalled(node, record)

    def pictured(self, node: PeerNode, seen: PoolObserved | PoolLost) -> None:
        if isinstance(seen, PoolObserved):
            for checker in self.watching:
                checker.pictured(node, seen)

    def viewed(self, name: str, view: View) -> None:
        node = self.nodes[name]
        node.view = view
        for checker in self.watching:
            checker.viewed(node, view)
        if node.daemon is not None and node.process.alive:
            node.daemon.push(view)

    def said(self, name: str, data: bytes) -> None:
        for checker in self.watching:
            checker.said(self.nodes[name], data)

    def sent(self, node: PeerNode, method: str, subject: str) -> None:
        for checker in self.watching:
            checker.sent(node, method, subject)

    def paged(self, node: PeerNode, page: Page) -> None:
        for checker in self.watching:
            checker.paged(node, page)

    def _called(self, entry: LogEntry) -> None:
        if entry.cls == "VM" and not entry.originator.startswith("cxm/"):
            self.scene.touched[entry.uuid].append(self.scene.now_s())
        for checker in self.watching:
            checker.called(entry)

    # --- its people -----------------------------------------------------------------------------

    @property
    def links(self) -> set[Link]:
        names = tuple(self.nodes)
        return {(a, b, c) for a in names for b in names if a != b for c in range(CHANNELS)}

    def commit(self, wish: Wish, message: str = "a wish") -> int:
        return self.repository.commit(self.tree_of(wish), message)

    def tree_of(self, wish: Wish) -> dict[str, bytes]:
        """The tree of a wish, with the peers in it."""
        files = dict(wish.files())
        for number, name in enumerate(self.nodes, start=1):
            path = f"nodes/{name}.yaml"
            text = files.get(path, _witness(name)).decode()
            files[path] = (text.replace("[run]", "[run, peer]") + self._heartbeat(number)).encode()
        return files

    def _heartbeat(self, number: int) -> str:
        addresses = ", ".join(f"127.8{channel}.0.{number}" for channel in range(CHANNELS))
        disk = f", disk: {DISK}" if self.disk is not None else ""
        return f"heartbeat: {{addresses: [{addresses}]{disk}}}\n"

    @property
    def leader(self) -> PeerNode | None:
        """The node whose own heart says that it leads, if there is one."""
        for node in self.nodes.values():
            view = node.view
            if node.heart_runs and view is not None and view.leader == node.name:
                return node
        return None

    async def request_at(self, node: PeerNode, ask: Ask) -> Reply | None:
        """What this node answers a person; None where nothing answers."""
        requests = node.requests
        if requests is None:
            return None
        if isinstance(ask, AskHold):
            return await self._told_by(node, lambda: requests.bring(ask, _unheard))
        return await self._told_by(node, lambda: requests.request(ask))

    async def ask(self, ask: Ask) -> None:
        """Ask the leader."""
        leader = self.leader
        if leader is not None:
            await self.request_at(leader, ask)

    async def ping(self) -> None:
        """The repository's hook runs on one node or other."""
        node = self.chance.choice(list(self.nodes.values()))
        asking = asyncio.create_task(self.request_at(node, AskLook()))
        await asyncio.wait([asking], timeout=5.0)

    async def status(self) -> Status | None:
        """Of the leader."""
        return await self.status_of(self.leader)

    async def status_of(self, node: PeerNode | None) -> Status | None:
        parts = node.parts if node is not None else None
        if node is None or parts is None:
            return None
        return await self._told_by(node, parts.steering.status)

    async def _told_by(
        self, node: PeerNode, question: Callable[[], Coroutine[Any, Any, T]]
    ) -> T | None:
        process = node.process
        if not process.alive:
            return None
        asked = process.begin(question())
        gone = asyncio.ensure_future(process.died.wait())
        try:
            await asyncio.wait([asked, gone], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiting in (asked, gone):
                if not waiting.done():
                    waiting.cancel()
        with suppress(Killed):
            return asked.result() if asked.done() and not asked.cancelled() else None
        return None

    async def converged(self, revision: int, within_s: float) -> str:
        """Wait until the leader says so of this revision, and all others follow it; or what is said."""
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + within_s
        while True:
            late = await self._not_converged(revision)
            if not late or loop.time() >= ends_s:
                return late
            await asyncio.sleep(LOOK_AGAIN_S)

    async def _not_converged(self, revision: int) -> str:
        leader = self.leader
        if leader is None:
            reasons = {n: v.reason if (v := node.view) else "" for n, node in self.nodes.items()}
            return f"nobody leads: {reasons}"
        for node in self.nodes.values():
            status = await self.status_of(node)
            if status is None:
                return f"{node.name} does not answer"
            if status.revision.target != revision or status.in_flight or not status.plan.empty:
                return f"{node.name} (leader {leader.name}): {_story(status)}"
            if node is leader and status.verdict is not Verdict.CONVERGED:
                return f"leader {node.name}: {_story(status)}"
        return ""


def _witness(name: str) -> bytes:
    lines = ["apiVersion: cxm/v1", "kind: Node", f"name: {name}", "roles: [witness]"]
    return ("\n".join(lines) + "\n").encode()


def _first(why: BaseException) -> BaseException:
    while isinstance(why, BaseExceptionGroup):
        why = why.exceptions[0]
    return why


def _story(status: Status) -> str:
    revision = status.revision
    rows = [f"{status.verdict.value} at r{revision.target}, head r{revision.head} {revision.state}"]
    rows += [f"{status.reason} {status.message}"]
    rows += [f"{f.object} {f.verb} in flight ({f.phase})" for f in status.in_flight]
    rows += [f"{b.object} {b.verb} {b.reason}: {b.message}" for b in status.plan.blocked]
    for action in status.plan.actions:
        waits = f", waits for {action.waits.on}" if action.waits is not None else ""
        rows.append(f"{action.object} {action.verb} {action.message}{waits}")
    return "; ".join(rows)


async def _unheard(line: Progress) -> None:
    """Whoever asked waits for the answer alone."""
    del line
