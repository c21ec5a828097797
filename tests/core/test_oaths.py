"""Oaths and orders: what people may swear after a blackout, and what they may have tried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from msgspec.structs import replace as with_fields

from fencing.ladder import Power, Reading
from membership.ledger import FactValue, Withdrawn
from membership.proofs import (
    LIVE_DRILL,
    Certificate,
    ColdStart,
    DrillStage,
    LiveDrill,
    MayRun,
    Place,
    Tie,
)
from reconciler.accusing import Hearing, accused
from reconciler.actions import Plan
from reconciler.adoption import adopt
from reconciler.blackout import noted
from reconciler.decision import Decision
from reconciler.drilling import Seen
from reconciler.facts import Facts
from reconciler.messages import READING, AskBootstrap, AskConfirmOff, AskLiveDrill, Probed
from reconciler.oaths import bootstrap, confirm_off, live_drill
from reconciler.probing import Probing
from reconciler.revisions import Revisions
from tests.core import drills
from tests.core.court import WEB, deaf_to, host, runs_on
from tests.core.orphans import orphaned, promoted
from tests.core.test_blackout import AFTER, site
from tests.plan.expansion import identity

COLD: tuple[str, FactValue] = ("cold-start", ColdStart(absent=("xen3", "xen4")))
HERE = dict.fromkeys(("xen1", "xen2"), AFTER)
AWAY = ("xen3", "xen4")


def dark(*facts: tuple[str, FactValue]) -> Hearing:
    """xen1 and xen2 are back after a blackout; xen3 and xen4 are silent in every way."""
    on_xen4 = Place(host=identity("host", "xen4"), term=1, seq=1)
    ran = MayRun(vm=identity("vm", "web2"), places=(on_xen4,))
    at = site(HERE, (f"may-run/{ran.vm}", ran), *facts, silent=AWAY)
    peers = {
        name: with_fields(peer, sees=("xen1", "xen2"), last_heard_s=300.0)
        for name, peer in at.view.peers.items()
    }
    probing = at.probing.struck(AWAY, 300.0, at.now)
    return replace(at, view=with_fields(at.view, peers=peers), probing=probing)


def known(at: Hearing, powers: Mapping[str, str]) -> Facts:
    """All that a reconciler knows; `powers` is what the controllers of nodes said a moment ago."""
    seen = {
        (node, f"bmc/{node}"): Seen(
            Reading(f"bmc/{node}", Power(power)), Tie.IDENTITY, at.now.mono_s
        )
        for node, power in powers.items()
    }
    return Facts(
        me=at.me,
        version="1",
        cluster_id="c",
        view=at.view,
        ledger=at.ledger,
        journal=at.journal,
        revisions=Revisions("c", None),
        observed=at.observed,
        lost=None,
        drift=None,
        plan=Plan(),
        planned=None,
        proposed=None,
        proof_s=None,
        looks=0,
        answered_s=None,
        failures=0,
        hearing=at,
        deaths=None,
        readings=seen,
    )


def sworn(
    at: Hearing,
    *absent: str,
    powers: Mapping[str, str] | None = None,
    against: bool = False,
) -> Decision:
    said = powers if powers is not None else dict.fromkeys(AWAY, "unknown")
    ask = AskBootstrap(absent=absent, reason="burnt", against_evidence=against, by="alice")
    return bootstrap(ask, known(at, said))


def certified(decision: Decision) -> list[tuple[str, str]]:
    certificates = [value for _, value in decision.facts if isinstance(value, Certificate)]
    return [(found.node, found.id) for found in certificates]


def test_all_that_are_absent_are_certified_at_once_each_by_its_own() -> None:
    decision = sworn(dark(COLD), "xen4", "xen3")
    assert decision.reply.accepted, decision.reply
    (one, first), (other, second) = certified(decision)
    assert (one, other) == ("xen3", "xen4")
    assert first != second


def test_that_ends_the_waiting() -> None:
    at = dark(COLD)
    after = at.supposing(sworn(at, *AWAY).facts)
    said = dict(noted(after, accused(after), adopt(after.desired, after.observed)))
    assert isinstance(said["cold-start"], Withdrawn)


@pytest.mark.parametrize(
    ("absent", "reason"),
    [
        ((), "NotNamed"),
        (("xen3",), "NotNamed"),
        (("xen3", "xen4", "xen2"), "Contradicted"),
        (("xen3", "xen4", "nobody"), "UnknownObject"),
    ],
)
def test_whom_it_has_to_name(absent: tuple[str, ...], reason: str) -> None:
    decision = sworn(dark(COLD), *absent)
    assert (decision.reply.accepted, decision.reply.reason) == (False, reason)
    assert decision.facts == ()


def test_who_is_not_named_is_told() -> None:
    assert "--absent xen3 --absent xen4" in sworn(dark(COLD)).reply.message


def test_one_that_is_said_to_be_on_refuses_it_for_all() -> None:
    powers = {"xen3": "off", "xen4": "on"}
    decision = sworn(dark(COLD), *AWAY, powers=powers)
    assert (decision.reply.reason, decision.facts) == ("Contradicted", ())
    assert "bmc/xen4 says that it is on" in decision.reply.message
    overruled = sworn(dark(COLD), *AWAY, powers=powers, against=True)
    assert [node for node, _ in certified(overruled)] == ["xen3", "xen4"]
    evidence = {v.node: v.evidence for _, v in overruled.facts if isinstance(v, Certificate)}
    assert "against the evidence" in evidence["xen4"]
    assert "against the evidence" not in evidence["xen3"]


def test_no_word_outweighs_a_sign_of_life() -> None:
    decision = sworn(dark(COLD), "xen2", *AWAY, against=True)
    assert (decision.reply.reason, decision.facts) == ("Contradicted", ())


def test_a_toolstack_that_answers_is_a_sign_of_life_though_the_pool_gave_the_host_up() -> None:
    at = dark(COLD)
    probing, now = Probing(), at.now
    list(probing.due({"xen3": "a"}, now))
    probing.probed(Probed(name="xen3", answers=True, at_s=now.mono_s))
    xen3 = identity("host", "xen3")
    lost = with_fields(at.observed.nodes[xen3], live=False)
    observed = with_fields(at.observed, nodes={**at.observed.nodes, xen3: lost})
    ask = AskConfirmOff(node="xen3", reason="burnt", by="alice", against_evidence=True)
    said = confirm_off(ask, known(replace(at, probing=probing, observed=observed), {"xen3": "off"}))
    assert (said.reply.reason, said.facts) == ("Contradicted", ())
    assert "its toolstack answers" in said.reply.message


def test_all_devices_are_read_first() -> None:
    decision = sworn(dark(COLD), *AWAY, powers={"xen3": "unknown"})
    assert (decision.reply.reason, decision.read) == (READING, ("xen4",))


def test_there_is_nothing_to_end_where_nothing_waits() -> None:
    assert sworn(dark(), *AWAY).reply.reason == "NoColdStart"
    untold: tuple[str, FactValue] = ("cold-start", ColdStart(absent=(), untold=("xen3",)))
    assert sworn(dark(untold)).reply.reason == "NobodyAbsent"


def test_only_a_leader_takes_it() -> None:
    assert sworn(replace(dark(COLD), leads=False), *AWAY).reply.reason == "NotActing"


def test_one_oath_is_of_one_node() -> None:
    at = dark(COLD)
    ask = AskConfirmOff(node="xen3", reason="burnt", by="alice")
    decision = confirm_off(ask, known(at, dict.fromkeys(AWAY, "off")))
    assert [node for node, _ in certified(decision)] == ["xen3"]
    again = at.supposing(decision.facts)
    told = confirm_off(ask, known(again, {})).reply
    assert told.accepted
    assert "dead already" in told.message


@pytest.mark.parametrize(
    ("master", "known_facts", "expires"),
    [("xen3", {}, False), ("xen1", {}, True), ("xen1", {"promotion": promoted()}, False)],
)
def test_an_oath_of_whom_the_pool_waits_for_does_not_expire(
    master: str, known_facts: dict[str, FactValue], expires: bool
) -> None:
    """Nothing ran there; and yet nothing goes on anywhere before that one is proven dead."""
    elsewhere = {f"may-run__{WEB}": runs_on("xen2"), "certificate__xen3": None}
    at = orphaned(on="xen2", but={**elsewhere, **known_facts}, master=host(master))
    peers = {**at.view.peers, "xen2": deaf_to("xen3")}
    at = replace(at, view=with_fields(at.view, peers=peers))
    ask = AskConfirmOff(node="xen3", reason="burnt", by="alice")
    decision = confirm_off(ask, known(at, {"xen3": "off"}))
    (certificate,) = (fact for _, fact in decision.facts if isinstance(fact, Certificate))
    assert (certificate.until_epoch_s is not None) is expires


# --- live drills ----------------------------------------------------------------------------------------


def wanted(at: Hearing, powers: Mapping[str, str] = drills.ON, device: str = "") -> Decision:
    facts = replace(known(at, {}), readings=drills.readings(at, powers))
    ask = AskLiveDrill(node="xen2", reason="new cables", device=device, by="alice")
    return live_drill(ask, facts, at.now)


def test_a_drill_that_nothing_forbids_is_told_to_all_before_it_begins() -> None:
    at = drills.heard()
    decision = wanted(at)
    ((key, drill),) = decision.facts
    assert isinstance(drill, LiveDrill)
    assert (key, drill.stage, drill.devices) == (LIVE_DRILL, DrillStage.ASKED, ("left", "right"))
    assert (decision.reply.message, decision.reply.notes) == (drill.id, drill.devices)


def test_its_devices_are_read_first() -> None:
    decision = wanted(drills.heard(), {})
    assert (decision.reply.reason, decision.read) == (READING, ("xen2",))


def test_one_at_a_time() -> None:
    at = drills.heard(known=drills.ledger((LIVE_DRILL, drills.ASKED)))
    assert wanted(at).reply.reason == "Drilling"
    over = with_fields(drills.ASKED, stage=DrillStage.OVER)
    assert wanted(drills.heard(known=drills.ledger((LIVE_DRILL, over)))).reply.accepted


@pytest.mark.parametrize(
    ("powers", "device", "reason"),
    [({"left": "on", "right": "off"}, "", "NotOn"), (drills.ON, "nobody", "UnknownDevice")],
)
def test_what_forbids_it_is_told(powers: Mapping[str, str], device: str, reason: str) -> None:
    reply = wanted(drills.heard(), powers, device).reply
    assert (reply.accepted, reply.reason) == (False, reason)
