"""Accusing: what is made of what is heard, asked and observed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fencing.judgement import Belief, Verdict
from membership.clock import Now
from membership.ledger import Fact, Freeze, Hold
from membership.proofs import Attempt, Lost, Unread
from membership.view import Peer, PeerState
from reconciler.accusing import Hearing, accused
from reconciler.actions import Action, Cause, ResetPower, Verb
from reconciler.adoption import adopt
from reconciler.aftermath import Shot, doubted, ended, losses
from reconciler.drift import VmChange
from reconciler.journal import InFlight, JournalState
from reconciler.messages import Probed
from reconciler.observed import Operation
from reconciler.probing import Probing
from reconciler.recovery_rows import recovery_rows
from tests.core.court import (
    EPOCH_S,
    MONO_S,
    NAMES,
    NODE,
    WEB,
    deaf_to,
    died,
    facts,
    failing,
    hearing,
    host,
    runs_on,
    silent,
    tree,
)
from tests.core.stage import desired

DEAD = {"xen2": deaf_to("xen3"), "xen3": silent()}
PLACES = {f"may-run__{WEB}": runs_on("xen3")}


def verdict(at: Hearing, name: str = "xen3") -> Verdict:
    return accused(at).verdicts[name]


def test_a_silent_node_whose_server_does_not_answer_is_doomed() -> None:
    found = verdict(hearing(DEAD, probing=failing("xen3")))
    assert found.belief is Belief.DOOMED
    assert found.may_shoot


def test_nobody_else_is() -> None:
    found = accused(hearing(DEAD, probing=failing("xen3"))).verdicts
    assert {name for name, verdict in found.items() if verdict.belief is Belief.WELL} == {
        "xen1",
        "xen2",
    }


def test_a_peer_that_still_hears_it_contradicts() -> None:
    states = {"xen3": silent()}
    assert verdict(hearing(states, probing=failing("xen3"))).reason == "Contradicted"


def test_a_server_that_answers_is_blind() -> None:
    probing = failing("xen3")
    now = Now(mono_s=MONO_S - 2.0, epoch_s=EPOCH_S)
    list(probing.due({"xen3": "a"}, now))
    probing.probed(Probed(name="xen3", answers=True, at_s=now.mono_s))
    at = hearing(DEAD, probing=probing)
    assert verdict(at).belief is Belief.BLIND
    assert host("xen3") in accused(at).pool.reporting


@pytest.mark.parametrize(
    "shown",
    [
        {"enabled": False},
        {"operations": (Operation(kind="reboot"),)},
        {"operations": (Operation(kind="shutdown"),)},
    ],
)
def test_one_that_somebody_takes_down_is_away(shown: dict[str, object]) -> None:
    at = hearing(DEAD, probing=failing("xen3"), hosts={"xen3": shown})
    assert verdict(at).belief is Belief.AWAY


DISABLED = {"xen3": {"enabled": False}}


def test_one_that_cxm_closed_is_nobody_elses() -> None:
    """It was written off, or cordoned: that somebody works on it is not said by that."""
    at = hearing(DEAD, probing=failing("xen3"), hosts=DISABLED)
    ours = replace(at, journal=JournalState(own_cordons={host("xen3")}))
    assert verdict(ours).belief is Belief.DOOMED
    cordoned = desired(
        cluster={"fencing": {"agent": "fence_ipmilan"}},
        nodes={
            name: {**NODE, "bmc": f"10.0.0.{n}", "schedulable": name != "xen3"}
            for n, name in enumerate(NAMES, start=1)
        },
        vms={"web1": {"state": "running"}},
    )
    at = hearing(DEAD, probing=failing("xen3"), hosts=DISABLED, wished=cordoned)
    assert verdict(at).belief is Belief.DOOMED


def test_one_that_was_written_off_is_looked_at_again_where_the_ledger_is_not_trusted() -> None:
    """Whoever wrote it off need not be who leads now: a device proves no death of a disabled node, so
    what it proved was closed after that. An oath is sworn of any."""
    unread = Unread(why="the ledger of xen2 was not read")
    for kind, belief in (("power-off", Belief.DOOMED), ("sworn", Belief.AWAY)):
        ledger = facts(**PLACES, certificate__xen3=died("xen3", kind=kind), **{"may-run": unread})
        at = hearing(DEAD, probing=failing("xen3"), ledger=ledger, hosts=DISABLED)
        assert verdict(at).belief is belief


def test_one_that_the_pool_gave_up_at_once_said_goodbye() -> None:
    at = hearing(DEAD, probing=failing("xen3"), hosts={"xen3": {"live": False}})
    assert verdict(at).belief is Belief.AWAY
    late = {**DEAD, "xen3": silent(700.0)}
    at = hearing(late, probing=failing("xen3"), hosts={"xen3": {"live": False}})
    assert verdict(at).belief is Belief.DOOMED


def test_one_on_which_nothing_is_at_stake_is_spared() -> None:
    at = hearing(DEAD, probing=failing("xen3"), on="xen2", ledger=facts())
    assert verdict(at).belief is Belief.SPARED


def test_a_place_in_the_ledger_is_at_stake_though_the_record_is_elsewhere() -> None:
    """It may have run there when the node fell silent."""
    at = hearing(DEAD, probing=failing("xen3"), on="xen2", ledger=facts(**PLACES))
    assert verdict(at).belief is Belief.DOOMED


def test_a_certificate_that_covers_all_of_it_is_the_end() -> None:
    ledger = facts(**PLACES, certificate__xen3=died("xen3"))
    found = verdict(hearing(DEAD, probing=failing("xen3"), ledger=ledger))
    assert (found.belief, found.message) == (Belief.DEAD, "certificate C-xen3")


def test_a_certificate_of_an_earlier_death_is_not() -> None:
    again = runs_on("xen3")
    places = tuple(type(p)(host=p.host, term=3, seq=9) for p in again.places)
    ledger = facts(
        certificate__xen3=died("xen3"), **{f"may-run__{WEB}": type(again)(vm=WEB, places=places)}
    )
    assert verdict(hearing(DEAD, probing=failing("xen3"), ledger=ledger)).may_shoot


@pytest.mark.parametrize(
    ("fact", "reason"),
    [
        ({"hold__H": Hold(id="H", reason="smoke", by="root")}, "Held"),
        (
            {
                "freeze__xen3": Freeze(
                    object="node/xen3",
                    scopes=("fencing",),
                    until_epoch_s=None,
                    reason="",
                    by="root",
                )
            },
            "Frozen",
        ),
    ],
)
def test_what_people_said_forbids(fact: dict[str, object], reason: str) -> None:
    ledger = facts(**PLACES, **fact)  # type: ignore[arg-type]
    found = verdict(hearing(DEAD, probing=failing("xen3"), ledger=ledger))
    assert (found.belief, found.reason) == (Belief.REFUSED, reason)


def test_in_mode_observe_nobody_is_fenced() -> None:
    at = hearing(DEAD, probing=failing("xen3"), wished=tree(mode="observe"))
    assert verdict(at).reason == "ClusterMode"
    assert verdict(hearing(DEAD, probing=failing("xen3"), wished=tree(mode="recover"))).may_shoot


def test_two_of_three_at_once_are_a_storm() -> None:
    states = {"xen2": silent(), "xen3": silent()}
    found = verdict(hearing(states, probing=failing("xen2", "xen3")))
    assert found.reason == "AccuserUnfit", "it hears nobody else: it may be the one that is cut off"


def test_the_budget_is_of_nodes_within_an_hour() -> None:
    other = Attempt(
        id="F-1", node="xen2", host=host("xen2"), devices=(), stage="proven", by="xen1", why=""
    )
    ledger = facts(**PLACES, fence__xen2=other)
    found = verdict(hearing(DEAD, probing=failing("xen3"), ledger=ledger))
    assert (found.may_look, found.may_shoot, found.reason) == (True, False, "Budget")


def test_one_that_said_goodbye_before_its_certificate_is_dead_and_one_that_did_so_after_is_not() -> (
    None
):
    ledger = facts(**PLACES, certificate__xen3=died("xen3"))
    for last_heard_s, belief in ((90.0, Belief.DEAD), (30.0, Belief.AWAY)):
        left = {"xen2": deaf_to("xen3"), "xen3": silent(last_heard_s, PeerState.LEFT)}
        at = hearing(left, probing=failing("xen3"), ledger=ledger, at_s=60.0)
        assert accused(at).verdicts["xen3"].belief is belief


# --- aftermath ------------------------------------------------------------------------------------------


def voids(at: Hearing, shots: dict[str, Shot] | None = None) -> list[str]:
    adoption = adopt(at.desired, at.observed)
    return [why for _, why in doubted(at, accused(at), adoption, shots or {})]


CERTIFIED = facts(**PLACES, certificate__xen3=died("xen3", boot="kernel 7"))


def test_the_old_boot_voids_its_certificate_and_a_new_one_does_not() -> None:
    old = Peer(state=PeerState.ALIVE, boot="kernel 7")
    new = Peer(state=PeerState.ALIVE, boot="kernel 8")
    assert voids(hearing({"xen3": old}, ledger=CERTIFIED)) == [
        "the daemon of its old boot is heard"
    ]
    assert voids(hearing({"xen3": new}, ledger=CERTIFIED)) == []


def answered(at_s: float) -> Probing:
    """xen3's server did not answer, and has answered again a moment before this."""
    probing = failing("xen3")
    now = Now(mono_s=MONO_S + at_s - 1.0, epoch_s=EPOCH_S)
    list(probing.due({"xen3": "a"}, now))
    probing.probed(Probed(name="xen3", answers=True, at_s=now.mono_s))
    return probing


