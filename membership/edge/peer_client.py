"""The peer channel, where it is asked: each peer under the name that its certificate must bear."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import aiohttp
import msgspec

from membership.edge.identity import Identity, tls_name
from membership.edge.peer_wire import LARGEST, LARGEST_TREE, MOST_FILES, TooLarge, bounded
from membership.roster import Door, Roster
from schema.model import Frozen

IDLE_S = 60.0
"""Shorter than a peer's own patience with a connection that is not used."""

CONNECT_S = 0.5
"""So long a door has for a new connection where there is another one to be tried."""

LOST_S = 1.0
"""A cable is taken for cut where the other machine did not acknowledge what was sent for so long. Less
than what a peer has to acknowledge a fact, so that another cable can still carry it."""

NAMES = 64 * 1024 * 1024
"""Bytes that a tree takes beside the content of its files, at most."""


class Asking(Frozen, frozen=True, kw_only=True):
    """One request. `most`: bytes of its answer, at most. What is `once` must not come twice: it is not
    sent again where nobody can tell whether it arrived."""

    method: str
    path: str
    body: bytes | None = None
    most: int = LARGEST
    once: bool = False


class Unsent(ConnectionError):
    """No connection came about: nothing was sent."""


class Lost(ConnectionError):
    """The connection broke. It may have arrived, and been answered."""


