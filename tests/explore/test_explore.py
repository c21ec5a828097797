"""Nothing that can come of one fault breaks a rule; and of what is wrong on purpose it is found."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.explore import broken
from tests.explore.search import ALL, Search


def test_two_nodes_and_one_fault() -> None:
    found = Search(2, 1, ALL).run(200_000)
    assert found.wrong is None, str(found)
    assert found.whole
    assert found.states > 30_000, "the search sees less than it did"


def test_three_nodes_and_one_fault_at_first() -> None:
    found = Search(3, 1, ALL).run(10_000)
    assert found.wrong is None, str(found)


@pytest.mark.parametrize(
    ("wrong", "count", "faults", "kinds", "states"),
    [
        (broken.one_place_alone, 2, 1, "cut", 5_000),
        (broken.no_gate, 2, 1, "cut", 5_000),
        (broken.covers_what_came_later, 2, 2, "power cut", 35_000),
        (broken.holds_for_a_host_that_came_back, 2, 3, "power cut start", 15_000),
        (broken.the_silent_report, 2, 1, "cut", 2_000),
        (broken.unread_means_nothing, 2, 2, "cut", 45_000),
        (broken.a_reset_is_a_report, 2, 1, "reset", 200),
        (broken.a_reset_says_nothing_of_elsewhere, 2, 2, "start reset", 1_000),
        (broken.off_is_proof, 2, 2, "cut dud", 5_000),
        (broken.nobody_has_to_know, 3, 1, "cut", 35_000),
        (broken.our_own_calls_are_no_places, 2, 1, "cut", 5_000),
    ],
)
def test_what_is_wrong_is_found(
    wrong: Callable[[pytest.MonkeyPatch], None],
    count: int,
    faults: int,
    kinds: str,
    states: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrong(monkeypatch)
    found = Search(count, faults, frozenset(kinds.split())).run(states)
    assert found.wrong is not None, str(found)