@pytest.mark.parametrize("ahead_s", [300.0, -300.0])
@pytest.mark.parametrize(("known_s", "void"), [(30.0, True), (120.0, False)])
def test_what_was_heard_since_is_measured_from_when_the_certificate_came(
    ahead_s: float, known_s: float, void: bool
) -> None:
    """Whoever issued it has another wall clock than who leads now."""
    issued = died("xen3", boot="kernel 7")
    fact = Fact(key="certificate/xen3", term=3, seq=9, at_epoch_s=EPOCH_S + ahead_s, value=issued)
    at = hearing(DEAD, probing=answered(known_s), ledger=CERTIFIED.merge([fact]), at_s=known_s)
    at.arrivals.note([fact], Now(mono_s=MONO_S, epoch_s=EPOCH_S))
    assert bool(voids(at)) is void


def test_a_certificate_of_a_time_that_is_yet_to_come_is_voided_by_any_sign() -> None:
    """It was known before this daemon started, and whoever issued it has a clock that is ahead."""
    old = Peer(state=PeerState.ALIVE, last_heard_s=0.5, boot="kernel 7")
    issued = died("xen3", boot="kernel 7")
    fact = Fact(key="certificate/xen3", term=3, seq=9, at_epoch_s=EPOCH_S + 300.0, value=issued)
    at = hearing({"xen3": old}, ledger=CERTIFIED.merge([fact]))
    assert voids(at) == ["the daemon of its old boot is heard"]


