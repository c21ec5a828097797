"""Trouble by chance: never two who may act, never a term led by two, and one leader once all is well."""

from __future__ import annotations

import pytest

from tests.membership.heart_net import HeartNet

BOUND_S = 30.0


def trouble(net: HeartNet) -> None:
    """Something happens."""
    chance = net.random
    name = chance.choice(list(net.seats))
    other = chance.choice(list(net.seats))
    seat = net.seats[name]
    match chance.randrange(9):
        case 0:
            net.loss = chance.choice([0.0, 0.05, 0.3, 0.5])
        case 1:
            net.cut.add((name, other))
        case 2:
            net.sever(name, other)
        case 3:
            net.cut.clear()
        case 4:
            net.pause(name)
        case 5 if seat.paused:
            net.resume(name)
        case 6:
            net.kill(name)
        case 7 if seat.heart is None:
            net.boot(name)
        case 8:
            net.disk_ok = chance.random() < 0.6
            net.disk_s = chance.choice([0.01, 0.3, 1.5])
        case _:
            seat.candid = not seat.candid


@pytest.mark.parametrize("seed", range(24))
def test_in_trouble_never_two_and_afterwards_one(seed: int) -> None:
    size, disk = 2 + seed % 4, seed % 2 == 0
    net = HeartNet(*"abcde"[:size], disk=disk, seed=seed)
    for seat in net.seats.values():
        seat.drift = net.random.uniform(0.996, 1.004)
    for _ in range(60):
        net.run(net.random.uniform(0.1, 6.0))
        trouble(net)
    net.loss, net.disk_ok, net.disk_s = 0.0, True, 0.02
    net.cut.clear()
    for name, seat in net.seats.items():
        seat.candid = True
        if seat.heart is None:
            net.boot(name)
        net.resume(name)
    net.run(BOUND_S)
    assert net.faults == []
    assert len(net.acting()) == 1
    assert net.leaders() == set(net.acting())
