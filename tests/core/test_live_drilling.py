"""Live drilling: what forbids it, what is said before what is done, and what a successor makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from dataclasses import replace as with_parts

from msgspec.structs import replace

from fencing.live_drill import CALM_S, DOUBT_S, GONE_S
from membership.ledger import FactValue, Ledger
from membership.proofs import LIVE_DRILL, Drill, DrillStage, Found, LiveDrill, Tie
from membership.view import Peer, PeerState
from reconciler.accusing import Hearing, accused
from reconciler.leading import Moves
from reconciler.live_drilling import DRILL_LOOK, DRILL_OFF, DRILL_ON, LiveDrilling
from reconciler.power import DeviceFound, LookAtPower, PowerLooked, PowerOff, PowerSwitched
from tests.core.court import MONO_S, failing
from tests.core.drills import (
    ASKED,
    BACK,
    FALLEN,
    HELD,
    OFF,
    ON,
    SILENT,
    WINDOW_S,
    heard,
    ledger,
    readings,
)

# --- from asked to over ---------------------------------------------------------------------------------


@dataclass
class Drilled:
    """A drill of xen2, on whichever node plays its leader; the test is its devices."""

    drill: LiveDrill = ASKED
    machine: LiveDrilling = field(default_factory=LiveDrilling)
    facts: dict[str, FactValue] = field(default_factory=dict)
    at_s: float = 0.0
    said: list[str] = field(default_factory=list)

    def hearing(self, states: Mapping[str, Peer] | None, *silent: str) -> Hearing:
        known = ledger(*self.facts.items(), (LIVE_DRILL, self.drill))
        probing = failing(*silent, at_s=MONO_S + self.at_s) if silent else None
        return heard(states, known=known, at_s=self.at_s, probing=probing)

    def step(
        self, states: Mapping[str, Peer] | None = None, *silent: str, after_s: float = 1.0
    ) -> Moves:
        self.at_s += after_s
        at = self.hearing(states, *silent)
        wants = self.machine.step(at, accused(at), readings(at, ON))
        for key, value, _ in wants.facts:
            self.facts[key] = value
            self.drill = value if isinstance(value, LiveDrill) else self.drill
        self.said += [type(effect).__name__ for effect in wants.effects]
        return wants

    def switched(self, round_: int) -> None:
        answers = dict.fromkeys(("left", "right"), "done")
        event = PowerSwitched(node="xen2", round=round_, messages=answers)
        self.machine.switched(event, self.hearing(None))

    def looked(self, powers: Mapping[str, str]) -> None:
        found = tuple(DeviceFound(device=name, power=power) for name, power in powers.items())
        self.machine.looked(PowerLooked(node="xen2", round=DRILL_LOOK, found=found))

    def off(self) -> None:
        """Switched off, and read as off."""
        self.step()
        self.switched(DRILL_OFF)
        self.step()
        self.looked(OFF)

    def successor(self) -> None:
        self.machine = LiveDrilling()
        self.said.clear()

    def live(self, device: str = "left") -> Found | None:
        fact = self.facts.get(f"drill/{device}/xen2")
        return fact.live.found if isinstance(fact, Drill) and fact.live is not None else None


def test_it_is_known_before_anything_is_switched_off() -> None:
    case = Drilled()
    wants = case.step()
    ((key, value, term),) = wants.facts
    assert (key, term) == (LIVE_DRILL, 3)
    assert isinstance(value, LiveDrill)
    assert (value.stage, value.boot) == (DrillStage.OFF, "xen2-1")
    assert value.wirings.keys() == {"left", "right"}
    (effect,) = wants.effects
    assert isinstance(effect, PowerOff)
    assert [use.device for use in effect.devices] == ["left", "right"]


def test_a_node_that_fell_silent_alone_is_bound_when_it_is_back_in_a_new_boot() -> None:
    case = Drilled()
    case.off()
    case.step(SILENT, "xen2", after_s=WINDOW_S)
    assert (case.drill.stage, case.drill.found) == (DrillStage.ON, Found.BOUND)
    assert case.live() is None
    case.step(SILENT, "xen2")
    case.switched(DRILL_ON)
    case.step(BACK)
    case.looked(ON)
    case.step(BACK)
    assert case.drill.stage is DrillStage.OVER
    assert (case.live(), case.live("right")) == (Found.BOUND, Found.BOUND)
    assert case.said == ["PowerOff", "LookAtPower", "PowerOn", "LookAtPower"]


def test_of_an_outlet_that_is_another_one_by_then_nothing_was_shown() -> None:
    """Nor is the other one bound by itself: it was off together with one that nobody knows."""
    case = Drilled()
    case.off()
    case.step(SILENT, "xen2", after_s=WINDOW_S)
    case.drill = replace(case.drill, wirings={**case.drill.wirings, "right": "another"})
    case.step(SILENT, "xen2")
    case.switched(DRILL_ON)
    case.step(BACK)
    case.looked(ON)
    case.step(BACK)
    assert (case.live(), case.live("right")) == (Found.BOUND, None)
    fact = case.facts["drill/left/xen2"]
    assert isinstance(fact, Drill)
    assert fact.live is not None
    assert fact.live.devices == ("left", "right")


def test_one_that_has_left_the_level_by_then_is_part_of_it() -> None:
    case = Drilled()
    case.off()
    case.drill = replace(case.drill, devices=("left", "right", "gone"))
    case.step(after_s=WINDOW_S)
    fact = case.facts["drill/left/xen2"]
    assert isinstance(fact, Drill)
    assert fact.live is not None
    assert fact.live.devices == ("left", "right", "gone")


def test_one_that_comes_back_in_its_old_boot_was_never_off() -> None:
    """A port of a switch that was shut looks like it."""
    case = Drilled()
    case.off()
    case.step(SILENT, "xen2", after_s=WINDOW_S)
    case.step(SILENT, "xen2")
    case.switched(DRILL_ON)
    case.step()
    assert case.drill.stage is DrillStage.ON
    case.step(after_s=CALM_S)
    case.switched(DRILL_ON)
    case.step()
    case.looked(ON)
    case.step()
    assert (case.drill.stage, case.drill.found, case.live()) == (
        DrillStage.OVER,
        Found.LIES,
        Found.LIES,
    )


def test_one_that_lives_on_while_its_devices_read_off() -> None:
    case = Drilled()
    case.off()
    case.step(after_s=WINDOW_S)
    assert (case.drill.found, case.live()) == (Found.LIES, Found.LIES)


def test_a_toolstack_that_answers_is_no_silence() -> None:
    case = Drilled()
    case.off()
    case.step(SILENT, after_s=WINDOW_S + DOUBT_S)
    assert case.drill.found is Found.LIES


def test_one_that_another_peer_hears_is_not_silent() -> None:
    case = Drilled()
    case.off()
    case.step({"xen2": FALLEN}, "xen2", after_s=WINDOW_S + DOUBT_S)
    assert case.drill.found is Found.LIES


def test_another_one_that_falls_ends_it_at_once_and_marks_the_devices() -> None:
    case = Drilled()
    case.step()
    deaf = {"xen1": Peer(state=PeerState.ALIVE, sees=("xen1", "xen2"), boot="xen1-1")}
    case.step({**deaf, "xen3": FALLEN, "xen2": replace(deaf["xen1"], boot="xen2-1")}, "xen3")
    assert (case.drill.stage, case.drill.found) == (DrillStage.ON, Found.CROSSED)
    fact = case.facts["drill/right/xen2"]
    assert isinstance(fact, Drill)
    assert (fact.tie, fact.passed, case.live("right")) == (Tie.OTHER, False, Found.CROSSED)
    case.step()
    assert case.said == ["PowerOff", "PowerOn"]


def test_devices_that_do_not_read_off_are_as_well_known_as_before() -> None:
    case = Drilled()
    case.step()
    case.switched(DRILL_OFF)
    case.step()
    case.looked({"left": "off", "right": "unknown"})
    case.step(after_s=WINDOW_S)
    assert (case.drill.found, case.live()) == (Found.FAILED, None)


def test_a_successor_switches_nothing_off_and_gives_the_power_back() -> None:
    case = Drilled()
    case.off()
    case.successor()
    case.step(SILENT, "xen2", after_s=WINDOW_S)
    assert (case.drill.stage, case.drill.found) == (DrillStage.ON, Found.INTERRUPTED)
    case.step(SILENT, "xen2")
    assert case.said == ["PowerOn"]
    assert case.live() is None


def test_so_does_one_that_led_no_more_for_a_moment() -> None:
    case = Drilled()
    case.off()
    at = with_parts(case.hearing(SILENT, "xen2"), leads=False)
    case.machine.step(at, accused(at), {})
    case.step(SILENT, "xen2", after_s=WINDOW_S)
    assert case.drill.found is Found.INTERRUPTED


def test_a_successor_goes_on_with_what_was_shown_before() -> None:
    case = Drilled()
    case.off()
    case.step(SILENT, "xen2", after_s=WINDOW_S)
    case.successor()
    case.step(SILENT, "xen2")
    case.switched(DRILL_ON)
    case.step(BACK)
    case.looked(ON)
    case.step(BACK)
    assert (case.drill.stage, case.live()) == (DrillStage.OVER, Found.BOUND)


def test_power_is_given_back_again_and_again_and_not_for_ever() -> None:
    case = Drilled()
    case.off()
    case.step(SILENT, "xen2", after_s=WINDOW_S)
    case.said.clear()
    for _ in range(3):
        case.step(SILENT, "xen2", after_s=30.0)
        case.switched(DRILL_ON)
    assert case.said == ["PowerOn"] * 3
    case.step(SILENT, "xen2", after_s=GONE_S)
    assert (case.drill.stage, case.drill.found, case.live()) == (
        DrillStage.OVER,
        Found.FAILED,
        None,
    )
    assert "has not come back" in case.drill.message


def test_what_is_forbidden_by_the_time_it_is_begun_is_not_begun() -> None:
    case = Drilled(facts={HELD[0]: HELD[1]})
    case.step()
    assert (case.drill.stage, case.drill.found, case.said) == (
        DrillStage.OVER,
        Found.REFUSED,
        [],
    )


def test_one_that_may_not_act_yet_waits_with_it() -> None:
    case = Drilled()
    at = with_parts(case.hearing(None), acts=False)
    wants = case.machine.step(at, accused(at), readings(at, ON))
    assert (wants.facts, wants.effects) == ([], [])


def test_a_successor_reads_the_devices_before_it_begins_and_not_for_ever() -> None:
    case = Drilled()
    case.at_s += 1.0
    at = case.hearing(None)
    wants = case.machine.step(at, accused(at), {})
    assert [type(effect) for effect in wants.effects] == [LookAtPower]
    assert wants.facts == []
    case.at_s += 120.0
    at = case.hearing(None)
    wants = case.machine.step(at, accused(at), {})
    assert [value.found for _, value, _ in wants.facts if isinstance(value, LiveDrill)] == [
        Found.REFUSED
    ]


# --- what others make of it -----------------------------------------------------------------------------


def test_nothing_is_put_on_it_and_it_is_not_fenced_meanwhile() -> None:
    """Though somebody ends its maintenance in the middle of it."""
    begun = replace(ASKED, stage=DrillStage.OFF)
    undrained = Ledger().merge(
        fact for fact in ledger((LIVE_DRILL, begun)).facts.values() if fact.key != "drain/xen2"
    )
    well = heard(known=undrained)
    assert dict(accused(well).closed()) == {"xen2": "Drilled"}
    silent = heard(SILENT, known=undrained, probing=failing("xen2"), hosts={})
    verdict = accused(silent).verdicts["xen2"]
    assert (verdict.reason, verdict.may_look) == ("Away", False)