@pytest.mark.parametrize(("later_s", "void"), [(20.0, True), (120.0, False)])
def test_a_toolstack_that_answers_before_a_server_can_boot_is_the_old_one(
    later_s: float, void: bool
) -> None:
    at = hearing(DEAD, probing=answered(later_s), ledger=CERTIFIED, at_s=later_s)
    assert bool(voids(at)) is void


def test_nothing_is_done_about_a_dead_server_whose_toolstack_answers() -> None:
    """The pool does not count it as live yet, and its daemon is silent."""
    not_live = {"xen3": {"live": False}}
    for probing, rows in ((failing("xen3"), ["reset"]), (answered(700.0), [])):
        at = hearing(DEAD, probing=probing, ledger=CERTIFIED, hosts=not_live, at_s=700.0)
        found = recovery_rows(accused(at), at.adoption, at.observed)
        assert [row.verb.value for row in found if isinstance(row, VmChange)] == rows


def test_another_that_falls_silent_in_its_place_voids_it() -> None:
    states = {"xen2": silent(6.0, PeerState.SUSPECT), "xen3": silent()}
    at = hearing(states, ledger=CERTIFIED)
    shot = {"xen3": Shot(MONO_S - 10.0, frozenset({"xen3"}))}
    assert voids(at, shot) == ["xen2 fell silent when it was switched off"]
    assert voids(at, {"xen3": Shot(MONO_S - 40.0, frozenset({"xen3"}))}) == []
    assert voids(at, {"xen3": Shot(MONO_S - 10.0, frozenset({"xen2", "xen3"}))}) == []


def test_what_died_is_what_the_records_place_there() -> None:
    at = hearing(DEAD, ledger=CERTIFIED)
    (lost,) = losses(died("xen3"), adopt(at.desired, at.observed))
    assert (lost.vm, lost.node, lost.certificate) == (WEB, "xen3", "C-xen3")
    assert list(losses(died("xen2"), adopt(at.desired, at.observed))) == []


def still_lost(*, boot: str, on: str = "xen3", resets: bool = False) -> bool:
    """Whether web1, which died with xen3, is lost yet. The daemon of xen3 is heard anew; its toolstack, if
    `boot` is another one than 1000, has told of that."""
    lost = Lost(vm=WEB, node="xen3", host=host("xen3"), certificate="C-xen3")
    ledger = facts(**PLACES, certificate__xen3=died("xen3", boot_hint="1000"), lost__web1=lost)
    back = {"xen3": Peer(state=PeerState.ALIVE, last_heard_s=0.5, boot="new", sees=NAMES)}
    at = hearing(back, ledger=ledger, hosts={"xen3": {"boot_hint": boot}}, on=on, at_s=120.0)
    action = Action(
        id="a",
        object="vm/web1",
        verb=Verb.RESET,
        cause=Cause.RECOVERY,
        reason="NodeDead",
        message="",
        call=ResetPower(vm=WEB),
    )
    journal = JournalState(in_flight={"t": InFlight("t", action, WEB, 0.0)} if resets else {})
    at = replace(at, journal=journal)
    deaths = accused(at)
    assert host("xen3") in deaths.pool.reporting
    return not list(ended(at, deaths, at.adoption))


def test_a_record_of_before_the_death_ends_no_loss() -> None:
    """A daemon may be heard before the toolstack beneath it has told what runs there."""
    assert still_lost(boot="1000")
    assert still_lost(boot="9000", resets=True)
    assert not still_lost(boot="9000"), "it was started there since"
    assert not still_lost(boot="1000", on="xen2")
