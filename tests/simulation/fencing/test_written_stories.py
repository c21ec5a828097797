"""Each written story comes out as its log says, and nothing is violated in it."""

from __future__ import annotations

import pytest

from tests.simulation.fencing.fence_story import expected, names, tell


@pytest.mark.parametrize("name", names())
def test_it_comes_out_as_expected(name: str) -> None:
    told = tell(name)
    assert told.violations == []
    assert told.lines == expected(name)
