"""Servers that die in trouble from a seed: safety while it lasts, then one leader and no difference."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.simulation.fencing.fence_episodes import EPISODES, SERIES, run

PARTS = 3
SEEDS_A_PART = 3


@pytest.mark.parametrize("part", range(PARTS))
def test_nothing_is_violated(part: int) -> None:
    first = 1 + part * SEEDS_A_PART
    outcomes = [run(seed) for seed in range(first, first + SEEDS_A_PART)]
    assert [str(outcome) for outcome in outcomes if outcome.violations] == []
    assert all(outcome.episodes == EPISODES for outcome in outcomes)
    fired: Counter[str] = sum((outcome.fired for outcome in outcomes), Counter())
    assert fired["certificates"] > 0


def test_seeds_that_found_something_find_nothing_any_more() -> None:
    outcomes = [run(seed) for seed in SERIES.saved()]
    assert [str(outcome) for outcome in outcomes if outcome.violations] == []


def test_each_saved_seed_says_what_it_found() -> None:
    assert SERIES.unexplained() == []
