"""`heartbeatd.sock`: each view as one line of JSON to whoever listens; signs of life of `cxmd` come in.

A line out is a `View` with `at_s`, the moment it was made (CLOCK_BOOTTIME): what lay in a buffer while
its reader slept must not pass for news. A line in is `{"candidacy": {...}, "at_s": n}` or
`{"hand_over": {"to": name}}`, and only root or the daemon's own user may send one.
"""

from __future__ import annotations

import asyncio
import grp
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import msgspec

from membership.edge import log
from membership.edge.clock import boot_s
from membership.roster import Candidacy
from membership.view import View
from schema.model import Frozen

READERS = "cxm"
MOST_CONNECTIONS = 16
LONGEST_LINE = 64 * 1024
SLOWEST = 256 * 1024
"""Bytes that may wait for a reader; one that lets more pile up is dropped."""

STALE_S = 2.0
"""A line that is older says nothing of its sender's life."""

_CREDENTIALS = struct.Struct("3i")


class HandOverTo(Frozen, frozen=True, kw_only=True):
    """Give up leadership, for the sake of `to` where it is given."""

    to: str | None = None


class Asked(Frozen, frozen=True, kw_only=True):
    """One line of a client."""

    candidacy: Candidacy | None = None
    hand_over: HandOverTo | None = None
    at_s: float | None = None


_ASKED: msgspec.json.Decoder[Asked] = msgspec.json.Decoder(Asked)


def line_of(view: View, at_s: float) -> bytes:
    """The view as it goes over the socket."""
    return b'%s,"at_s":%.3f}\n' % (msgspec.json.encode(view)[:-1], at_s)


class Door:
    """The server. Only one may exist on a path: whoever holds the state's lock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._view: Callable[[], View]
        self._asked: Callable[[Asked], None]
        self._server: asyncio.Server | None = None
        self._open: set[_Connection] = set()

    async def open(self, view: Callable[[], View], asked: Callable[[Asked], None]) -> None:
        """`view` gives the present one to who connects; `asked` gets what clients say.

        Raises OSError where the socket cannot be made.
        """
        self._view, self._asked = view, asked
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(
            lambda: _Connection(self), sock=_bound(self._path)
        )

    def push(self, view: View) -> None:
        if self._open:
            line = line_of(view, boot_s())
            for connection in tuple(self._open):
                connection.send(line)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in tuple(self._open):
            connection.close()
        self._path.unlink(missing_ok=True)

    # --- called by the connections --------------------------------------------------------------

    def came(self, connection: _Connection) -> bool:
        """Whether there is room for one more."""
        if len(self._open) >= MOST_CONNECTIONS:
            log.warning("connection-refused", message=f"{MOST_CONNECTIONS} are open already")
            return False
        self._open.add(connection)
        connection.send(line_of(self._view(), boot_s()))
        return True

    def went(self, connection: _Connection) -> None:
        self._open.discard(connection)

    def said(self, line: bytes) -> bool:
        """False where the line is not to be understood."""
        try:
            asked = _ASKED.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        if asked.at_s is None or boot_s() - asked.at_s <= STALE_S:
            self._asked(asked)
        return True


class _Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._may_ask = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport), "a stream has a two-way transport"
        self._transport = transport
        self._may_ask = _may_ask(transport)
        if not self._door.came(self):
            self.close()

    def data_received(self, data: bytes) -> None:
        if not self._may_ask:
            self._drop("only root and the daemon's own user may send")
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            self._drop(f"a line of more than {LONGEST_LINE} bytes")
            return
        for line in lines:
            if not self._door.said(line):
                self._drop("a line that is not understood")
                return

    def connection_lost(self, exc: BaseException | None) -> None:
        del exc
        self._door.went(self)

    def send(self, line: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if transport.get_write_buffer_size() > SLOWEST:
            self._drop("it does not read")
            return
        transport.write(line)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _drop(self, why: str) -> None:
        log.warning("connection-dropped", message=why)
        self._door.went(self)
        if self._transport is not None:
            self._transport.abort()


def _may_ask(transport: asyncio.BaseTransport) -> bool:
    """By the kernel's word of who connected."""
    connection = transport.get_extra_info("socket")
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    except OSError:
        return False
    _, uid, _ = _CREDENTIALS.unpack(raw)
    return uid in (0, os.geteuid())


def _bound(path: Path) -> socket.socket:
    """A listening socket. The one left over by a daemon that was killed is taken away."""
    path.unlink(missing_ok=True)
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    before = os.umask(0o177)
    try:
        door.bind(str(path))
    finally:
        os.umask(before)
    _open_to_readers(path)
    return door


def _open_to_readers(path: Path) -> None:
    """Give the socket to the group that may read; where there is none, it stays its owner's alone."""
    try:
        os.chown(path, -1, grp.getgrnam(READERS).gr_gid)
    except (KeyError, PermissionError):
        return
    path.chmod(0o660)
