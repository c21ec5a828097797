"""Trouble by chance: never two who may act, never a term led by two, and one leader once all is well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from membership.events import HandOver, RosterChanged
from tests.membership.heart_net import TIMING, HeartNet

BOUND_S = 30.0
STEPS = 60


@dataclass
class Trouble:
    """What befalls the nodes of one network, by its own dice."""

    net: HeartNet
    copies: list[tuple[bytes, list[bytes]]] = field(default_factory=list)

    def strike(self) -> None:
        chance = self.net.random
        what: Callable[[str], None] = chance.choice(
            [
                self.wire,
                self.cut,
                self.cut,
                self.heal,
                self.heal,
                self.daemon,
                self.daemon,
                self.daemon,
                self.disk,
                self.disk_place,
                self.clock,
                self.hand_over,
                self.timing,
                self.wish,
            ]
        )
        what(chance.choice(list(self.net.seats)))

    def wire(self, _: str) -> None:
        net, chance = self.net, self.net.random
        net.loss = chance.choice([0.0, 0.05, 0.3, 0.5])
        net.delay_s = chance.choice([0.03, 0.03, 0.5, 3.0])
        net.twice, net.garble = chance.choice([0.0, 0.3]), chance.choice([0.0, 0.1])

    def cut(self, name: str) -> None:
        other = self.net.random.choice(list(self.net.seats))
        if self.net.random.random() < 0.5:
            self.net.sever(name, other)
        else:
            self.net.cut.add((name, other))

    def heal(self, _: str) -> None:
        self.net.cut.clear()

    def daemon(self, name: str) -> None:
        seat = self.net.seats[name]
        if seat.paused:
            self.net.resume(name)
        elif seat.heart is None:
            self.net.boot(name)
        elif self.net.random.random() < 0.5:
            self.net.pause(name)
        else:
            self.net.kill(name)

    def disk(self, name: str) -> None:
        net, seat = self.net, self.net.seats[name]
        net.disk_ok = net.random.random() < 0.7
        net.disk_s = net.random.choice([0.01, 0.3, 1.5])
        seat.deaf_disk = net.random.random() < 0.3

    def disk_place(self, name: str) -> None:
        """Another disk, an older copy, a slot that was written by half."""
        net = self.net
        match net.random.randrange(4):
            case 0:
                net.format(net.random.choice(["d1", "d2"]))
            case 1 if self.copies:
                net.put_back(net.random.choice(self.copies))
            case 2:
                net.spoil_slot(name)
            case _:
                self.copies.append(net.copy_disk())

    def clock(self, name: str) -> None:
        self.net.seats[name].skew_s += self.net.random.choice([0.3, 1.0, 60.0, 3600.0])

    def hand_over(self, name: str) -> None:
        self.net.tell(name, HandOver(to=self.net.random.choice([*self.net.seats, ""])))

    def timing(self, _: str) -> None:
        """The lease is another one, and not everybody hears of it."""
        net = self.net
        suspect_s = net.random.choice([1.5, 2.0, 6.0])
        net.timing = replace(TIMING, suspect_after_s=suspect_s, dead_after_s=2 * suspect_s)
        for name in net.seats:
            if net.random.random() < 0.7:
                net.tell(name, RosterChanged(roster=net.roster(name)))

    def wish(self, name: str) -> None:
        self.net.seats[name].candid = not self.net.seats[name].candid

    def end(self) -> None:
        """Everything is well again."""
        net = self.net
        net.loss = net.twice = net.garble = 0.0
        net.delay_s, net.disk_s, net.disk_ok, net.timing = 0.03, 0.02, True, TIMING
        net.cut.clear()
        for name, seat in net.seats.items():
            seat.candid, seat.deaf_disk = True, False
            if seat.heart is None:
                net.boot(name)
            net.resume(name)
            net.tell(name, RosterChanged(roster=net.roster(name)))


def troubled(seed: int) -> Trouble:
    """A network that had its share; each clock goes up to half a per cent wrong."""
    net = HeartNet(*"abcde"[: 2 + seed % 4], disk=seed % 4 == 0, seed=seed)
    for seat in net.seats.values():
        seat.drift = net.random.uniform(0.9951, 1.0049)
    trouble = Trouble(net)
    for _ in range(STEPS):
        net.run(net.random.uniform(0.1, 6.0))
        trouble.strike()
        if net.faults:
            break
    return trouble


@pytest.mark.parametrize("seed", range(24))
def test_in_trouble_never_two_and_afterwards_one(seed: int) -> None:
    trouble = troubled(seed)
    trouble.end()
    trouble.net.run(BOUND_S)
    assert trouble.net.faults == []
    assert len(trouble.net.acting()) == 1
