"""Exchange: what this node knows reaches the others, and theirs comes here. The asking end of the channel.

A fact that is shared is sent at once to every peer that can be reached. What a peer missed it gets
when heartbeats show that the two ledgers differ. Nothing here raises for what a peer or a network does.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import aiohttp
import msgspec

from membership.edge.identity import Identity, tls_name
from membership.edge.peer_server import Host, Known, Told, readable
from membership.ledger import Fact
from membership.roster import Roster
from membership.view import PeerState, View

SHARE_S = 2.0
"""A peer that does not acknowledge within this time is not reachable."""

EXCHANGE_S = 10.0
AGAIN_S = 1.0
LARGEST_TREE = 256 * 1024 * 1024

FAILURES = (OSError, aiohttp.ClientError, TimeoutError, msgspec.DecodeError)

_log = logging.getLogger("cxm.peers")
_REACHED = (PeerState.ALIVE, PeerState.SUSPECT)


class Exchange:
    """Keeps our ledger and those of the peers the same. To be made while the event loop runs."""

    def __init__(self, identity: Identity, host: Host) -> None:
        self._identity = identity
        self._host = host
        self._doors: dict[str, tuple[str, int]] = {}
        self._view: View | None = None
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=identity.client, keepalive_timeout=60.0),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        self._busy: dict[str, asyncio.Task[bool]] = {}
        self._tried_s: dict[str, float] = {}

    def follow(self, roster: Roster) -> None:
        """Whom there is to talk to."""
        self._doors = {
            member.name: member.peer
            for member in roster.members
            if member.peer is not None and member.name != roster.me
        }

    def saw(self, view: View) -> None:
        """Heartbeats tell whose ledger is not like ours: get what we lack."""
        self._view = view
        ours = self._host.ledger.digest
        now_s = asyncio.get_running_loop().time()
        for name, peer in view.peers.items():
            theirs = peer.notes.get("ledger", ours)
            lately = now_s - self._tried_s.get(name, float("-inf")) < AGAIN_S
            if name in self._doors and theirs != ours and not lately:
                self._tried_s[name] = now_s
                self._begin(name)

    def _begin(self, name: str) -> asyncio.Task[bool]:
        running = self._busy.get(name)
        if running is None or running.done():
            running = asyncio.create_task(self.equal(name))
            self._busy[name] = running
        return running

    @property
    def reached(self) -> tuple[str, ...]:
        """The peers that can be expected to answer."""
        peers = self._view.peers if self._view is not None else {}
        return tuple(
            name for name in self._doors if name in peers and peers[name].state in _REACHED
        )

    async def share(self, facts: Sequence[Fact]) -> Mapping[str, bool]:
        """Who of the reachable peers has made these facts durable."""
        told = Told(facts=tuple(msgspec.Raw(msgspec.json.encode(fact)) for fact in facts))
        body = msgspec.json.encode(told)
        names = self.reached
        answers = await asyncio.gather(*(self._told(name, body) for name in names))
        return dict(zip(names, answers, strict=True))

    async def _told(self, name: str, body: bytes) -> bool:
        try:
            status, _ = await self._post(name, "/v1/facts", body, SHARE_S)
        except FAILURES as error:
            _log.info("%s did not acknowledge: %s", name, error)
            return False
        return status == 200

    async def gather(self, within_s: float) -> tuple[str, ...]:
        """What all reachable peers know is in our ledger; the peers that answered."""
        waiting = {name: self._begin(name) for name in self.reached}
        if waiting:
            await asyncio.wait(waiting.values(), timeout=within_s)
        return tuple(name for name, task in waiting.items() if task.done() and task.result())

    async def equal(self, name: str) -> bool:
        """Make the peer's ledger and ours the same; False where that did not come about."""
        known = Known(known=self._host.ledger.described())
        try:
            status, body = await self._post(
                name, "/v1/exchange", msgspec.json.encode(known), EXCHANGE_S
            )
            if status != 200:
                return False
            told = msgspec.json.decode(body, type=Told)
            facts = readable(told.facts)
            self._host.take(facts)
            if told.digest == self._host.ledger.digest:
                return True
            return await self._give(name, known, facts)
        except FAILURES as error:
            _log.info("no exchange with %s: %s", name, error)
            return False

    async def _give(self, name: str, known: Known, theirs: Sequence[Fact]) -> bool:
        """What the peer lacks is what it did not tell, or told in an older form."""
        told = {fact.key for fact in theirs}
        mine = self._host.ledger.facts
        news = [fact for key, fact in mine.items() if key not in told or fact not in theirs]
        del known
        body = msgspec.json.encode(
            Told(facts=tuple(msgspec.Raw(msgspec.json.encode(fact)) for fact in news))
        )
        status, answer = await self._post(name, "/v1/facts", body, EXCHANGE_S)
        if status != 200:
            return False
        return msgspec.json.decode(answer, type=Told).digest == self._host.ledger.digest

    async def ask(self, name: str, body: bytes, timeout_s: float) -> tuple[int, bytes]:
        """Bring a person's request to a peer. Raises OSError where no answer comes."""
        try:
            return await self._post(name, "/v1/ask", body, timeout_s)
        except FAILURES as error:
            raise ConnectionError(f"{name}: {error or type(error).__name__}") from error

    async def fetch_tree(
        self, name: str, revision: int, digest: str, into: Path, timeout_s: float
    ) -> None:
        """Write the files of a revision, as the peer has them, below `into`. Raises OSError."""
        path = f"/v1/tree/{revision}/{digest}"
        try:
            async with self._session.get(
                self._url(name, path),
                server_hostname=tls_name(name, self._identity.cluster_id),
                timeout=aiohttp.ClientTimeout(total=timeout_s),
            ) as answer:
                if answer.status != 200:
                    raise ConnectionError(f"{name} does not have r{revision}")
                body = await answer.content.read(LARGEST_TREE)
                files = msgspec.msgpack.decode(body, type=dict[str, bytes])
        except FAILURES as error:
            raise ConnectionError(f"{name}: {error or type(error).__name__}") from error
        await asyncio.to_thread(_write, into, files)

    async def close(self) -> None:
        for task in self._busy.values():
            task.cancel()
        await self._session.close()

    async def _post(self, name: str, path: str, body: bytes, timeout_s: float) -> tuple[int, bytes]:
        async with self._session.post(
            self._url(name, path),
            data=body,
            server_hostname=tls_name(name, self._identity.cluster_id),
            timeout=aiohttp.ClientTimeout(total=timeout_s),
        ) as answer:
            return answer.status, await answer.read()

    def _url(self, name: str, path: str) -> str:
        door = self._doors.get(name)
        if door is None:
            raise ConnectionError(f"{name} has no address in the tree")
        host = f"[{door[0]}]" if ":" in door[0] else door[0]
        return f"https://{host}:{door[1]}{path}"


def _write(into: Path, files: Mapping[str, bytes]) -> None:
    """Only plain files below the folder, whatever names the other end gives."""
    into.mkdir(mode=0o750)
    for name, content in files.items():
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or {"..", "."} & {*parts}:
            raise OSError(f"a file named {name!r} cannot be in a tree")
        path = into.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o640)
        with os.fdopen(file, "wb") as out:
            out.write(content)
