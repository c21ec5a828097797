"""The peer channel, where it is asked: each peer under the name that its certificate must bear."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import aiohttp
import msgspec

from membership.edge.identity import Identity, tls_name
from membership.edge.peer_wire import LARGEST, LARGEST_TREE, MOST_FILES, TooLarge, bounded
from membership.roster import Roster

IDLE_S = 60.0
"""Shorter than a peer's own patience with a connection that is not used."""

NAMES = 64 * 1024 * 1024
"""Bytes that a tree takes beside the content of its files, at most."""


class PeerClient:
    """Connections to every other peer of the roster. To be made while the event loop runs.

    Whatever a peer or the network does is a ConnectionError, or a TimeoutError.
    """

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._doors: dict[str, tuple[str, int]] = {}
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def follow(self, roster: Roster) -> None:
        """Whom there is to talk to. What was open to a peer that moved is not used any more."""
        doors = {
            member.name: member.peer
            for member in roster.members
            if member.peer is not None and member.name != roster.me
        }
        moved = [name for name in self._sessions if doors.get(name) != self._doors.get(name)]
        self._doors = doors
        for name in moved:
            ending = asyncio.create_task(self._sessions.pop(name).close())
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._doors)

    async def post(self, name: str, path: str, body: bytes, timeout_s: float) -> tuple[int, bytes]:
        """Status and body of the answer."""
        return await self._request(name, "POST", path, body, timeout_s, LARGEST)

    async def fetch_tree(
        self, name: str, revision: int, digest: str, into: Path, timeout_s: float
    ) -> None:
        """Write the files of a revision, as the peer has them, below `into`. Raises OSError.

        Whether they are the right ones is for the caller to find out, by the digest.
        """
        path, most = f"/v1/tree/{revision}/{digest}", LARGEST_TREE + NAMES
        status, body = await self._request(name, "GET", path, None, timeout_s, most)
        if status != 200:
            raise ConnectionError(f"{name} does not have r{revision}")
        await asyncio.to_thread(_unpacked, name, body, into)

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()
        await asyncio.gather(*self._ending)

    async def _request(
        self, name: str, method: str, path: str, body: bytes | None, timeout_s: float, most: int
    ) -> tuple[int, bytes]:
        try:
            async with self._session(name).request(
                method,
                _url(self._doors[name], path),
                data=body,
                server_hostname=tls_name(name, self._identity.cluster_id),
                timeout=aiohttp.ClientTimeout(total=timeout_s),
                allow_redirects=False,
            ) as answer:
                return answer.status, await bounded(answer.content, most)
        except TimeoutError as error:
            raise TimeoutError(f"{name} did not answer within {timeout_s:g} s") from error
        except (OSError, aiohttp.ClientError, TooLarge) as error:
            raise ConnectionError(f"{name}: {error or type(error).__name__}") from error

    def _session(self, name: str) -> aiohttp.ClientSession:
        """One for each peer: a connection is only ever used for whom it was opened to."""
        if name not in self._doors:
            raise ConnectionError("it has no address in the tree")
        if name not in self._sessions:
            self._sessions[name] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._identity.client, keepalive_timeout=IDLE_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._sessions[name]


def _url(door: tuple[str, int], path: str) -> str:
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
