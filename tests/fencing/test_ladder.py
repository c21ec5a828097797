"""The ladder: from accused to certified, and everything that must not count as proof."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from fencing.judgement import Belief, Verdict
from fencing.ladder import (
    AGAIN_S,
    SHOTS,
    TABLE,
    Fail,
    Ladder,
    Look,
    Order,
    Power,
    Prove,
    Reading,
    Rung,
    Step,
    Switch,
)

DOOMED = Verdict(Belief.DOOMED)
BRAKED = Verdict(Belief.DOOMED, "Storm", "too many at once")
WELL = Verdict(Belief.WELL)
ONE = (("bmc",),)
TWO = (("bmc",), ("pdu-a", "pdu-b"))

Levels = tuple[tuple[str, ...], ...]


class Climb:
    """A ladder, its devices' answers, and the orders that came of them."""

    def __init__(self, levels: Levels = ONE) -> None:
        self.ladder = Ladder()
        self.levels = levels
        self.now_s = 0.0

    def accuse(self, verdict: Verdict = DOOMED) -> list[Order]:
        return self.ladder.step(verdict, self.levels, self.now_s)

    def see(
        self,
        said: Mapping[str, Power],
        unbound: str = "",
        verdict: Verdict = DOOMED,
        round_: int | None = None,
    ) -> list[Order]:
        readings = [Reading(device, power, unbound) for device, power in said.items()]
        number = self.ladder.round if round_ is None else round_
        return self.ladder.looked(number, readings, verdict, self.levels, self.now_s)

    def switched(self, message: str = "ok") -> list[Order]:
        devices = self.levels[0]
        self.ladder.switched(self.ladder.round, dict.fromkeys(devices, message))
        return self.accuse()


ON, OFF, UNKNOWN = Power.ON, Power.OFF, Power.UNKNOWN


def test_one_that_is_off_already_is_certified_without_a_shot() -> None:
    climb = Climb()
    assert climb.accuse() == [Look(("bmc",))]
    assert climb.see({"bmc": OFF}) == [Prove(("bmc",), "bmc reads off")]
    assert climb.accuse() == [], "proven once"


def test_one_that_is_on_is_switched_off_and_read_again() -> None:
    climb = Climb()
    climb.accuse()
    assert climb.see({"bmc": ON}) == [Switch(("bmc",))]
    assert climb.switched() == [Look(("bmc",))]
    assert climb.see({"bmc": OFF}) == [Prove(("bmc",), "bmc reads off")]


def test_ok_to_off_is_no_proof() -> None:
    climb = Climb()
    climb.accuse()
    climb.see({"bmc": ON})
    climb.switched("Success: Powered OFF")
    (fail,) = climb.see({"bmc": ON})
    assert fail == Fail("bmc: on")
    assert climb.ladder.rung is Rung.HELD


@pytest.mark.parametrize("power", [ON, OFF])
def test_a_device_that_is_not_bound_is_neither_believed_nor_used(power: Power) -> None:
    climb = Climb()
    climb.accuse()
    assert climb.see({"bmc": power}, unbound="its serial is another host's") == [
        Fail("bmc: its serial is another host's")
    ]


def test_a_device_that_does_not_answer_hands_on_to_the_next_level() -> None:
    climb = Climb(TWO)
    climb.accuse()
    assert climb.see({"bmc": UNKNOWN}) == [Look(("pdu-a", "pdu-b"))]
    assert climb.see({"pdu-a": ON, "pdu-b": ON}) == [Switch(("pdu-a", "pdu-b"))]


def test_one_of_two_supplies_off_is_not_off() -> None:
    climb = Climb((("pdu-a", "pdu-b"),))
    climb.accuse()
    climb.see({"pdu-a": ON, "pdu-b": ON})
    climb.switched()
    assert climb.see({"pdu-a": OFF, "pdu-b": ON}) == [Fail("pdu-a: off; pdu-b: on")]


def test_one_supply_that_cannot_be_read_leaves_the_other_alone() -> None:
    climb = Climb((("pdu-a", "pdu-b"),))
    climb.accuse()
    assert climb.see({"pdu-a": ON, "pdu-b": UNKNOWN}) == [Fail("pdu-a: on; pdu-b: unknown")]


def test_a_held_node_is_looked_at_again_and_certified_once_its_device_answers() -> None:
    climb = Climb()
    climb.accuse()
    climb.see({"bmc": UNKNOWN})
    assert climb.accuse() == []
    climb.now_s += AGAIN_S
    assert climb.accuse() == [Look(("bmc",))]
    assert climb.see({"bmc": OFF}) == [Prove(("bmc",), "bmc reads off")]


def test_a_proof_that_leaves_the_node_accused_is_looked_for_again() -> None:
    climb = Climb()
    climb.accuse()
    climb.see({"bmc": OFF})
    assert climb.accuse() == []
    assert climb.ladder.deadline_s == AGAIN_S
    climb.now_s += AGAIN_S
    assert climb.accuse() == [Look(("bmc",))]
    assert climb.see({"bmc": OFF}) == [Prove(("bmc",), "bmc reads off")]


def test_shots_at_one_accusation_are_counted() -> None:
    climb = Climb()
    for _ in range(SHOTS):
        climb.accuse()
        assert climb.see({"bmc": ON}) == [Switch(("bmc",))]
        climb.switched()
        climb.see({"bmc": ON})
        climb.now_s += AGAIN_S
    climb.accuse()
    assert climb.see({"bmc": ON}) == [Fail("bmc: on")]


def test_under_the_brake_it_is_looked_at_and_not_shot() -> None:
    climb = Climb()
    assert climb.accuse(BRAKED) == [Look(("bmc",))]
    assert climb.see({"bmc": ON}, verdict=BRAKED) == [Fail("bmc: on; brake: too many at once")]
    climb.now_s += AGAIN_S
    climb.accuse(BRAKED)
    assert climb.see({"bmc": OFF}, verdict=BRAKED) == [Prove(("bmc",), "bmc reads off")]


@pytest.mark.parametrize("rung", [Rung.LOOK, Rung.VERIFY])
def test_an_acquitted_node_is_let_go_from_every_rung(rung: Rung) -> None:
    climb = Climb()
    climb.accuse()
    if rung is Rung.VERIFY:
        climb.see({"bmc": ON})
        climb.switched()
    assert climb.ladder.rung is rung
    assert climb.see({"bmc": OFF}, verdict=WELL) == []
    assert climb.ladder.rung is Rung.IDLE


def test_an_answer_to_an_earlier_question_changes_nothing() -> None:
    climb = Climb()
    climb.accuse()
    asked = climb.ladder.round
    climb.accuse(WELL)
    climb.accuse()
    assert climb.see({"bmc": OFF}, round_=asked) == []
    assert climb.ladder.rung is Rung.LOOK


def test_a_node_without_a_device_is_held_at_once() -> None:
    climb = Climb(())
    assert climb.accuse() == [Fail("it has no fence device")]
    assert climb.accuse() == []


def test_every_rung_is_left_when_the_node_is_heard() -> None:
    assert all(TABLE[rung, Step.ACQUITTED] is Rung.IDLE for rung in Rung)
