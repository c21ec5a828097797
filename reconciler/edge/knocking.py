"""Knocking: asks a guest whether it answers, by ping or at a TCP port.

A ping goes through the kernel's own ICMP socket, which needs no privilege where
`net.ipv4.ping_group_range` lets our group have one; elsewhere by the `ping` program.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from collections.abc import Coroutine, Sequence
from typing import Any

_log = logging.getLogger("cxm.knocking")

ECHO = {
    socket.AF_INET: (socket.IPPROTO_ICMP, 8, 0),
    socket.AF_INET6: (socket.IPPROTO_ICMPV6, 128, 129),
}
"""Protocol, type of a request, type of its reply."""

LONGEST_REPLY = 256

_REMEDY = "install ping, or let our group have ICMP sockets (net.ipv4.ping_group_range)"


class Knocking:
    """No address is ever looked up: names mean nothing here."""

    def __init__(self) -> None:
        self._lamented = False

    async def answers(self, addresses: Sequence[str], port: int | None, within_s: float) -> bool:
        """Whether any of the addresses answers in time, by ping where there is no `port`. Never raises for
        what a network can do to it."""
        knocks = [
            self._pinged(address) if port is None else _connected(address, port)
            for address in addresses
        ]
        return await _any(knocks, within_s)

    async def _pinged(self, address: str) -> bool:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        protocol, request, reply = ECHO[family]
        try:
            with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, protocol) as link:
                return await _echoed(link, address, request, reply)
        except PermissionError:
            return await self._by_program(address)
        except OSError:
            return False

    async def _by_program(self, address: str) -> bool:
        try:
            program = await asyncio.create_subprocess_exec(
                *("ping", "-n", "-q", "-c", "1", "-W", "2", address),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
        except OSError as error:
            if not self._lamented:
                _log.warning("no guest can be pinged: %s; %s", error, _REMEDY)
            self._lamented = True
            return False
        try:
            return await program.wait() == 0
        finally:
            if program.returncode is None:
                program.kill()
                await program.wait()


async def _any(knocks: Sequence[Coroutine[Any, Any, bool]], within_s: float) -> bool:
    tasks = [asyncio.ensure_future(knock) for knock in knocks]
    try:
        async with asyncio.timeout(within_s):
            for done in asyncio.as_completed(tasks):
                if await done:
                    return True
    except TimeoutError:
        pass
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return False


async def _connected(address: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(address, port)
    except OSError:
        return False
    # Nothing was said, and nothing is waited for: a guest that is slow to close answers all the same.
    writer.transport.abort()
    return True


async def _echoed(link: socket.socket, address: str, request: int, reply: int) -> bool:
    """Returns once it is; until then there is nothing to tell. The kernel fills in checksum and identifier,
    and hands us replies to that identifier alone. Raises OSError."""
    loop = asyncio.get_running_loop()
    token = secrets.token_bytes(16)
    link.connect((address, 0))  # Of a datagram socket: nothing leaves yet.
    await loop.sock_sendall(link, bytes((request, 0, 0, 0, 0, 0, 0, 1)) + token)
    while True:
        packet = await loop.sock_recv(link, LONGEST_REPLY)
        if packet[:1] == bytes((reply,)) and packet.endswith(token):
            return True
