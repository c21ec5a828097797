"""The channel between the daemons of two nodes: the shipped exchange, over a simulated network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from membership.edge.exchange import Exchange
from membership.edge.peer_client import LOST_S, Asking, Lost, PeerClient, Unsent
from membership.edge.peer_wire import Known, Told, batches, decoded
from membership.ledger import Fact, Ledger, Target
from membership.roster import Candidacy, Door, Roster, Timing
from membership.view import View, unknown
from reconciler.messages import Staged
from tests.simulation.peers.peer_net import Link, PeerNet
from tests.simulation.peers.peer_process import NodeClock, Stoppable
from tests.simulation.process import Killed
from tests.simulation.repository import Repository

STALE_S = 2.0
"""What lay in a socket's buffer for longer is no sign of life, in either direction."""

RENEW_S = 1.0
RENEW_WITHIN_S = 2.0
WATCH_S = 0.5

SEALED = "sealed "
Answer = Callable[[str, bytes], Coroutine[Any, Any, tuple[int, bytes]]]


class Inside(Protocol):
    """The reconciler of this daemon, as its peers need it."""

    @property
    def ledger(self) -> Ledger: ...
    def take(self, facts: Sequence[Fact]) -> None: ...
    def saw(self, view: View) -> None: ...
    async def candidacy(self) -> Candidacy: ...


class Switchboard:
    """Which daemon answers for which node now."""

    def __init__(self, net: PeerNet) -> None:
        self.net = net
        self.daemons: dict[str, PeerDaemon] = {}

    async def request(self, link: Link, path: str, body: bytes) -> bytes:
        """A request there and its answer back. Raises Unsent where the daemon is gone, Lost where the
        cable is cut before the request is there, or the daemon dies with it."""
        sender, receiver, _ = link
        await self.net.carried()
        if not self.net.passes(*link):
            await asyncio.sleep(LOST_S)
            raise Lost(f"{receiver}: not acknowledged")
        daemon = self.daemons.get(receiver)
        if daemon is None or not daemon.process.alive:
            raise Unsent(f"{receiver}: refused")
        served = daemon.process.begin(daemon.served(sender, path, body))
        served.add_done_callback(_seen)
        # Who asks may give up; who answers does not know.
        await asyncio.wait([served])
        if served.cancelled() or served.exception() is not None:
            raise Lost(f"{receiver}: gone in the middle of an answer")
        await self.net.carried()
        await self.net.joined(link)
        return served.result()


def _seen(task: asyncio.Task[bytes]) -> None:
    if not task.cancelled():
        task.exception()


_NO_IDENTITY: Any = None
"""Certificates are tried elsewhere; here nobody but peers is on the network."""


class SimulatedClient(PeerClient):
    """`PeerClient` over the switchboard: the shipped choice of doors, which are the cables here."""

    def __init__(self, switchboard: Switchboard, me: str) -> None:
        super().__init__(_NO_IDENTITY)
        self._switchboard = switchboard
        self._me = me
        self._connected: set[tuple[str, Door]] = set()

    async def _through(
        self, name: str, door: Door, asking: Asking, connect_s: float | None
    ) -> tuple[int, bytes]:
        link = (self._me, name, self._doors[name].index(door))
        if (name, door) not in self._connected:
            await self._connect(link, connect_s)
            self._connected.add((name, door))
        try:
            answer = await self._switchboard.request(link, asking.path, asking.body or b"")
        except ConnectionError:
            self._connected.discard((name, door))
            raise
        return int(answer[:3]), answer[3:]

    async def _connect(self, link: Link, connect_s: float | None) -> None:
        try:
            async with asyncio.timeout(connect_s):
                await self._switchboard.net.joined(link)
        except TimeoutError as error:
            raise Unsent(f"{link[1]}: no connection within {connect_s:g} s") from error

    async def fetch_tree(
        self, name: str, revision: int, digest: str, into: Path, timeout_s: float
    ) -> None:
        raise NotImplementedError("trees are named, not copied, between simulated peers")


class SimulatedExchange(Exchange):
    """The shipped exchange with another client."""

    def __init__(self, client: SimulatedClient, host: Any) -> None:
        super().__init__(_NO_IDENTITY, host)
        self._client = client