class PeerClient:
    """Connections to every other peer of the roster. To be made while the event loop runs.

    A peer is tried at each of its doors, the one that worked last first. Whatever a peer or the network
    does is a ConnectionError, or a TimeoutError.
    """

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._doors: dict[str, tuple[Door, ...]] = {}
        self._order: dict[str, tuple[Door, ...]] = {}
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        self._sockets: dict[str, _Sockets] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def follow(self, roster: Roster) -> None:
        """Whom there is to talk to. What was open to a peer that moved is not used any more."""
        doors = {
            member.name: member.doors
            for member in roster.members
            if member.doors and member.name != roster.me
        }
        same = {name for name, at in doors.items() if self._doors.get(name) == at}
        self._order = {name: self._order[name] if name in same else doors[name] for name in doors}
        self._doors = doors
        for name in self._sessions.keys() - same:
            self._leave(name)

    def use(self, identity: Identity) -> None:
        """Be this one from now on: connections that another one made are not used any more."""
        self._identity = identity
        for name in tuple(self._sessions):
            self._leave(name)

    def _leave(self, name: str) -> None:
        ending = asyncio.create_task(self._sessions.pop(name).close())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._doors)

    async def post(self, name: str, path: str, body: bytes, timeout_s: float) -> tuple[int, bytes]:
        """Status and body of the answer. It may come twice, where a cable breaks in the middle."""
        return await self._request(name, Asking(method="POST", path=path, body=body), timeout_s)

    async def post_once(
        self, name: str, path: str, body: bytes, timeout_s: float
    ) -> tuple[int, bytes]:
        """Status and body of the answer. Raises OSError too where it may have arrived."""
        asking = Asking(method="POST", path=path, body=body, once=True)
        return await self._request(name, asking, timeout_s)

    async def fetch_tree(
        self, name: str, revision: int, digest: str, into: Path, timeout_s: float
    ) -> None:
        """Write the files of a revision, as the peer has them, below `into`. Raises OSError.

        Whether they are the right ones is for the caller to find out, by the digest.
        """
        path, most = f"/v1/tree/{revision}/{digest}", LARGEST_TREE + NAMES
        status, body = await self._request(
            name, Asking(method="GET", path=path, most=most), timeout_s
        )
        if status != 200:
            raise ConnectionError(f"{name} does not have r{revision}")
        await asyncio.to_thread(_unpacked, name, body, into)

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()
        await asyncio.gather(*self._ending)

    async def _request(self, name: str, asking: Asking, timeout_s: float) -> tuple[int, bytes]:
        doors = self._order.get(name, ())
        if not doors:
            raise ConnectionError(f"{name}: it has no address in the tree")
        trying = list(doors)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._at_any(name, trying, asking)
        except TimeoutError as error:
            # A cable that takes everything and brings nothing back looks like a peer that is slow.
            self._put(name, trying[0], last=True)
            raise TimeoutError(f"{name} did not answer within {timeout_s:g} s") from error

    async def _at_any(self, name: str, trying: list[Door], asking: Asking) -> tuple[int, bytes]:
        """The answer at the first door that gives one; `trying` begins with the one that is tried."""
        while True:
            door = trying[0]
            connect_s = CONNECT_S if len(trying) > 1 else None
            try:
                answer = await self._through(name, door, asking, connect_s)
            except (Unsent, Lost) as error:
                self._put(name, door, last=True)
                if len(trying) == 1 or (asking.once and isinstance(error, Lost)):
                    raise
                del trying[0]
            else:
                self._put(name, door, last=False)
                return answer

    def _put(self, name: str, door: Door, *, last: bool) -> None:
        """This door is to be tried first from now on, or last. The roster may have changed meanwhile."""
        rest = tuple(other for other in self._order.get(name, ()) if other != door)
        if door in self._order.get(name, ()):
            self._order[name] = (*rest, door) if last else (door, *rest)

    async def _through(
        self, name: str, door: Door, asking: Asking, connect_s: float | None
    ) -> tuple[int, bytes]:
        """The answer at this door. A new connection is to stand within `connect_s`."""
        try:
            async with self._session(name).request(
                asking.method,
                _url(door, asking.path),
                data=asking.body,
                server_hostname=tls_name(name, self._identity.cluster_id),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_s),
                allow_redirects=False,
            ) as answer:
                self._sockets[name].connected()
                return answer.status, await bounded(answer.content, asking.most)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Unsent(f"{name}: {error or type(error).__name__}") from error
        except (OSError, aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
            if isinstance(error, TimeoutError):
                raise
            raise Lost(f"{name}: {error or type(error).__name__}") from error
        except (aiohttp.ClientError, TooLarge) as error:
            raise ConnectionError(f"{name}: {error or type(error).__name__}") from error

    def _session(self, name: str) -> aiohttp.ClientSession:
        """One for each peer: a connection is only ever used for whom it was opened to."""
        if name not in self._sessions:
            sockets = self._sockets[name] = _Sockets()
            self._sessions[name] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    ssl=self._identity.client,
                    keepalive_timeout=IDLE_S,
                    socket_factory=sockets.made,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._sessions[name]


class _Sockets:
    """The sockets to one peer. One that is connected finds out by itself that its cable was cut; set
    any sooner, the same patience would end a connection whose first packet is lost."""

    def __init__(self) -> None:
        self._new: list[socket.socket] = []

    def made(self, info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, *_ = info
        new = socket.socket(family, kind, protocol)
        self._new.append(new)
        return new

    def connected(self) -> None:
        """An answer came, by whichever of them is still open."""
        for new in self._new:
            if new.fileno() >= 0:
                patience = int(LOST_S * 1000)
                new.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, patience)
        self._new.clear()


def _url(door: Door, path: str) -> str:
    host = f"[{door[0]}]" if ":" in door[0] else door[0]
    return f"https://{host}:{door[1]}{path}"


def _unpacked(name: str, body: bytes, into: Path) -> None:
    """Only plain files below the folder, whatever names the other end gives. Raises OSError."""
    try:
        files = msgspec.msgpack.decode(body, type=dict[bytes, bytes])
    except (msgspec.DecodeError, RecursionError) as error:
        raise ConnectionError(f"{name} sends what is no tree: {error}") from None
    size = sum(map(len, files.values()))
    if len(files) > MOST_FILES or size > LARGEST_TREE:
        raise ConnectionError(f"{name} sends {len(files)} files of {size} bytes: too much")
    _write(into, {os.fsdecode(path): content for path, content in files.items()})


def _write(into: Path, files: Mapping[str, bytes]) -> None:
    into.mkdir(mode=0o750)
    for name, content in files.items():
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or "\0" in name:
            raise ConnectionError(f"a file named {name!r} cannot be in a tree")
        path = into.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o640)
        with os.fdopen(file, "wb") as out:
            out.write(content)
