"""Exchange: what this node knows reaches the others, and theirs comes here.

A fact that is shared is sent to every peer that can be reached, and to each of them in the order in which
all was said: what a peer has of a node is never later than what it lacks. What it missed it gets before
the next fact, or when heartbeats show that the two ledgers differ. Nothing here raises for what a peer or
a network does; what goes wrong with our own ledger is the host's, and is never taken for a peer's fault.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from enum import IntEnum
from pathlib import Path

import msgspec

from membership.edge.identity import Identity
from membership.edge.peer_client import PeerClient
from membership.edge.peer_server import Host
from membership.edge.peer_wire import Known, Told, batches, decoded
from membership.ledger import Fact, as_said
from membership.roster import Roster
from membership.view import LEDGER, PeerState, View

SHARE_S = 2.0
"""A peer that does not acknowledge within this time is not reachable."""

EXCHANGE_S = 10.0
AGAIN_S = 1.0

MOST_ROUNDS = 100
"""Two ledgers that are not the same after so many are told of, and tried again later."""

_log = logging.getLogger("cxm.peers")
_REACHED = (PeerState.ALIVE, PeerState.SUSPECT)


class Met(IntEnum):
    """How far an exchange came: not at all, all that the peer knew is here, or both know the same."""

    NOT = 0
    HEARD = 1
    EQUAL = 2


class Exchange:
    """Keeps our ledger and those of the peers the same. To be made while the event loop runs."""

    def __init__(self, identity: Identity, host: Host) -> None:
        self._host = host
        self._client = PeerClient(identity)
        self._view: View | None = None
        self._turns: dict[str, asyncio.Lock] = {}
        self._lines: dict[str, asyncio.Lock] = {}
        self._tried_s: dict[str, float] = {}
        self._running: set[asyncio.Task[Met]] = set()
        self._failing: set[tuple[str, str]] = set()  # Whom, and what, has failed when last tried.
        self._level: set[str] = set()  # Who has acknowledged everything since they were last equal.

    def follow(self, roster: Roster) -> None:
        """Whom there is to talk to."""
        self._client.follow(roster)

    def use(self, identity: Identity) -> None:
        """Be this one from now on."""
        self._client.use(identity)

    def saw(self, view: View) -> None:
        """Heartbeats tell whose ledger is not like ours: get what we lack, give what they lack."""
        self._view = view
        ours = self._host.ledger.digest
        now_s = asyncio.get_running_loop().time()
        for name in self._client.names:
            peer = view.peers.get(name)
            theirs = peer.notes.get(LEDGER) if peer is not None else ours
            lately = now_s - self._tried_s.get(name, float("-inf")) < AGAIN_S
            if theirs != ours and not lately and not self._turn(name).locked():
                self._tried_s[name] = now_s
                self._begin(name)

    def _turn(self, name: str) -> asyncio.Lock:
        return self._turns.setdefault(name, asyncio.Lock())

    def _begin(self, name: str) -> asyncio.Task[Met]:
        task = asyncio.create_task(self._met(name))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    @property
    def reached(self) -> tuple[str, ...]:
        """The peers that can be expected to answer."""
        peers = self._view.peers if self._view is not None else {}
        return tuple(
            name for name in self._client.names if name in peers and peers[name].state in _REACHED
        )

    async def share(self, facts: Sequence[Fact]) -> Mapping[str, bool]:
        """Who of the reachable peers has made these facts durable, and all that was shared before."""
        names = self.reached
        self._level &= {*names}
        bodies = [msgspec.json.encode(Told(facts=batch)) for batch in batches(facts)]
        answers = await asyncio.gather(*(self._told(name, bodies) for name in names))
        return dict(zip(names, answers, strict=True))

    async def _told(self, name: str, bodies: Sequence[bytes]) -> bool:
        """One share after the other: none overtakes an earlier one. A peer that has missed anything, or
        may have, is given all that we know before it is told what is new."""
        try:
            async with asyncio.timeout(SHARE_S), self._lines.setdefault(name, asyncio.Lock()):
                if name not in self._level:
                    if await self._met(name) is Met.EQUAL:
                        self._level.add(name)
                    return name in self._level
                for body in bodies:
                    await self._give(name, body, SHARE_S)
        except (OSError, msgspec.DecodeError) as error:
            self._fails(name, "does not acknowledge what it is told", error)
            self._level.discard(name)
        if name in self._level:
            self._works(name, "does not acknowledge what it is told")
        return name in self._level

    async def gather(self, within_s: float) -> tuple[str, ...]:
        """What all reachable peers know by now is in our ledger; the peers of whom it is."""
        waiting = {name: self._begin(name) for name in self.reached}
        if not waiting:
            return ()
        done, late = await asyncio.wait(waiting.values(), timeout=within_s)
        for task in late:
            task.cancel()
        return tuple(
            name for name, task in waiting.items() if task in done and task.result() >= Met.HEARD
        )

    async def equal(self, name: str) -> bool:
        """Make the peer's ledger and ours the same; False where that did not come about."""
        return await self._met(name) is Met.EQUAL

    async def _met(self, name: str) -> Met:
        """One exchange with a peer at a time: the next begins with what is known by then."""
        met = Met.NOT
        async with self._turn(name):
            for _ in range(MOST_ROUNDS):
                before = self._host.ledger.digest
                told = await self._asked(name)
                if told is None:
                    return met
                ours, theirs = self._host.ledger.digest, told.digest
                if not told.left:
                    met = Met.HEARD
                    theirs = await self._gave(name, told) if ours != theirs else theirs
                    ours = self._host.ledger.digest
                    if ours == theirs:
                        return Met.EQUAL
                if (ours, theirs) == (before, told.digest):
                    return met
        return met

    async def _asked(self, name: str) -> Told | None:
        """What the peer has told, and we have taken; None where nothing came that can be understood."""
        known = msgspec.json.encode(Known(known=self._host.ledger.described()))
        try:
            status, body = await self._client.post(name, "/v1/exchange", known, EXCHANGE_S)
            if status != 200:
                raise ConnectionError(f"{name} answers with {status}")
            told = decoded(body, Told)
            facts = told.read()
        except (OSError, msgspec.DecodeError) as error:
            self._fails(name, "does not tell what it knows", error)
            return None
        self._works(name, "does not tell what it knows")
        if facts:
            self._host.take(facts)
        return told

    async def _gave(self, name: str, told: Told) -> str:
        """The peer's digest after it was given what it lacks."""
        facts = self._host.ledger.facts
        news = as_said(facts[key] for key in told.lacking if key in facts)
        digest = told.digest
        try:
            for batch in batches(news):
                body = msgspec.json.encode(Told(facts=batch))
                digest = await self._give(name, body, EXCHANGE_S)
        except (OSError, msgspec.DecodeError) as error:
            self._fails(name, "does not take what it lacks", error)
        else:
            self._works(name, "does not take what it lacks")
        return digest

    def _fails(self, name: str, what: str, error: Exception) -> None:
        """It is tried every second: said once, until it works again."""
        if (name, what) not in self._failing:
            self._failing.add((name, what))
            _log.info("%s %s: %s", name, what, error)

    def _works(self, name: str, what: str) -> None:
        if (name, what) in self._failing:
            self._failing.discard((name, what))
            _log.info("over: %s %s", name, what)

    async def _give(self, name: str, body: bytes, timeout_s: float) -> str:
        """The peer's digest once it has made these facts durable. Raises OSError, DecodeError."""
        status, answer = await self._client.post(name, "/v1/facts", body, timeout_s)
        if status != 200:
            raise ConnectionError(f"{name} answers with {status}")
        return decoded(answer, Told).digest

    async def ask(self, name: str, body: bytes, timeout_s: float) -> tuple[int, bytes]:
        """Bring a person's request to a peer. Raises OSError where no answer comes."""
        return await self._client.post_once(name, "/v1/ask", body, timeout_s)

    async def fetch_tree(
        self, name: str, revision: int, digest: str, into: Path, timeout_s: float
    ) -> None:
        """Write the files of a revision, as the peer has them, below `into`. Raises OSError."""
        await self._client.fetch_tree(name, revision, digest, into, timeout_s)

    async def close(self) -> None:
        for task in tuple(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._client.close()
