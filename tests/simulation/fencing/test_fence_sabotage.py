"""The checkers see: each broken daemon is caught. The whole one tells the same stories unaccused."""

from __future__ import annotations

import pytest

from tests.simulation.fencing.fence_sabotage import VARIANTS, caught


@pytest.mark.parametrize("name", VARIANTS)
def test_a_broken_daemon_is_caught(name: str) -> None:
    assert caught(VARIANTS[name]) != []
