"""The brake: how much may fall silent at once before shooting is refused."""

from __future__ import annotations

import pytest

from fencing.brake import Run, overspent, storm, sunk
from schema.model import FenceBudget

WINDOW_S = 10.0


def runs(count: int, *fallen: int, racks: str = "") -> dict[str, Run]:
    return {
        f"n{number}": Run(
            labels={"rack": racks[number]} if racks else {},
            capacity=10,
            silent_s=12.0 + number * 0.1 if number in fallen else None,
        )
        for number in range(count)
    }


@pytest.mark.parametrize(
    ("count", "fallen", "brakes"),
    [
        (2, (1,), False),
        (3, (1,), False),
        (3, (1, 2), True),
        (4, (1, 2), True),
        (5, (1, 2), False),
        (5, (1, 2, 3), True),
        (9, (1, 2, 3, 4), False),
        (9, (1, 2, 3, 4, 5), True),
    ],
)
def test_more_than_half_of_the_others(count: int, fallen: tuple[int, ...], brakes: bool) -> None:
    assert bool(storm("n1", runs(count, *fallen), "n0", WINDOW_S)) is brakes


def test_a_whole_rack_of_two_holds_though_they_are_few() -> None:
    assert "rack b" in storm("n1", runs(7, 1, 2, racks="abbcccc"), "n0", WINDOW_S)
    assert storm("n1", runs(7, 1, 3, racks="abbcccc"), "n0", WINDOW_S) == ""


def test_a_rack_of_one_is_no_failure_domain() -> None:
    assert storm("n1", runs(3, 1, racks="abc"), "n0", WINDOW_S) == ""


def test_one_alone_in_its_rack_is_no_failure_domain_though_another_fell_with_it() -> None:
    assert storm("n1", runs(7, 1, 3, racks="abccccc"), "n0", WINDOW_S) == ""


@pytest.mark.parametrize(("apart_s", "together"), [(WINDOW_S, True), (WINDOW_S + 0.1, False)])
def test_together_is_what_fell_within_the_window(apart_s: float, together: bool) -> None:
    fallen = runs(3) | {
        name: Run(labels={}, capacity=10, silent_s=12.0 + apart_s * number)
        for number, name in enumerate(("n1", "n2"))
    }
    assert bool(storm("n1", fallen, "n0", WINDOW_S)) is together


def test_a_budget_is_whole_again_at_the_end_of_its_window() -> None:
    budget = FenceBudget(count=1, per_s=3600.0)
    assert overspent("a", {"b": 6_400.0}, budget, 10_000.0) == ""


def test_what_fell_long_before_did_not_fall_together() -> None:
    long_gone = runs(3, 1) | {"n2": Run(labels={}, capacity=10, silent_s=500.0)}
    assert storm("n1", long_gone, "n0", WINDOW_S) == ""


def test_the_budget_counts_nodes_within_its_window() -> None:
    budget = FenceBudget(count=1, per_s=3600.0)
    assert overspent("a", {}, budget, 10_000.0) == ""
    assert "spent on b" in overspent("a", {"b": 9_000.0}, budget, 10_000.0)
    assert overspent("a", {"b": 6_000.0}, budget, 10_000.0) == ""
    assert overspent("a", {"a": 9_999.0}, budget, 10_000.0) == "", "the same node again"


def test_the_floor_counts_what_is_silent_already() -> None:
    budget = FenceBudget(floor=0.5)
    assert sunk("n1", runs(2, 1), budget) == ""
    assert sunk("n1", runs(3, 1), budget) == ""
    assert "33 % of the capacity" in sunk("n1", runs(3, 1, 2), budget)
