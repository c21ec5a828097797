"""Random trouble from seeds: safe all the while, and converged within a bound once it is over."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.simulation.episodes import run, saved

FRESH = 160
PARTS = 8
"""The seeds are dealt out, so that the workers share them."""


@pytest.mark.parametrize("part", range(PARTS))
def test_fresh_seeds(part: int) -> None:
    found = [
        str(outcome) for seed in range(part, FRESH, PARTS) if (outcome := run(seed)).violations
    ]
    assert found == [], "\n".join(found)


def test_seeds_that_once_found_something() -> None:
    found = [str(outcome) for seed in saved() if (outcome := run(seed)).violations]
    assert found == [], "\n".join(found)


def test_the_same_seed_tells_the_same_story() -> None:
    assert run(7).trace == run(7).trace


def test_the_order_of_hashing_tells_nothing() -> None:
    """Two interpreters that hash differently live through the same trouble in the same way."""
    stories = {_story(seed) for seed in ("1", "2")}
    assert len(stories) == 1


def _story(hash_seed: str) -> str:
    command = [sys.executable, "-m", "tests.simulation.episodes", "--seed", "11"]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout
    return done.stdout
