"""One loopback address per simulated host or fence device, all on one port.

``HOST_IS_SLAVE`` and ``host.address`` carry an address and no port, so every host of a pool must
be reachable on the same one. Linux answers for the whole of 127/8; each simulator takes a block
127.A.B.0/24 of its own, so that several run side by side.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from dataclasses import dataclass

# 127.0.0/24 and 127.0.1/24 are everybody's; the demo's peers live in the second.
_FIRST_A, _LAST_A = 64, 126
MAX_ADDRESSES = 254
_TAKEN = (errno.EADDRINUSE, errno.EACCES)


class NoFreeBlock(Exception):
    """No block of loopback addresses could be had on the wanted port."""


@dataclass(frozen=True, slots=True)
class Block:
    """Reserved addresses, in the order in which they were asked for, and their common port.

    The reservation is a bound UDP socket per address: it keeps other simulators away while a
    host's TCP port is closed because the host is switched off. Nothing is ever sent over it.
    """

    addresses: tuple[str, ...]
    port: int
    _held: tuple[socket.socket, ...]

    def hand_over(self, address: str) -> tuple[str, int]:
        """The address and the port, for a program that serves UDP there itself."""
        self._held[self.addresses.index(address)].close()
        return address, self.port

    def release(self) -> None:
        """Give the addresses back; idempotent."""
        for held in self._held:
            held.close()


def reserve(count: int, port: int) -> Block:
    """``count`` addresses (at most 254) of one free block; ``port`` 0 lets the kernel choose.

    Raises NoFreeBlock when every block is taken or the port may not be bound.
    """
    if count > MAX_ADDRESSES:
        raise NoFreeBlock(
            f"a simulated pool has at most {MAX_ADDRESSES} hosts and fence devices, not {count}"
        )
    for a, b in _blocks():
        block = _try_block([f"127.{a}.{b}.{n}" for n in range(1, count + 1)], port)
        if block is not None:
            return block
    raise NoFreeBlock(
        f"port {port} cannot be bound on any block of loopback addresses; "
        "choose another with --port, or 0 for a free one"
    )


def _blocks() -> Iterator[tuple[int, int]]:
    return ((a, b) for a in range(_FIRST_A, _LAST_A + 1) for b in range(256))


def _try_block(addresses: list[str], port: int) -> Block | None:
    held: list[socket.socket] = []
    try:
        for address in addresses:
            held.append(_hold(address, port))
            # The first host's choice binds the others.
            port = held[0].getsockname()[1]
            _probe(address, port)
    except OSError as error:
        for reservation in held:
            reservation.close()
        if error.errno not in _TAKEN:
            raise
        return None
    return Block(tuple(addresses), port, tuple(held))


def _hold(address: str, port: int) -> socket.socket:
    reservation = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        reservation.bind((address, port))
    except OSError:
        reservation.close()
        raise
    return reservation


def _probe(address: str, port: int) -> None:
    """Raises OSError if some other program listens on this TCP port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((address, port))
