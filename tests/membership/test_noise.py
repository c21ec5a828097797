"""A piece of `make noise`, and that it would see a false fence."""

from __future__ import annotations

import pytest

from tests.membership import noise


def test_noise_shoots_nobody() -> None:
    net = noise.noise(seed=1, hours=0.5)
    assert net.doomed == []
    assert net.faults == []
    assert net.watched > 5, "so little noise proves nothing"


def test_a_daemon_that_is_paused_for_longer_than_death_takes_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where its toolstack is taken to hang at the same time, nothing is left that speaks for it."""
    monkeypatch.setattr(noise, "PAUSE_S", 30.0)
    assert noise.noise(seed=1, hours=0.1).doomed