class PeerDaemon:
    """Fills `Peers` of the ports and `Others` of requests for one life of `cxmd`.

    `mustered` makes a roster durable, `heart` takes what is for the heartbeats, `trees` are the
    revisions whose files are on this node's disk.
    """

    def __init__(
        self,
        me: str,
        process: Stoppable,
        clock: NodeClock,
        switchboard: Switchboard,
        repository: Repository,
        trees: set[int],
        mustered: Callable[[Roster], None],
        heart: Callable[[Candidacy | str], None],
    ) -> None:
        self.process = process
        self._me = me
        self._clock = clock
        self._switchboard = switchboard
        self._repository = repository
        self._trees = trees
        self._mustered = mustered
        self._heart = heart
        self._client = SimulatedClient(switchboard, me)
        self._exchange = SimulatedExchange(self._client, self)
        self._views: asyncio.Queue[tuple[View, float]] = asyncio.Queue()
        self._roster: Roster | None = None
        self.view: View | None = None
        self._seen_s = clock.boot_s()
        self._inside: Inside
        self._answer: Answer

    def attach(self, inside: Inside, answer: Answer) -> None:
        self._inside, self._answer = inside, answer
        self._switchboard.daemons[self._me] = self

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            tasks.create_task(self._renew())
            tasks.create_task(self._watch())

    # --- heartbeats -----------------------------------------------------------------------------

    def push(self, view: View) -> None:
        """The heart says it; it is heard when this process runs."""
        self._views.put_nowait((view, self._clock.boot_s()))

    async def _listen(self) -> None:
        while True:
            view, at_s = await self._views.get()
            if self._clock.boot_s() - at_s <= STALE_S:
                self.view, self._seen_s = view, self._clock.boot_s()
                self._inside.saw(view)
                self._exchange.saw(view)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            view = self.view
            if view is not None and self._clock.boot_s() - self._seen_s > self.timing.view_s:
                self.view = None
                self._inside.saw(unknown(view.me, view.engine, view.term, "no heartbeats"))

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            try:
                async with asyncio.timeout(RENEW_WITHIN_S):
                    candidacy = await self._inside.candidacy()
                    self.process.seam("the disk is proven")
            except TimeoutError:
                continue
            self._heart(candidacy)

    # --- Peers ----------------------------------------------------------------------------------

    def muster(self, roster: Roster) -> None:
        self.process.seam("not yet mustered")
        self._roster = roster
        self._exchange.follow(roster)
        self._mustered(roster)
        self.process.seam("mustered")

    def hand_over(self, to: str) -> None:
        self._heart(to)

    async def share(self, facts: Sequence[Fact]) -> tuple[str, ...]:
        self.process.seam("not yet shared")
        acknowledged = await self._exchange.share(facts)
        self.process.seam("shared")
        return tuple(name for name, done in acknowledged.items() if done)

    async def gather(self, within_s: float) -> tuple[str, ...]:
        return await self._exchange.gather(within_s)

    async def stage(self, target: Target, since: int, timeout_s: float) -> Staged:
        del since
        for name in self._exchange.reached:
            try:
                wanted = str(target.revision).encode()
                status, _ = await self._client.post(name, "/v1/tree", wanted, timeout_s)
            except OSError:
                continue
            tree = self._repository.tree(target.revision)
            if status == 200 and tree.digest == target.digest:
                self._trees.add(target.revision)
                return Staged(target=target, tree=tree)
        return Staged(target=target, message="no peer that could be reached has it")

    def seal(self, text: str) -> str:
        return SEALED + text

    def unseal(self, sealed: str) -> str:
        return sealed.removeprefix(SEALED) if sealed.startswith(SEALED) else ""

    # --- Others ---------------------------------------------------------------------------------

    async def ask(self, peer: str, body: bytes, timeout_s: float) -> tuple[int, bytes]:
        return await self._exchange.ask(peer, body, timeout_s)

    @property
    def timing(self) -> Timing:
        """Of the roster in force."""
        return self._roster.timing if self._roster is not None else Timing()

    async def holds(self, peer: str) -> bool:
        return await self._exchange.equal(peer)

    async def invite(self, name: str) -> str:
        del name
        return ""

    # --- what other peers ask -------------------------------------------------------------------

    @property
    def ledger(self) -> Ledger:
        return self._inside.ledger

    def take(self, facts: Sequence[Fact]) -> None:
        self._inside.take(facts)

    async def served(self, peer: str, path: str, body: bytes) -> bytes:
        """The answer, its status in three digits before it, as the shipped server would give it."""
        match path:
            case "/v1/facts":
                self.take(decoded(body, Told).read())
                return _ok(Told(digest=self.ledger.digest))
            case "/v1/exchange":
                return _ok(self._told(decoded(body, Known).known))
            case "/v1/ask":
                status, answer = await self._answer(peer, body)
                return str(status).encode() + answer
            case "/v1/tree":
                return b"200" if int(body) in self._trees else b"404"
        raise Killed(f"{path} is nothing that a peer asks for")

    def _told(self, known: Mapping[str, str]) -> Told:
        ledger = self.ledger
        news = ledger.news_for(known)
        facts = next(batches(news), ())
        left = len(news) - len(facts)
        lacking = ledger.lacking(known)
        return Told(facts=facts, digest=ledger.digest, left=left, lacking=lacking)


def _ok(told: Told) -> bytes:
    return b"200" + msgspec.json.encode(told)
