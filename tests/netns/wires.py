"""Network namespaces: one for each node, one for the pool, one in which the bridges between them are.

A node has an interface on every bridge: `net0` is management (the pool and Subversion are there), `net1`
and `net2` carry heartbeats. Number N is 10.91.L.N on bridge L. The simulated servers are on loopback
addresses of the pool's namespace; a node reaches them there, because to it only 127.0/16 is its own.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterable

PREFIX = "cxmtest-"
SWITCH, POOL = f"{PREFIX}switch", f"{PREFIX}pool"
POOL_NUMBER = 254
MANAGEMENT = 0
HEARTBEATS = (1, 2)
LINKS = (MANAGEMENT, *HEARTBEATS)
_SERVERS = "127.64.0.0/10"
_OPEN_LOOPBACK = "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet"


class CommandFailed(Exception):
    """What was run, and what it said."""


def run(*argv: object, given: str = "") -> str:
    """The output of a command. Raises CommandFailed with what it said."""
    words = [str(word) for word in argv]
    done = subprocess.run(words, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise CommandFailed(f"{shlex.join(words)}: exit {done.returncode}: {said}\n{given}")
    return done.stdout


def namespace(number: int) -> str:
    """The namespace of a node, or of the pool."""
    return POOL if number == POOL_NUMBER else f"{PREFIX}n{number}"


def inside(name: str) -> tuple[str, ...]:
    """Words that run a command in a namespace; it keeps the pid that it is started with."""
    return ("nsenter", f"--net=/run/netns/{name}", "--")


def address(number: int, link: int) -> str:
    return f"10.91.{link}.{number}"


def _port(number: int, link: int) -> str:
    """The end of a cable at its bridge."""
    return f"n{number}-{link}"


def _links(number: int) -> tuple[int, ...]:
    return (MANAGEMENT,) if number == POOL_NUMBER else LINKS


class Wires:
    """The cables between nodes 1 to `count` and the pool, and what is cut of them."""

    def __init__(self, count: int) -> None:
        self._numbers = tuple(range(1, count + 1))
        self._cut: set[tuple[int, int, int]] = set()

    def lay(self) -> None:
        """Raises CommandFailed."""
        everybody = (*self._numbers, POOL_NUMBER)
        for name in (SWITCH, *map(namespace, everybody)):
            run("ip", "netns", "add", name)
        rows = [f"link add br{link} type bridge\nlink set br{link} up" for link in LINKS]
        for number in everybody:
            for link in _links(number):
                port, there = _port(number, link), namespace(number)
                rows.append(f"link add {port} type veth peer name net{link} netns {there}")
                rows.append(f"link set {port} master br{link} up")
        run("ip", "-n", SWITCH, "-batch", "-", given="\n".join(rows) + "\n")
        for number in everybody:
            self._dress(number)

    def _dress(self, number: int) -> None:
        """Addresses and routes of one end."""
        rows = ["link set lo up"]
        if number != POOL_NUMBER:
            rows += ["addr del 127.0.0.1/8 dev lo", "addr add 127.0.0.1/16 dev lo"]
        for link in _links(number):
            rows.append(f"addr add {address(number, link)}/24 dev net{link}")
            rows.append(f"link set net{link} up")
        if number != POOL_NUMBER:
            rows.append(f"route add {_SERVERS} via {address(POOL_NUMBER, MANAGEMENT)}")
        name = namespace(number)
        run(*inside(name), "sh", "-c", _OPEN_LOOPBACK)
        run("ip", "-n", name, "-batch", "-", given="\n".join(rows) + "\n")

    # --- cutting --------------------------------------------------------------------------------

    def deafen(self, ears: Iterable[int], to: Iterable[int], links: Iterable[int]) -> None:
        """What is sent from `to` on these links does not arrive at `ears` any more. One way only."""
        speakers, over = tuple(to), tuple(links)
        for ear in ears:
            self._cut |= {(ear, speaker, link) for speaker in speakers for link in over}
            self._filter(ear)

    def part(self, side: Iterable[int], links: Iterable[int] = HEARTBEATS) -> None:
        """Nothing passes any more between `side` and the other nodes, in either direction."""
        here, over = set(side), tuple(links)
        there = set(self._numbers) - here
        self.deafen(here, there, over)
        self.deafen(there, here, over)

    def heal(self) -> None:
        """Everything passes again, and every cable is plugged in."""
        ears = {ear for ear, _, _ in self._cut}
        self._cut.clear()
        for ear in ears:
            self._filter(ear)
        for number in self._numbers:
            for link in HEARTBEATS:
                self.plug(number, link)

    def unplug(self, number: int, link: int) -> None:
        """Pull a cable out: the node's own interface loses its carrier, too."""
        run("ip", "-n", SWITCH, "link", "set", _port(number, link), "down")

    def plug(self, number: int, link: int) -> None:
        run("ip", "-n", SWITCH, "link", "set", _port(number, link), "up")

    def _filter(self, ear: int) -> None:
        """All rules of one node at once: there is no moment in which some of them are in force."""
        rows = (
            f'iifname "net{link}" ip saddr {address(speaker, link)} drop'
            for place, speaker, link in sorted(self._cut)
            if place == ear
        )
        chain = "\n".join(("chain cut {", "type filter hook input priority 0;", *rows, "}"))
        table = f"table inet {PREFIX}cut"
        given = f"{table} {{}}\ndelete {table}\n{table} {{\n{chain}\n}}\n"
        run(*inside(namespace(ear)), "nft", "-f", "-", given=given)
