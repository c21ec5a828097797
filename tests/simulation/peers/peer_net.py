"""Between the nodes: datagrams that are lost, late, doubled, altered or played back; a disk; a channel.

Nothing here knows what it carries.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from membership import slots
from membership.events import DiskFailed, SlotsRead
from tests.simulation.estate import CLUSTER_ID
from tests.simulation.peers.peer_process import NodeClock

RECORDED = 400
"""Datagrams of each pair of nodes that an eavesdropper keeps."""

LATE_S = 4.0
OLD_WRITES = 200

Link = tuple[str, str, int]
"""From whom, to whom, by which channel."""

Deliver = Callable[[int, bytes], None]


@dataclass
class Weather:
    """What a network does to a datagram: shares of 1, and seconds at most."""

    loss: float = 0.0
    late: float = 0.0
    late_s: float = LATE_S
    doubled: float = 0.0
    altered: float = 0.0


@dataclass
class PeerNet:
    """`cut` are the links by which nothing comes through, `late_s` those by which everything takes so long
    more. `fired` counts what befell datagrams."""

    chance: Random
    cut: set[Link] = field(default_factory=set)
    late_s: dict[Link, float] = field(default_factory=dict)
    weather: Weather = field(default_factory=Weather)
    fired: Counter[str] = field(default_factory=Counter)
    disturbed_s: dict[Link, float] = field(default_factory=dict)
    """When a link was last cut or joined, in either of its ways, as true time."""
    changed_s: float = 0.0

    def __post_init__(self) -> None:
        self.doors: dict[str, Deliver] = {}
        self.recorded: defaultdict[tuple[str, str], deque[tuple[int, bytes]]] = defaultdict(
            lambda: deque(maxlen=RECORDED)
        )

    # --- datagrams ------------------------------------------------------------------------------

    def send(self, sender: str, receiver: str, channel: int, data: bytes) -> None:
        self.recorded[sender, receiver].append((channel, data))
        weather, chance = self.weather, self.chance
        if (sender, receiver, channel) in self.cut:
            self.fired["cut"] += 1
            return
        if chance.random() < weather.loss:
            self.fired["loss"] += 1
            return
        copies = 1
        if chance.random() < weather.doubled:
            self.fired["duplicate"] += 1
            copies = 2
        for _ in range(copies):
            self._carry((sender, receiver, channel), data)

    def _carry(self, link: Link, data: bytes) -> None:
        weather, chance = self.weather, self.chance
        _, receiver, channel = link
        after_s = chance.uniform(0.0002, 0.003)
        if chance.random() < weather.late:
            # Whatever is sent within this time overtakes it.
            self.fired["delay"] += 1
            after_s = chance.uniform(0.0, weather.late_s)
        if chance.random() < weather.altered:
            self.fired["corruption"] += 1
            at = chance.randrange(len(data))
            data = data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]
        after_s += self.late_s.get(link, 0.0)
        asyncio.get_running_loop().call_later(after_s, self._arrive, receiver, channel, data)

    def _arrive(self, receiver: str, channel: int, data: bytes) -> None:
        door = self.doors.get(receiver)
        if door is not None:
            door(channel, data)

    def change(self, weather: Weather) -> None:
        self.weather = weather
        self.changed_s = asyncio.get_running_loop().time()

    def undisturbed_s(self, one: str, other: str, channels: int) -> float:
        """Since when one of the channels between these two has been as it should be; infinity where
        none is."""
        if self.weather.loss:
            return float("inf")
        links = [(one, other, channel) for channel in range(channels)]
        well = [self.disturbed_s.get(link, 0.0) for link in links if self.passes(*link)]
        return max(self.changed_s, min(well, default=float("inf")))

    def recording(self, sender: str, receiver: str) -> list[tuple[int, bytes]]:
        """What an attacker has heard of these two."""
        return list(self.recorded[sender, receiver])

    def play_back(self, receiver: str, channel: int, data: bytes) -> None:
        self.fired["replay"] += 1
        self._arrive(receiver, channel, data)

    # --- cables ---------------------------------------------------------------------------------

    def sever(self, links: set[Link]) -> None:
        self.cut |= links
        self._disturb(links)

    def join(self, links: set[Link]) -> None:
        self._disturb(links & self.cut)
        self.cut -= links

    def _disturb(self, links: set[Link]) -> None:
        now_s = asyncio.get_running_loop().time()
        for one, other, channel in sorted(links):
            self.disturbed_s[one, other, channel] = self.disturbed_s[other, one, channel] = now_s

    # --- the channel between two daemons ----------------------------------------------------------

    def passes(self, sender: str, receiver: str, channel: int) -> bool:
        """A connection goes by one cable, and needs both of its ways."""
        return not {(sender, receiver, channel), (receiver, sender, channel)} & self.cut

    async def carried(self) -> None:
        """One way of a request. What is lost is sent again, so loss only takes time."""
        late_s = self.chance.uniform(0.0005, 0.004)
        while self.chance.random() < self.weather.loss:
            late_s += 0.25 + late_s
        await asyncio.sleep(late_s)

    async def joined(self, link: Link) -> None:
        """Returns once this cable carries something again."""
        while not self.passes(*link):
            await asyncio.sleep(1.0)


class PeerDisk:
    """The one shared disk. What goes wrong with it does so for all: it is one device."""

    def __init__(self, chance: Random, fired: Counter[str]) -> None:
        self.chance = chance
        self.fired = fired
        self.slow_s = 0.0
        self.failing = 0.0
        self.torn = 0.0
        self.stale = 0.0
        self._header = slots.pack_header(slots.Header(cluster_id=CLUSTER_ID, disk_id="d" * 32))
        self._blocks = [bytes(slots.BLOCK)] * slots.SLOTS
        self._past: deque[tuple[bytes, ...]] = deque(maxlen=OLD_WRITES)

    def healed(self) -> None:
        self.slow_s = self.failing = self.torn = self.stale = 0.0

    def put_back(self) -> None:
        """Somebody restores a copy that is some writes old."""
        if self._past:
            self.fired["disk-old-copy"] += 1
            self._blocks = list(self._past[0])

    def latency_s(self) -> float:
        if self.slow_s:
            self.fired["disk-slow"] += 1
            return self.chance.uniform(0.0, self.slow_s)
        return self.chance.uniform(0.001, 0.02)

    def fails(self) -> bool:
        failed = self.chance.random() < self.failing
        self.fired["disk-eio"] += failed
        return failed

    def write(self, slot: int, data: bytes) -> None:
        self._past.append(tuple(self._blocks))
        if self.chance.random() < self.torn:
            self.fired["disk-torn"] += 1
            half = self.chance.randrange(len(data))
            data = data[:half] + self._blocks[slot][half:]
        self._blocks[slot] = data

    def read(self) -> tuple[bytes, tuple[bytes, ...]]:
        if self._past and self.chance.random() < self.stale:
            self.fired["disk-stale"] += 1
            return self._header, self._past[-1 - self.chance.randrange(min(10, len(self._past)))]
        return self._header, tuple(self._blocks)


Answered = Callable[[SlotsRead | DiskFailed], None]


class DiskPath:
    """One node's way to the disk: one exchange at a time, given up after a while, as at the edge."""

    def __init__(self, disk: PeerDisk, clock: NodeClock, answered: Answered) -> None:
        self._disk = disk
        self._clock = clock
        self._answered = answered
        self._outstanding = False
        self._given_up = False
        self._closed = False
        self._number = 0

    def close(self) -> None:
        self._closed = True

    def exchange(self, slot: int, data: bytes, patience_s: float) -> None:
        loop = asyncio.get_running_loop()
        if self._outstanding:
            if self._given_up:
                loop.call_soon(self._answer, DiskFailed(reason="slow"))
            return
        self._number += 1
        self._outstanding, self._given_up = True, False
        began_s = self._clock.boot_s()
        loop.call_later(patience_s, self._give_up, self._number)
        loop.call_later(self._disk.latency_s(), self._write, began_s, slot, data)

    def _write(self, began_s: float, slot: int, data: bytes) -> None:
        """Nothing calls off what was handed to the kernel, not even the death of who did it."""
        loop = asyncio.get_running_loop()
        if self._disk.fails():
            self._come_back(DiskFailed(reason="EIO"))
            return
        self._disk.write(slot, data)
        loop.call_later(self._disk.latency_s(), self._read, began_s)

    def _read(self, began_s: float) -> None:
        header, blocks = self._disk.read()
        self._come_back(SlotsRead(began_s=began_s, header=header, slots=blocks))

    def _come_back(self, answer: SlotsRead | DiskFailed) -> None:
        given_up, self._outstanding = self._given_up, False
        if not given_up:
            self._answer(answer)

    def _give_up(self, number: int) -> None:
        if self._outstanding and self._number == number:
            self._given_up = True
            self._answer(DiskFailed(reason="slow"))

    def _answer(self, answer: SlotsRead | DiskFailed) -> None:
        if not self._closed:
            self._answered(answer)
