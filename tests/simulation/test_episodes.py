"""Random faults from a seed: safety while they last, convergence in time once everything is healed."""

from __future__ import annotations

import pytest

from tests.simulation.episodes import EPISODES, SERIES, run
from tests.simulation.series import figures

PARTS = 8
SEEDS_A_PART = 40


@pytest.mark.parametrize("part", range(PARTS))
def test_nothing_is_violated(part: int) -> None:
    first = 1 + part * SEEDS_A_PART
    outcomes = [run(seed) for seed in range(first, first + SEEDS_A_PART)]
    found = [str(outcome) for outcome in outcomes if outcome.violations]
    assert found == [], "\n".join(found)
    assert all(outcome.episodes == EPISODES for outcome in outcomes)


def test_seeds_that_found_something_find_nothing_any_more() -> None:
    found = [str(run(seed)) for seed in SERIES.saved() if run(seed).violations]
    assert found == [], "\n".join(found)


def test_each_saved_seed_says_what_it_found() -> None:
    assert SERIES.unexplained() == []


def test_there_is_trouble_enough() -> None:
    """A run in which nothing goes wrong proves nothing: the journals must tell of failures, lost
    answers, deaths, foreign hands and refused revisions."""
    told = "\n".join(line for seed in range(1, 21) for line in run(seed).trace)
    for word in ('"unsure"', '"retry"', "DaemonRestarted", '"foreign"', "ConsentMissing"):
        assert word in told
    for word in ('"Invalid"', "VM.pool_migrate", "VM.resume_on", "host.enable", "Contended"):
        assert word in told


def test_the_line_of_figures() -> None:
    outcomes = [run(1, episodes=1), run(2, episodes=1)]
    line = figures(outcomes, took_s=4.0)
    hours = sum(outcome.hours for outcome in outcomes)
    assert line == (
        f"2 seeds, {hours:.1f} simulated hours, 2 episodes, 0 violations, 0.5 episodes/s"
    )
