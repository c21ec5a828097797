"""The checkers see: each deliberately broken cluster is caught, and the whole one is not accused."""

from __future__ import annotations

import pytest

from tests.simulation.peers.peer_episodes import run
from tests.simulation.peers.peer_sabotage import VARIANTS, caught
from tests.simulation.peers.peer_stories import STORIES, tell


@pytest.mark.parametrize("name", VARIANTS)
def test_a_broken_cluster_is_caught(name: str) -> None:
    assert caught(VARIANTS[name]) != []


def test_the_same_seeds_find_nothing_in_the_whole_one() -> None:
    seeds = sorted({variant.seed for variant in VARIANTS.values() if not variant.story})
    assert [str(outcome) for seed in seeds if (outcome := run(seed)).violations] == []


@pytest.mark.parametrize("name", STORIES)
def test_a_story_finds_nothing_in_the_whole_one(name: str) -> None:
    assert tell(name) == ()
