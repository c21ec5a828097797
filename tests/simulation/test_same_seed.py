"""The same seed is the same story: in one process twice, and whatever strings hash to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.episodes import run

SEEDS = (3, 10, 11, 40)
"""In the last three the master is away for a while: all members are asked for it at once."""

ROOT = Path(__file__).resolve().parents[2]


def told(seed: int, hash_seed: str) -> str:
    """The trace as a child process tells it."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation.episodes", "--seed", str(seed)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize("seed", SEEDS)
def test_twice_the_same(seed: int) -> None:
    first, second = run(seed), run(seed)
    assert len(first.trace) > 50
    assert first.trace == second.trace


def test_other_seeds_are_other_stories() -> None:
    assert run(3).trace != run(4).trace


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_hangs_on_hashes(seed: int) -> None:
    one, other = told(seed, "1"), told(seed, "2")
    assert one.count("\n") > 50
    assert one == other
