"""Hearts in virtual time: a network with two cables, a shared disk, and everything that can befall them."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from random import Random

from msgspec.structs import replace

from membership import slots
from membership.events import (
    DiskFailed,
    Effect,
    Event,
    Heard,
    Instant,
    Machine,
    Memory,
    Push,
    Remember,
    Send,
    SlotsRead,
    Tick,
    WriteSlot,
)
from membership.heart import Heart
from membership.heartbeat import PROTOCOL
from membership.roster import EFFECT_S, Candidacy, Member, Roster, Timing, Voters
from membership.view import View

TIMING = Timing(interval_s=0.5, suspect_after_s=2.0, dead_after_s=4.0)
CLUSTER = "c"
KEY = b"k" * 32


@dataclass
class Seat:
    """One node: its heart while it runs, what it made durable, and its clock's fault.

    `held` is what its `cxmd` was told last, which stays what it was when the heart stops; `acted_s` when
    that last let it act. A twin has the `name` of another seat.
    """

    name: str
    memory: Memory = field(default_factory=lambda: Memory(generation=0))
    heart: Heart | None = None
    view: View | None = None
    held: View | None = None
    acted_s: float = float("-inf")
    deaf_disk: bool = False
    paused: bool = False
    candid: bool = True
    drift: float = 1.0
    skew_s: float = 0.0
    waiting: list[Event] = field(default_factory=list)
    terms_led: set[int] = field(default_factory=set)


class HeartNet:
    """`faults` collects what must never be. Time is true seconds; each seat's clock may drift."""

    def __init__(self, *names: str, disk: bool = False, seed: int = 1) -> None:
        self.random = Random(seed)
        self.s = 1000.0
        self.loss = 0.0
        self.cut: set[tuple[str, str]] = set()
        self.cut_channels: set[int] = set()
        self.delay_s = 0.03
        self.twice = 0.0
        self.garble = 0.0
        self.disk_ok = True
        self.disk_s = 0.02
        self.timing = TIMING
        self.replay: list[tuple[str, int, bytes]] = []
        self.record = False
        self.faults: list[str] = []
        self._disk = disk
        self._blocks = [bytes(slots.BLOCK)] * slots.SLOTS
        self._header = b""
        self.format("d1")
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._number = count()
        self.voters = Voters(epoch=1, names=names, disk=disk and len(names) == 2)
        self.members = tuple(
            Member(name=name, addresses=(("", 1), ("", 2)), slot=slot)
            for slot, name in enumerate(names)
        )
        self.seats = {name: Seat(name) for name in names}
        for name in names:
            self.boot(name)

    def roster(self, name: str) -> Roster:
        return Roster(
            cluster_id=CLUSTER,
            me=name,
            members=self.members,
            voters=self.voters,
            timing=self.timing,
            disk="/disk" if self._disk else None,
        )

    # --- what the test does ---------------------------------------------------------------------

    def format(self, disk_id: str) -> None:
        """Put an empty disk into the place of the shared one."""
        self._blocks = [bytes(slots.BLOCK)] * slots.SLOTS
        self._header = slots.pack_header(slots.Header(cluster_id=CLUSTER, disk_id=disk_id))

    def copy_disk(self) -> tuple[bytes, list[bytes]]:
        return self._header, list(self._blocks)

    def put_back(self, copy: tuple[bytes, list[bytes]]) -> None:
        """Put an older copy of the disk into its place."""
        self._header, self._blocks = copy[0], list(copy[1])

    def spoil_slot(self, name: str) -> None:
        """The second half of what is in this slot was never written."""
        slot = next(member.slot for member in self.members if member.name == name)
        half = self._blocks[slot].strip(b"\0")
        self._blocks[slot] = half[: len(half) // 2].ljust(slots.BLOCK, b"\0")

    def boot(self, key: str, protocol: int = PROTOCOL) -> None:
        seat = self.seats[key]
        name = seat.name
        seat.memory = replace(seat.memory, generation=seat.memory.generation + 1)
        seat.paused, seat.waiting = False, []
        seat.heart = Heart(
            roster=self.roster(name),
            keys=(KEY,),
            memory=seat.memory,
            machine=Machine(boot_id=name),
            nonce=self.random.randbytes(8),
            random=Random(self.random.random()),
            protocol=protocol,
        )
        self._carry_out(seat, seat.heart.start(self._now(seat)))

    def clone(self, name: str) -> str:
        """A copy of a node with all that it made durable begins to run beside it; the key of its seat."""
        key = f"{name}'"
        self.seats[key] = Seat(name, memory=self.seats[name].memory)
        self.boot(key)
        return key

    def kill(self, name: str) -> None:
        self.seats[name].heart, self.seats[name].view = None, None

    def pause(self, name: str) -> None:
        self.seats[name].paused = True

    def resume(self, name: str) -> None:
        seat = self.seats[name]
        seat.paused = False
        waiting, seat.waiting = seat.waiting, []
        for event in waiting:
            self.tell(name, event)

    def sever(self, one: str, other: str) -> None:
        self.cut |= {(one, other), (other, one)}

    def tell(self, key: str, event: Event) -> None:
        self._give(self.seats[key], event)

    def _give(self, seat: Seat, event: Event) -> None:
        if seat.paused:
            seat.waiting.append(event)
        elif seat.heart is not None:
            self._carry_out(seat, seat.heart.handle(event, self._now(seat)))

    def run(self, seconds: float) -> None:
        until_s = self.s + seconds
        while self.s < until_s:
            self.s = min(until_s, self._due[0][0] if self._due else until_s, self._next_tick())
            while self._due and self._due[0][0] <= self.s:
                heapq.heappop(self._due)[2]()
            for seat in self.seats.values():
                self._tick(seat)
            self._check()

    # --- what the test sees ---------------------------------------------------------------------

    def leaders(self) -> set[str | None]:
        """Whom those that run believe to lead."""
        return {seat.view.leader for seat in self._awake() if seat.view is not None}

    def acting(self) -> list[str]:
        return [seat.name for seat in self._acting()]

    def _acting(self) -> list[Seat]:
        return [
            seat
            for seat in self._awake()
            if seat.view is not None and seat.view.may_act(self._now(seat).boot_s)
        ]

    def state(self, me: str, name: str) -> str:
        view = self.seats[me].view
        assert view is not None
        return view.peers[name].state.value

    def told(self, seat: Seat, view: View) -> None:
        """A view is pushed; `seat.view` is the one before. For those who watch."""

    # --- inside -----------------------------------------------------------------------------------

    def _awake(self) -> list[Seat]:
        return [seat for seat in self.seats.values() if seat.heart is not None and not seat.paused]

    def _now(self, seat: Seat) -> Instant:
        s = self.s * seat.drift
        return Instant(boot_s=s + seat.skew_s, mono_s=s)

    def _next_tick(self) -> float:
        waits = [
            (seat.heart.deadline() - seat.skew_s) / seat.drift
            for seat in self._awake()
            if seat.heart is not None
        ]
        return max(self.s + 0.001, min(waits, default=self.s + 1.0))

    def _tick(self, seat: Seat) -> None:
        if seat.heart is None or seat.paused or seat.heart.deadline() > self._now(seat).boot_s:
            return
        if seat.candid:
            self._give(seat, Candidacy())
        self._give(seat, Tick())

    def _check(self) -> None:
        self._keep_apart()
        acting = self._acting()
        if len(acting) > 1:
            names = " and ".join(seat.name for seat in acting)
            self.faults.append(f"{self.s:.3f}: {names} may act")
        for seat in acting:
            assert seat.view is not None
            term = seat.view.term
            seat.terms_led.add(term)
            if any(term in other.terms_led for other in self.seats.values() if other is not seat):
                self.faults.append(f"{self.s:.3f}: two led in term {term}")

    def _keep_apart(self) -> None:
        """What one began in its last moment has ended before another begins, though the heart that let
        it act was stopped and its `cxmd` was not."""
        acting = [
            seat
            for seat in self.seats.values()
            if seat.held is not None and seat.held.may_act(self._now(seat).boot_s)
        ]
        for seat in acting:
            for other in self.seats.values():
                if other is not seat and self.s < other.acted_s + EFFECT_S * 0.99:
                    self.faults.append(
                        f"{self.s:.3f}: {seat.name} acts on the heels of {other.name}"
                    )
        for seat in acting:
            seat.acted_s = self.s

    def _later(self, after_s: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self.s + after_s, next(self._number), act))

    def _carry_out(self, seat: Seat, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Push(view=view):
                    self.told(seat, view)
                    seat.view = seat.held = view
                case Remember(memory=memory):
                    seat.memory = memory
                case Send():
                    self._send(seat, effect)
                case WriteSlot():
                    self._write(seat, effect)
                case _:
                    pass

    def _send(self, seat: Seat, sent: Send) -> None:
        if self.record:
            self.replay.append((sent.peer, sent.channel, sent.data))
        lost = self.random.random() < self.loss or sent.channel in self.cut_channels
        if lost or (seat.name, sent.peer) in self.cut:
            return
        data = sent.data
        if self.random.random() < self.garble:
            place = self.random.randrange(len(data))
            data = (
                data[:place]
                + bytes([data[place] ^ 1 << self.random.randrange(8)])
                + data[place + 1 :]
            )
        event = Heard(channel=sent.channel, data=data)
        for _ in range(2 if self.random.random() < self.twice else 1):
            for ear in [ear for ear in self.seats.values() if ear.name == sent.peer]:
                after_s = self.random.uniform(0.001, self.delay_s)
                self._later(after_s, partial(self._give, ear, event))

    def _write(self, seat: Seat, written: WriteSlot) -> None:
        heart, began_s = seat.heart, self._now(seat).boot_s

        def answer(event: Event) -> None:
            if seat.heart is heart:
                self._give(seat, event)

        def read() -> None:
            found = SlotsRead(began_s=began_s, header=self._header, slots=tuple(self._blocks))
            self._later(self.random.uniform(0.0, self.disk_s), lambda: answer(found))

        def write() -> None:
            self._blocks[written.slot] = written.data
            self._later(self.random.uniform(0.0, self.disk_s), read)

        if self.disk_ok and not seat.deaf_disk:
            self._later(self.random.uniform(0.0, self.disk_s), write)
        else:
            self._later(0.01, lambda: answer(DiskFailed(reason="EIO")))
