"""The checkers see: each deliberately broken daemon is caught, and the whole one is not accused."""

from __future__ import annotations

import pytest

from tests.simulation.fencing.fence_episodes import run
from tests.simulation.fencing.fence_sabotage import VARIANTS, caught


@pytest.mark.parametrize("name", VARIANTS)
def test_a_broken_daemon_is_caught(name: str) -> None:
    assert caught(VARIANTS[name]) != []


def test_the_same_seeds_find_nothing_in_the_whole_one() -> None:
    """The stories have a test of their own."""
    seeds = sorted({variant.seed for variant in VARIANTS.values() if not variant.story})
    assert [str(outcome) for seed in seeds if (outcome := run(seed)).violations] == []
