"""Voters that change in trouble by chance: never two who may act, and in the end those who are wanted."""

from __future__ import annotations

from itertools import count

import pytest

from tests.membership.test_heart_random import Trouble
from tests.membership.voters_net import VotersNet, tree

NAMES = "abcd"
STEPS = 80
SETTLES_S = 90
TREES = [
    tree(*names, disk=disk)
    for names in ("a", "b", "ab", "bc", "ac", "abc", "bcd")
    for disk in (False, True)
]


class VotersTrouble(Trouble):
    """What befalls them, and other trees. A disk that is put into the place of another has an id of its
    own; where it votes with one name alone it is not replaced, for that nobody could get over."""

    net: VotersNet

    def __init__(self, net: VotersNet) -> None:
        super().__init__(net)
        self.voting = net
        self._disks = count(2)

    def disk_place(self, _: str) -> None:
        last = any(it.disk and len(it.names) == 1 for it in self.voting.ledgers.values())
        if self.net.random.random() < 0.2 and not last:
            self.net.format(f"d{next(self._disks)}")

    def strike(self) -> None:
        if self.net.random.random() < 0.25:
            self.voting.wanted = self.net.random.choice(TREES)
        else:
            super().strike()


def troubled(seed: int) -> VotersTrouble:
    net = VotersNet(*NAMES, wanted=TREES[seed % len(TREES)], seed=seed)
    for seat in net.seats.values():
        seat.drift = net.random.uniform(0.9951, 1.0049)
    trouble = VotersTrouble(net)
    haste = net.random.choice([0.1, 0.3, 0.8])
    for _ in range(STEPS):
        for _ in range(net.random.randrange(1, 5)):
            net.run(net.random.uniform(0.1, 2.0))
            net.live(haste)
        trouble.strike()
        if net.faults:
            break
    return trouble


@pytest.mark.parametrize("seed", range(16))
def test_voters_change_in_trouble_and_never_two_act(seed: int) -> None:
    trouble = troubled(seed)
    net = trouble.voting
    trouble.end()
    for _ in range(SETTLES_S):
        net.run(1.0)
        net.live(haste=0.8)
    assert net.faults == []
    assert net.settled()
    assert len(net.acting()) == 1
