"""What a live drill shows, out of what was seen while the node was off."""

from __future__ import annotations

import pytest

from fencing.live_drill import DOUBT_S, TABLE, WINDOW_S, Seen, Step, crossed, judged
from membership.proofs import DrillStage, Found


def seen(
    power: str = "off",
    *,
    silent: bool | None = True,
    fell: tuple[str, ...] = (),
    doubtful: tuple[str, ...] = (),
) -> Seen:
    return Seen(
        node="xen2",
        readings={"left": "off", "right": power},
        said={"right": "no answer in time"},
        silent=silent,
        fell=fell,
        doubtful=doubtful,
    )


def found(case: Seen, since_s: float = WINDOW_S) -> Found | None:
    shown = judged(case, since_s, WINDOW_S)
    return shown[0] if shown is not None else None


@pytest.mark.parametrize(
    ("case", "shows"),
    [
        (seen(), Found.BOUND),
        (seen(silent=False), Found.LIES),
        (seen("on"), Found.FAILED),
        (seen("unknown"), Found.FAILED),
        (seen("on", silent=False), Found.FAILED),
        (seen(fell=("xen3",)), Found.CROSSED),
        (seen("on", silent=False, fell=("xen3",)), Found.CROSSED),
    ],
)
def test_what_is_shown_when_the_window_is_over(case: Seen, shows: Found) -> None:
    assert found(case) is shows


def test_nothing_is_shown_before_the_others_were_listened_to() -> None:
    assert found(seen(), WINDOW_S - 0.1) is None
    assert found(seen(silent=False), WINDOW_S - 0.1) is None


def test_another_one_that_falls_is_the_end_at_once() -> None:
    assert found(seen(fell=("xen3",)), 0.0) is Found.CROSSED
    assert crossed(seen(fell=("xen3", "xen4"))) == (
        Found.CROSSED,
        "xen3, xen4 fell silent when xen2 was to be switched off",
    )
    assert crossed(seen()) is None


def test_one_that_is_in_doubt_is_waited_for_and_then_nothing_is_bound() -> None:
    case = seen(doubtful=("xen3",))
    assert found(case) is None
    assert found(case, WINDOW_S + DOUBT_S) is Found.FAILED


def test_a_node_that_is_silent_in_part_is_waited_for_and_was_not_off() -> None:
    assert found(seen(silent=None)) is None
    assert found(seen(silent=None), WINDOW_S + DOUBT_S) is Found.LIES


def test_people_are_told_what_a_device_answered() -> None:
    assert judged(seen("on"), WINDOW_S, WINDOW_S) == (
        Found.FAILED,
        "right reads on after its answer: no answer in time",
    )


def test_only_what_was_asked_for_is_ever_switched_off() -> None:
    """From nowhere else is there a way to off; so nothing is switched off twice."""
    ways = [way for way, after in TABLE.items() if after is DrillStage.OFF]
    assert ways == [(DrillStage.ASKED, Step.BEGUN)]
    assert DrillStage.OVER not in {stage for stage, _ in TABLE}
