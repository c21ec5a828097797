"""Several nodes in trouble from a seed: safety while it lasts, then one leader and no difference."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.simulation.peers.peer_episodes import EPISODES, SERIES, run
from tests.simulation.peers.peer_trouble import FAULTS

PARTS = 4
SEEDS_A_PART = 7
EVERY_CLASS = (54, 27, 5, 48, 104)


@pytest.mark.parametrize("part", range(PARTS))
def test_nothing_is_violated(part: int) -> None:
    first = 1 + part * SEEDS_A_PART
    outcomes = [run(seed) for seed in range(first, first + SEEDS_A_PART)]
    found = [str(outcome) for outcome in outcomes if outcome.violations]
    assert found == [], "\n".join(found)
    assert all(outcome.episodes == EPISODES for outcome in outcomes)


def test_seeds_that_found_something_find_nothing_any_more() -> None:
    outcomes = [run(seed) for seed in SERIES.saved()]
    assert [str(outcome) for outcome in outcomes if outcome.violations] == []


def test_each_saved_seed_says_what_it_found() -> None:
    assert SERIES.unexplained() == []


def test_every_class_of_fault_strikes() -> None:
    """A run in which nothing goes wrong proves nothing. Some seeds in which all of them come."""
    fired: Counter[str] = Counter()
    for seed in EVERY_CLASS:
        fired += run(seed).fired
    assert sorted(FAULTS - fired.keys()) == []
