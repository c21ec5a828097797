"""Addresses of heartbeats by name: asked for beside the loop, and what was known stays good."""

from __future__ import annotations

import socket
from asyncio import AbstractEventLoop
from collections.abc import Callable, Collection
from threading import Thread

from membership.edge import log

AGAIN_S = 60.0
AFTER_FAILURE_S = 5.0


def is_literal(host: str) -> bool:
    """Whether `host` is an address as it stands, IPv4 or IPv6."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return True
    return False


class Names:
    """Host -> address. A name server that is slow or away holds up nothing: until it answers, a host
    has the address that it had before, or none."""

    def __init__(self, loop: AbstractEventLoop, learned: Callable[[], None]) -> None:
        self._loop = loop
        self._learned = learned
        self._known: dict[str, str | None] = {}
        self._asked: set[str] = set()
        self._failing: set[str] = set()

    def address(self, host: str) -> str | None:
        """The address of `host` as far as it is known. The first question begins the search."""
        if host not in self._known:
            literal = is_literal(host)
            self._known[host] = host if literal else None
            if not literal and host not in self._asked:
                self._ask(host)
        return self._known[host]

    def keep(self, hosts: Collection[str]) -> None:
        """Only these are of interest from now on; what is known of them stays."""
        self._known = {host: at for host, at in self._known.items() if host in hosts}

    def _ask(self, host: str) -> None:
        self._asked.add(host)
        # Not of the loop's executor: that one is waited for at the end, and this may take minutes.
        Thread(target=self._look_up, args=(host,), name=f"name {host}", daemon=True).start()

    def _look_up(self, host: str) -> None:
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
            answer = str(found[0][4][0])
        except (OSError, UnicodeError, IndexError):
            answer = None
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._answered, host, answer)

    def _answered(self, host: str, answer: str | None) -> None:
        if host not in self._known:
            self._asked.discard(host)
            return
        if answer is None and host not in self._failing:
            self._failing.add(host)
            log.warning("name-not-found", host=host, known=self._known[host])
        if answer is not None:
            self._failing.discard(host)
            changed = answer != self._known[host]
            self._known[host] = answer
            if changed:
                self._learned()
        self._loop.call_later(AFTER_FAILURE_S if answer is None else AGAIN_S, self._renew, host)

    def _renew(self, host: str) -> None:
        if host in self._known:
            self._ask(host)
        else:
            self._asked.discard(host)
