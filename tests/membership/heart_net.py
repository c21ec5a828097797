"""Hearts in virtual time: a network with two cables, a shared disk, and everything that can befall them."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
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
from membership.roster import Candidacy, Member, Roster, Timing, Voters
from membership.view import View

TIMING = Timing(interval_s=0.5, suspect_after_s=2.0, dead_after_s=4.0)
CLUSTER = "c"
KEY = b"k" * 32


@dataclass
class Seat:
    """One node: its heart while it runs, what it made durable, and its clock's fault."""

    name: str
    memory: Memory = field(default_factory=lambda: Memory(generation=0))
    heart: Heart | None = None
    view: View | None = None
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
        self.disk_ok = True
        self.disk_s = 0.02
        self.replay: list[tuple[str, int, bytes]] = []
        self.record = False
        self.faults: list[str] = []
        self._disk = disk
        self._blocks = [bytes(slots.BLOCK)] * slots.SLOTS
        self._header = slots.pack_header(slots.Header(cluster_id=CLUSTER, disk_id="d1"))
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._number = count()
        self.voters = Voters(epoch=1, names=names)
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
            timing=TIMING,
            disk="/disk" if self._disk else None,
        )

    # --- what the test does ---------------------------------------------------------------------

    def boot(self, name: str, protocol: int = PROTOCOL) -> None:
        seat = self.seats[name]
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

    def tell(self, name: str, event: Event) -> None:
        seat = self.seats[name]
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
        return [
            seat.name
            for seat in self._awake()
            if seat.view is not None and seat.view.may_act(self._now(seat).boot_s)
        ]

    def state(self, me: str, name: str) -> str:
        view = self.seats[me].view
        assert view is not None
        return view.peers[name].state.value

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
            self.tell(seat.name, Candidacy())
        self.tell(seat.name, Tick())

    def _check(self) -> None:
        acting = self.acting()
        if len(acting) > 1:
            self.faults.append(f"{self.s:.3f}: {' and '.join(acting)} may act")
        for name in acting:
            view = self.seats[name].view
            assert view is not None
            self.seats[name].terms_led.add(view.term)
            others = [seat for seat in self.seats.values() if seat.name != name]
            if any(view.term in seat.terms_led for seat in others):
                self.faults.append(f"{self.s:.3f}: two led in term {view.term}")

    def _later(self, after_s: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self.s + after_s, next(self._number), act))

    def _carry_out(self, seat: Seat, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Push(view=view):
                    seat.view = view
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
        event = Heard(channel=sent.channel, data=sent.data)
        self._later(self.random.uniform(0.001, 0.03), lambda: self.tell(sent.peer, event))

    def _write(self, seat: Seat, written: WriteSlot) -> None:
        began_s = self._now(seat).boot_s
        if not self.disk_ok:
            self._later(0.01, lambda: self.tell(seat.name, DiskFailed(reason="EIO")))
            return

        def read() -> None:
            found = SlotsRead(began_s=began_s, header=self._header, slots=tuple(self._blocks))
            self._later(self.random.uniform(0.0, self.disk_s), lambda: self.tell(seat.name, found))

        def write() -> None:
            self._blocks[written.slot] = written.data
            self._later(self.random.uniform(0.0, self.disk_s), read)

        self._later(self.random.uniform(0.0, self.disk_s), write)
