"""Heartbeats by UDP: a socket per own address, bound to it, so that each channel is a path of its own."""

from __future__ import annotations

import socket
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable

from membership.edge import log

Address = tuple[str, int]

LARGEST = 2048
"""More than any heartbeat has: a longer datagram is cut, and what is left has no valid tag."""

PER_TURN = 32
"""Datagrams that one socket is read for in a turn of the loop; timers and the others come between."""

RECEIVE_BUFFER = 256 * 1024
BIND_AGAIN_S = 3.0


class Channels:
    """The sockets of this node by channel (0 is `net1`). `heard(channel, data)` for each datagram.

    An address that is not there yet is tried again. Nothing here raises.
    """

    def __init__(self, loop: AbstractEventLoop, heard: Callable[[int, bytes], None]) -> None:
        self._loop = loop
        self._heard = heard
        self._wanted: tuple[Address | None, ...] = ()
        self._sockets: dict[int, socket.socket] = {}
        self._troubled: dict[int, str] = {}
        self._again: TimerHandle | None = None

    @property
    def bound(self) -> frozenset[int]:
        """The channels that have a socket now."""
        return frozenset(self._sockets)

    def bind(self, addresses: tuple[Address | None, ...]) -> None:
        """Listen at these, one per channel, and nowhere else. None: not known yet."""
        for channel in tuple(self._sockets):
            if addresses[channel : channel + 1] != self._wanted[channel : channel + 1]:
                self._drop(channel)
        self._wanted = addresses
        self._troubled = {c: why for c, why in self._troubled.items() if c < len(addresses)}
        self._bind_missing()

    def send(self, channel: int, to: Address, data: bytes) -> None:
        """A message that cannot be sent is a message lost: the network does the same."""
        door = self._sockets.get(channel)
        if door is None or door.family != _family(to[0]):
            return
        try:
            door.sendto(data, to)
        except OSError:
            # No way there, no room, or our own address is away: when it comes back, the socket works
            # as before.
            return

    def close(self) -> None:
        self.bind(())

    def _bind_missing(self) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again = None
        for channel, address in enumerate(self._wanted):
            if address is not None and channel not in self._sockets:
                self._try(channel, address)
        if any(a is not None and c not in self._sockets for c, a in enumerate(self._wanted)):
            self._again = self._loop.call_later(BIND_AGAIN_S, self._bind_missing)

    def _try(self, channel: int, address: Address) -> None:
        door = socket.socket(_family(address[0]), socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            if door.family == socket.AF_INET6:
                door.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            door.bind(address)
        except (OSError, OverflowError) as error:
            door.close()
            self._tell_trouble(channel, address, str(error))
            return
        self._sockets[channel] = door
        self._troubled.pop(channel, None)
        self._loop.add_reader(door, self._read, channel, door)
        log.info("listening", channel=f"net{channel + 1}", address=address[0], port=address[1])

    def _tell_trouble(self, channel: int, address: Address, why: str) -> None:
        """Once for each cause, though it is tried every few seconds."""
        if self._troubled.get(channel) == why:
            return
        self._troubled[channel] = why
        log.warning(
            "address-not-bound",
            channel=f"net{channel + 1}",
            address=address[0],
            port=address[1],
            message=f"{why}; tried again every {BIND_AGAIN_S:.0f} s",
        )

    def _read(self, channel: int, door: socket.socket) -> None:
        for _ in range(PER_TURN):
            try:
                data = door.recv(LARGEST)
            except OSError:
                # Nothing more to read, or what came back of an earlier send.
                return
            self._heard(channel, data)
            if self._sockets.get(channel) is not door:
                return

    def _drop(self, channel: int) -> None:
        door = self._sockets.pop(channel)
        self._loop.remove_reader(door)
        door.close()


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
