"""The same seed is the same story: in one process twice, and whatever strings hash to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation import episodes
from tests.simulation.peers import peer_episodes
from tests.simulation.series import Series

STORIES = [
    *((episodes.SERIES, seed) for seed in (3, 10, 11, 40)),
    *((peer_episodes.SERIES, seed) for seed in (1, 4)),
]
"""In 10, 11 and 40 the master is away for a while: all members are asked for it at once."""

each = pytest.mark.parametrize(
    ("series", "seed"),
    STORIES,
    ids=[f"{s.run.__module__.rpartition('.')[2]}-{n}" for s, n in STORIES],
)
ROOT = Path(__file__).resolve().parents[2]


def told(series: Series, seed: int, hash_seed: str) -> str:
    """The trace as a child process tells it."""
    done = subprocess.run(
        [sys.executable, "-m", series.run.__module__, "--seed", str(seed)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@each
def test_twice_the_same(series: Series, seed: int) -> None:
    first, second = series.run(seed), series.run(seed)
    assert len(first.trace) > 50
    assert first.trace == second.trace


@pytest.mark.parametrize("series", [episodes.SERIES, peer_episodes.SERIES])
def test_other_seeds_are_other_stories(series: Series) -> None:
    assert series.run(3).trace != series.run(4).trace


@each
def test_nothing_hangs_on_hashes(series: Series, seed: int) -> None:
    one, other = told(series, seed, "1"), told(series, seed, "2")
    assert one.count("\n") > 50
    assert one == other
