"""Live drills in trouble from a seed: safety while it lasts, then one leader and no difference."""

from __future__ import annotations

from collections import Counter

import pytest

from fencing import live_drill
from membership.proofs import Found
from tests.simulation.fencing import drill_episodes, fence_story

SEEDS = range(2000, 2006)


def test_nothing_is_violated() -> None:
    outcomes = [drill_episodes.run(seed) for seed in SEEDS]
    assert [str(outcome) for outcome in outcomes if outcome.violations] == []
    fired: Counter[str] = sum((outcome.fired for outcome in outcomes), Counter())
    assert fired["drilled"] > 0
    assert fired["broken-in-a-drill"] > 0


def test_a_drill_that_believes_what_devices_read_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever does not listen binds an outlet on which nothing hangs."""

    def deaf(seen: live_drill.Seen, since_s: float, window_s: float) -> tuple[Found, str] | None:
        if since_s < window_s:
            return None
        off = all(power == "off" for power in seen.readings.values())
        return (Found.BOUND, "off") if off else (Found.FAILED, "not off")

    monkeypatch.setattr("reconciler.live_drilling.judged", deaf)
    told = fence_story.tell("drill-of-an-unplugged-outlet")
    assert any("which had its power" in violation for violation in told.violations)
