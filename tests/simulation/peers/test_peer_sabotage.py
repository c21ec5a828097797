"""The checkers see: each deliberately broken cluster is caught, and the whole one is not accused."""

from __future__ import annotations

import pytest

from tests.simulation.peers.peer_episodes import run
from tests.simulation.peers.peer_sabotage import VARIANTS, caught


@pytest.mark.parametrize("name", [n for n, v in VARIANTS.items() if v.seed is not None])
def test_a_broken_cluster_is_caught(name: str) -> None:
    assert caught(VARIANTS[name]) != []


def test_the_same_seeds_find_nothing_in_the_whole_one() -> None:
    seeds = sorted({v.seed for v in VARIANTS.values() if v.seed is not None})
    assert [str(outcome) for seed in seeds if (outcome := run(seed)).violations] == []
