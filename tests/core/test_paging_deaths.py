"""Paging about nodes that die: what was done, what keeps their VMs down, and what would keep them down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace as with_parts

import pytest
from msgspec.structs import replace

from fencing.judgement import Belief
from membership.clock import Now
from membership.ledger import ALARM, AlarmTold, Drain, Fact, FactValue, Hold, Ledger
from membership.proofs import Drill, Lost
from membership.view import Peer, PeerState
from reconciler.accusing import Hearing, accused
from reconciler.actions import Blocked, Cause, Plan, Rejection, Verb
from reconciler.observed import Operation
from reconciler.paging import Away, Dead, Held, Page, Severity, Situation, alarms, ended
from reconciler.situations import DOWN_S, LATE_S, situation
from schema.model import Desired
from tests.core.court import (
    EPOCH_S,
    TREE,
    WEB,
    deaf_to,
    died,
    facts,
    failing,
    hearing,
    host,
    knowing,
    runs_on,
    silent,
    tree,
)

DEAD = {"xen2": deaf_to("xen3"), "xen3": silent()}
PLACES = {f"may-run__{WEB}": runs_on("xen3")}
LOST = Lost(vm=WEB, node="xen3", host=host("xen3"), certificate="C-xen3")
NOWHERE = Blocked(
    object="vm/web1",
    verb=Verb.START,
    cause=Cause.RECOVERY,
    reason="InsufficientMemory",
    message="no node has enough free memory",
    needs=16 * 2**30,
    best=Rejection(node="xen2", reason="InsufficientMemory", needs=16 * 2**30, has=11 * 2**30),
)


def seen(at: Hearing, plan: Plan | None = None) -> Situation:
    """The situation of a node that hears this."""
    return situation(knowing(at, plan), None, "", at.now)


def told(at: Hearing, plan: Plan | None = None) -> dict[str, Page]:
    return alarms(seen(at, plan), at.now)


def dead(**more: FactValue) -> Hearing:
    known = {**PLACES, "certificate__xen3": died("xen3"), **more}
    return hearing(DEAD, probing=failing("xen3"), ledger=facts(**known))


# --- a node was fenced ----------------------------------------------------------------------------------


def test_a_death_is_told_with_its_proof_and_how_many_vms_run_again() -> None:
    page = told(dead(**{f"lost__{WEB}": LOST}))["dead/xen3"]
    assert page.severity is Severity.CRITICAL
    assert page.title == "node xen3 is dead (C-xen3: bmc reads off); 1 VM is to run again"
    assert "web1" in page.text
    assert "By xen1." in page.text
    assert "0 VMs are to run again" in told(dead())["dead/xen3"].title


def test_its_end_is_told_once_it_answers_and_not_because_nothing_is_known_yet() -> None:
    back = dead()
    alive = {**back.view.peers, "xen3": Peer(state=PeerState.ALIVE, last_heard_s=0.1)}
    again = hearing(alive, ledger=facts(certificate__xen3=died("xen3", boot_hint="1")), at_s=100.0)
    assert "dead/xen3" not in told(again)
    assert ended("dead/xen3", seen(again))
    unknown = {**back.view.peers, "xen3": Peer(state=PeerState.UNKNOWN)}
    assert not ended("dead/xen3", seen(hearing(unknown, ledger=facts())))
    assert not ended("dead/xen3", replace(seen(back), dead=None, answering=()))


def test_a_void_certificate_says_what_may_run_twice() -> None:
    known: dict[str, FactValue] = {
        **PLACES,
        "certificate__xen3": died("xen3", void="its toolstack answers"),
        "hold__H-C-xen3": Hold(id="H-C-xen3", reason="certificate C-xen3 is void", by="cxm"),
    }
    at = hearing(DEAD, probing=failing("xen3"), ledger=facts(**known))
    found = told(at)
    assert "dead/xen3" not in found
    assert "may run twice" in found["hold/H-C-xen3"].text
    assert "cxm why node/xen3" in found["hold/H-C-xen3"].text
    other = hearing(ledger=facts(hold__H=Hold(id="H", reason="smoke", by="root")))
    assert "twice" not in told(other)["hold/H"].text


# --- what died does not run again -----------------------------------------------------------------------


def kept_down(after_s: float, *rows: Blocked, lost: bool = True) -> Situation:
    known: Mapping[str, FactValue] = {f"lost__{WEB}": LOST} if lost else {}
    at = dead(**known)
    later = hearing(DEAD, probing=at.probing, ledger=at.ledger, at_s=after_s)
    return seen(later, Plan(blocked=rows))


def test_a_vm_that_cannot_be_recovered_is_told_with_the_numbers_once_that_lasts() -> None:
    now = Now(mono_s=0.0, epoch_s=EPOCH_S)
    assert "down/xen3" not in alarms(kept_down(DOWN_S - 1.0, NOWHERE), now)
    page = alarms(kept_down(DOWN_S, NOWHERE), now)["down/xen3"]
    assert page.severity is Severity.CRITICAL
    assert page.title == ("vm/web1 of xen3, which died, does not run again: InsufficientMemory")
    assert "needs 16384 MiB, best is xen2 with 11264 MiB" in page.text


@pytest.mark.parametrize("reason", ["Held", "ColdStart"])
def test_what_people_hear_of_otherwise_is_not_told_again_for_each_vm(reason: str) -> None:
    now = Now(mono_s=0.0, epoch_s=EPOCH_S)
    assert "down/xen3" not in alarms(kept_down(600.0, replace(NOWHERE, reason=reason)), now)


def test_it_is_over_when_it_runs_again_and_not_while_it_only_starts() -> None:
    assert not ended("down/xen3", kept_down(600.0))
    assert ended("down/xen3", kept_down(600.0, lost=False))
    assert not ended("down/xen3", replace(kept_down(600.0, lost=False), down=None))


def test_of_many_vms_one_page_tells() -> None:
    rows = tuple(replace(NOWHERE, object=f"vm/web{n}") for n in range(12))
    given = Situation(
        view=dead().view, ledger=Ledger(), desired=TREE, leaderless_s=None, down={"xen3": rows}
    )
    (page,) = (p for k, p in alarms(given, Now(mono_s=0.0, epoch_s=0.0)).items() if "down" in k)
    assert page.title.startswith("vm/web0 and 11 more of xen3, which died, do not run again")
    assert "and 2 more: cxm diff" in page.text


# --- held -------------------------------------------------------------------------------------------------


def test_of_a_held_node_with_nothing_on_it_the_order_is_named() -> None:
    held = {
        "xen1": Held(why="bmc/xen1: on", remedy="cxm fence xen1", victims=False),
        "xen2": Held(why="bmc/xen2: no answer", remedy="cxm confirm-off xen2"),
    }
    given = Situation(view=dead().view, ledger=Ledger(), desired=TREE, leaderless_s=None, held=held)
    found = alarms(given, Now(mono_s=0.0, epoch_s=0.0))
    assert "Look at it: cxm fence xen1" in found["held/xen1"].text
    assert "stays down" not in found["held/xen1"].text
    assert "When it is off: cxm confirm-off xen2" in found["held/xen2"].text


# --- away ---------------------------------------------------------------------------------------------------

GRACE = {"recovery": {"foreignGrace": "5m"}}


def taken_away(silent_s: float, wished: Desired | None = None, **known: FactValue) -> Hearing:
    states = {"xen2": deaf_to("xen3"), "xen3": silent(silent_s)}
    return hearing(
        states,
        probing=failing("xen3"),
        ledger=facts(**PLACES, **known),
        wished=wished if wished is not None else tree(**GRACE),
        hosts={"xen3": {"operations": (Operation(kind="reboot"),)}},
    )


def test_somebody_elses_maintenance_is_told_after_foreign_grace() -> None:
    assert "away/xen3" not in told(taken_away(299.0))
    page = told(taken_away(300.0))["away/xen3"]
    assert "somebody's reboot of it is under way" in page.text
    assert "5 minutes" in page.text
    assert "cxm confirm-off xen3" in page.text


def test_one_whose_daemon_said_goodbye_and_whose_server_died_is_told_until_it_is_sworn_dead() -> (
    None
):
    states = {"xen2": deaf_to("xen3"), "xen3": silent(900.0, PeerState.LEFT)}
    probing = failing("xen3", since_s=900.0)
    page = told(hearing(states, probing=probing, wished=tree(**GRACE)))["away/xen3"]
    assert "said goodbye" in page.text
    assert "cxm confirm-off xen3" in page.text
    sworn = facts(**PLACES, certificate__xen3=died("xen3", kind="sworn"))
    at = hearing(states, probing=probing, wished=tree(**GRACE), ledger=sworn)
    assert accused(at).verdicts["xen3"].belief is Belief.DEAD
    found = seen(at)
    assert "away/xen3" not in alarms(found, at.now)
    assert ended("away/xen3", found)


def test_what_cxm_drains_is_nobody_elses() -> None:
    drain = Drain(node="xen3", until_epoch_s=None, reason="fan", by="root")
    assert "away/xen3" not in told(taken_away(900.0, drain__xen3=drain))


def test_it_is_over_when_it_answers_or_is_proven_dead() -> None:
    gone = seen(taken_away(900.0))
    assert not ended("away/xen3", replace(gone, away={}))
    assert ended("away/xen3", replace(gone, away={}, answering=("xen3",)))
    assert ended("away/xen3", replace(gone, dead={"xen3": Dead(certificate=died("xen3"))}))
    assert ended("away/gone", gone), "it is in the tree no more"
    assert isinstance((gone.away or {})["xen3"], Away)


# --- trials of fence devices --------------------------------------------------------------------------------

DAY_S = 86_400.0
TRIED = Drill(device="bmc/xen3", node="xen3", host=host("xen3"), message="reads on")


def tried(age_s: float, *, states: Mapping[str, Peer] | None = None, **more: FactValue) -> Hearing:
    drill = replace(TRIED, passed=True, passed_epoch_s=EPOCH_S)
    known = facts(**PLACES, **more).merge(
        [Fact(key="drill/bmc/xen3/xen3", term=3, seq=90, at_epoch_s=EPOCH_S, value=drill)]
    )
    return hearing(states, ledger=known, at_s=age_s)


DRILL = "drill/xen3/bmc/xen3"


def test_a_trial_that_is_older_than_its_schedule_allows_is_told() -> None:
    assert DRILL not in told(tried(DAY_S + LATE_S))
    page = told(tried(DAY_S + LATE_S + 1.0))[DRILL]
    assert page.severity is Severity.WARNING
    assert "25 h ago, every 24 h is wanted" in page.title
    assert "cxm fence-drill xen3" in page.text


def test_a_device_that_never_passed_is_told_at_once() -> None:
    unbound = replace(TRIED, message="not bound to xen3")
    key = "drill__bmc__xen3__xen3"
    found = told(hearing(ledger=facts(**PLACES, **{key: unbound})))
    assert "it never passed a trial: not bound to xen3" in found[DRILL].title


def test_the_devices_of_a_node_that_is_not_well_are_not_tried_so_nothing_new_is_told() -> None:
    at = tried(3 * DAY_S, states=DEAD)
    assert DRILL not in told(at)
    note: FactValue = AlarmTold(severity="warning", title="t")
    fact = Fact(key=f"{ALARM}{DRILL}", term=3, seq=99, at_epoch_s=EPOCH_S, value=note)
    noted = hearing(DEAD, ledger=at.ledger.merge([fact]), at_s=3 * DAY_S)
    assert DRILL in told(noted), "what was told stands until a trial passes"


# --- the pool starts VMs by itself --------------------------------------------------------------------------


@pytest.mark.parametrize(("pool", "vm"), [(True, True), (True, False), (False, True)])
def test_auto_poweron_is_told_where_both_flags_are_on(pool: bool, vm: bool) -> None:
    at = hearing()
    vms = {uuid: replace(real, auto_poweron=vm) for uuid, real in at.observed.vms.items()}
    shown = replace(at.observed, vms=vms, pool=replace(at.observed.pool, auto_poweron=pool))
    found = told(with_parts(at, observed=shown))
    assert ("auto-poweron" in found) is (pool and vm)


def test_it_is_over_once_the_pool_is_seen_without_it() -> None:
    assert ended("auto-poweron", seen(hearing()))
    assert not ended("auto-poweron", replace(seen(hearing()), autostarted=None))
