"""Paging: an alarm is told when it begins and when it is over, by whoever is to tell."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from msgspec.structs import replace

from fencing.devices import levels
from membership.clock import Now
from membership.ledger import Drain, Fact, FactValue, Hold, Ledger
from membership.proofs import Drill, DrillStage, Found, Live, LiveDrill
from membership.view import Health, Peer, PeerState, View
from reconciler.actions import Blocked, Cause, Verb
from reconciler.messages import (
    AskDrain,
    AskHold,
    AskRelease,
    AskUndrain,
    PageTold,
    Probe,
    Tell,
)
from reconciler.pager import GRACE_S
from reconciler.paging import Page, Severity, Situation, alarms, ended, over, wanted
from reconciler.paging import test as trial
from schema.model import Desired
from tests.core.parliament import NAMES, Parliament, parliament
from tests.core.stage import Stage, desired, pool

TREE = desired(nodes={name: {} for name in NAMES})
NOW = Now(mono_s=100.0, epoch_s=5_000.0)
DEAD_AFTER_S = TREE.cluster.heartbeat.dead_after_s


def view(states: Mapping[str, PeerState] | None = None, *, mute: str = "") -> View:
    peers = {name: Peer(state=PeerState.ALIVE) for name in NAMES}
    peers.update({name: Peer(state=state) for name, state in (states or {}).items()})
    return View(
        me="anna",
        term=1,
        leader="anna",
        lead_until_s=1e9,
        peers=peers,
        engine="builtin",
        health=Health(mute=mute),
    )


def situation(
    *,
    seen: View | None = None,
    ledger: Ledger | None = None,
    tree: Desired | None = TREE,
    leaderless_s: float | None = None,
    stalled: tuple[Blocked, ...] | None = (),
    lost: str = "",
    short: str | None = "",
) -> Situation:
    return Situation(
        view=seen if seen is not None else view(),
        ledger=ledger if ledger is not None else Ledger(),
        desired=tree,
        leaderless_s=leaderless_s,
        stalled=stalled,
        source_lost=lost,
        falls_short=short,
    )


def raised(given: Situation) -> dict[str, str]:
    return {key: page.severity.value for key, page in alarms(given, NOW).items()}


STUCK = Blocked(
    object="vm/web1", verb=Verb.START, cause=Cause.INTENT, reason="Contended", message="m"
)


# --- which alarms stand ---------------------------------------------------------------------------------


def test_where_all_is_well_no_alarm_stands() -> None:
    assert raised(situation()) == {}


@pytest.mark.parametrize(
    ("state", "severity"),
    [
        (PeerState.ALIVE, None),
        (PeerState.SUSPECT, None),
        (PeerState.UNKNOWN, None),
        (PeerState.LEFT, None),
        (PeerState.DEAD, "critical"),
        (PeerState.BLIND, "warning"),
    ],
)
def test_a_dead_peer_is_critical_and_a_blind_one_a_warning(
    state: PeerState, severity: str | None
) -> None:
    found = raised(situation(seen=view({"bert": state})))
    assert found == ({} if severity is None else {"peer/bert": severity})


ARMED = desired(
    cluster={"fencing": {"agent": "fence_ipmilan"}},
    nodes={"anna": {}, "bert": {"bmc": "10.0.0.2"}, "cleo": {}},
)


def said(key: str, value: FactValue) -> Ledger:
    return Ledger().merge([Fact(key=key, term=1, seq=1, at_epoch_s=0.0, value=value)])


@pytest.mark.parametrize(
    ("stage", "told"),
    [
        (DrillStage.ASKED, False),
        (DrillStage.OFF, False),
        (DrillStage.ON, False),
        (DrillStage.OVER, True),
    ],
)
def test_one_that_is_switched_off_for_a_drill_is_silent_by_intent(
    stage: DrillStage, told: bool
) -> None:
    drill = LiveDrill(
        id="D-1-1",
        node="bert",
        host="h",
        devices=("bmc/bert",),
        stage=stage,
        by="alice",
        reason="cables",
        until_epoch_s=0.0,
    )
    seen = view({"bert": PeerState.DEAD})
    found = raised(situation(seen=seen, ledger=said("live-drill", drill), tree=ARMED))
    assert ("peer/bert" in found) is told


@pytest.mark.parametrize(
    ("found", "rewired", "told"),
    [
        (Found.CROSSED, False, True),
        (Found.LIES, False, True),
        (Found.BOUND, False, False),
        (Found.CROSSED, True, False),
    ],
)
def test_a_device_that_a_drill_showed_to_be_another_ones_is_told_until_it_is_mended(
    found: Found, rewired: bool, told: bool
) -> None:
    ((use,),) = levels(ARMED, "bert")
    live = Live(
        found=found,
        devices=(use.device,),
        wiring="another" if rewired else use.wiring,
        boot="b",
        at_epoch_s=0.0,
        by="alice",
        message="cleo fell silent",
    )
    drill = Drill(device=use.device, node="bert", host="h", live=live)
    stands = raised(situation(ledger=said("drill/bmc/bert/bert", drill), tree=ARMED))
    assert stands == ({"device/bmc/bert/bert": "critical"} if told else {})


def test_that_fewer_losses_are_survivable_than_wanted_is_a_warning() -> None:
    found = raised(situation(short="the tree wants 1 loss survived"))
    assert found == {"survival": "warning"}
    assert ended("survival", situation(short=""))
    assert not ended("survival", situation(short=None))


def test_nobody_pages_about_its_own_silence() -> None:
    assert raised(situation(seen=view({"anna": PeerState.DEAD}))) == {}


def test_a_peer_with_a_problem_is_a_warning() -> None:
    peers = {"bert": Peer(state=PeerState.ALIVE, problem="twin")}
    assert raised(situation(seen=replace(view(), peers=peers))) == {"peer/bert": "warning"}


@pytest.mark.parametrize("after_s", [DEAD_AFTER_S - 0.1, DEAD_AFTER_S])
def test_that_nobody_leads_is_told_after_dead_after(after_s: float) -> None:
    nobody = replace(view(), leader=None)
    found = raised(situation(seen=nobody, leaderless_s=after_s))
    assert found == ({"no-leader/anna": "critical"} if after_s >= DEAD_AFTER_S else {})


@pytest.mark.parametrize(
    ("silent", "title"),
    [((), "anna hears no leader"), (("bert", "cleo"), "anna is cut off: it hears no leader")],
)
def test_that_nobody_is_heard_to_lead_is_told_as_one_nodes_own_view(
    silent: tuple[str, ...], title: str
) -> None:
    nobody = replace(view(dict.fromkeys(silent, PeerState.DEAD)), leader=None)
    page = alarms(situation(seen=nobody, leaderless_s=60.0), NOW)["no-leader/anna"]
    assert page.title == title
    assert "As anna sees it" in page.text
    assert all(name in page.text for name in silent)


def test_muteness_holds_stalled_rows_and_a_lost_source_are_told() -> None:
    hold = Fact(
        key="hold/H-1", term=1, seq=1, at_epoch_s=0.0, value=Hold(id="H-1", reason="r", by="b")
    )
    given = situation(
        seen=view(mute="twin"), ledger=Ledger().merge([hold]), stalled=(STUCK,), lost="WentBack: r"
    )
    assert raised(given) == {
        "hold/H-1": "critical",
        "mute/anna": "critical",
        "source": "warning",
        "stalled/vm/web1": "warning",
    }
    page = alarms(given, NOW)["hold/H-1"]
    assert "cxm release H-1" in page.text


@pytest.mark.parametrize(
    ("until_epoch_s", "stands"), [(None, False), (5_000.1, False), (5_000.0, True), (1.0, True)]
)
def test_maintenance_past_its_end_is_told(until_epoch_s: float | None, stands: bool) -> None:
    drain = Drain(node="bert", until_epoch_s=until_epoch_s, reason="fan", by="root")
    fact = Fact(key="drain/bert", term=1, seq=1, at_epoch_s=0.0, value=drain)
    found = raised(situation(ledger=Ledger().merge([fact])))
    assert found == ({"maintenance/bert": "warning"} if stands else {})


def test_maintenance_in_the_tree_past_its_end_is_told() -> None:
    wish = {"maintenance": {"reason": "fan", "until": "1970-01-01T01:00:00+00:00"}}
    tree = desired(nodes={"anna": wish, "bert": {}})
    assert raised(situation(tree=tree)) == {"maintenance/anna": "warning"}


# --- which are over ---------------------------------------------------------------------------------------

BLANK = replace(view(), leader=None, peers={})
ENDED: list[tuple[str, Situation, bool]] = [
    ("peer/bert", situation(), True),
    ("peer/bert", situation(seen=view({"bert": PeerState.LEFT})), True),
    ("peer/bert", situation(seen=view({"bert": PeerState.SUSPECT})), False),
    ("peer/bert", situation(seen=view({"bert": PeerState.UNKNOWN})), False),
    ("peer/bert", situation(seen=BLANK), False),
    ("peer/bert", situation(seen=BLANK, tree=desired(nodes={"anna": {}})), True),
    ("peer/bert", situation(seen=BLANK, tree=None), False),
    ("no-leader/anna", situation(leaderless_s=None), True),
    ("no-leader/anna", situation(leaderless_s=1.0), False),
    ("no-leader/bert", situation(leaderless_s=None), False),
    ("no-leader/dora", situation(leaderless_s=None), True),
    ("mute/anna", situation(seen=BLANK), False),
    ("mute/anna", situation(), True),
    ("mute/bert", situation(), False),
    ("mute/dora", situation(), True),
    ("stalled/vm/web1", situation(stalled=None), False),
    ("stalled/vm/web1", situation(stalled=()), True),
    ("maintenance/bert", situation(tree=None), False),
    ("maintenance/bert", situation(), True),
    ("hold/H-1", situation(seen=BLANK, tree=None), True),
    ("source", situation(), True),
]


@pytest.mark.parametrize(("key", "given", "is_over"), ENDED)
def test_an_alarm_is_over_only_where_it_can_be_told(
    key: str, given: Situation, is_over: bool
) -> None:
    assert ended(key, given) is is_over


# --- who wants to hear it ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("severity", "least", "told"),
    [
        (Severity.CRITICAL, "critical", True),
        (Severity.CRITICAL, "warning", True),
        (Severity.WARNING, "critical", False),
        (Severity.WARNING, "warning", True),
        (Severity.UNKNOWN, "warning", True),
        (Severity.UNKNOWN, "critical", False),
        (Severity.OK, "critical", True),
    ],
)
def test_each_way_of_telling_wants_its_least(severity: Severity, least: str, told: bool) -> None:
    page = Page(key="k", severity=severity, title="t", text="")
    assert wanted(page, least) is told


def test_an_end_has_the_key_of_its_beginning() -> None:
    assert (over("k", "t").key, over("k", "t").severity) == ("k", Severity.OK)
    assert trial("anna", "root").severity is Severity.CRITICAL


# --- with everything around it ----------------------------------------------------------------------------


def house() -> Parliament:
    return parliament(TREE, pool(TREE))


def told(fresh: Parliament, key: str) -> list[tuple[str, str]]:
    """Who told of this alarm, and whether of its beginning or end."""
    return [
        (member.name, "over" if page.severity is Severity.OK else "begun")
        for member in fresh.members.values()
        for page in member.told
        if page.key == key
    ]


def test_a_dead_peer_is_told_once_by_the_leader_and_so_is_its_return() -> None:
    fresh = house()
    fresh.elect("anna")
    fresh.pass_s(12.0)
    fresh.kill("cleo")
    fresh.push()
    fresh.pass_s(30.0)
    assert told(fresh, "peer/cleo") == [("anna", "begun")]
    fresh.boot("cleo")
    fresh.pass_s(5.0)
    assert told(fresh, "peer/cleo") == [("anna", "begun"), ("anna", "over")]


def test_neither_a_new_leader_nor_a_restart_tells_it_again() -> None:
    fresh = house()
    fresh.elect("anna")
    fresh.pass_s(12.0)
    fresh.states["cleo"] = PeerState.DEAD
    fresh.push()
    fresh.pass_s(5.0)
    fresh.elect("bert")
    fresh.pass_s(15.0)
    for name in ("anna", "bert"):
        fresh.kill(name)
        fresh.boot(name)
        fresh.pass_s(5.0)
    assert told(fresh, "peer/cleo") == [("anna", "begun")]
    del fresh.states["cleo"]
    fresh.push()
    fresh.pass_s(5.0)
    assert told(fresh, "peer/cleo") == [("anna", "begun"), ("bert", "over")]


def test_that_nobody_leads_is_told_after_dead_after_and_that_it_is_over() -> None:
    fresh = house()
    fresh.elect("anna")
    fresh.pass_s(12.0)
    fresh.elect(None)
    fresh.settle()
    fresh.pass_s(DEAD_AFTER_S + GRACE_S - 1.0)
    assert [told(fresh, f"no-leader/{name}") for name in NAMES] == [[], [], []]
    fresh.pass_s(3.0)
    begun = [[(name, "begun")] for name in NAMES]
    assert [told(fresh, f"no-leader/{name}") for name in NAMES] == begun
    for name in NAMES:
        fresh.kill(name)
        fresh.boot(name)
    fresh.pass_s(20.0)
    found = [told(fresh, f"no-leader/{name}") for name in NAMES]
    assert found == begun, "a restart neither ends nor repeats it"
    fresh.elect("cleo")
    fresh.pass_s(3.0)
    ends = [[(name, "begun"), (name, "over")] for name in NAMES]
    assert [told(fresh, f"no-leader/{name}") for name in NAMES] == ends


def test_what_began_as_the_leader_died_is_told_by_its_successor() -> None:
    fresh = house()
    fresh.elect("anna")
    fresh.pass_s(12.0)
    fresh.kill("anna")
    fresh.push()
    held = fresh.ask("cleo", AskHold(reason="smoke", by="root")).message
    fresh.pass_s(5.0)
    assert told(fresh, f"hold/{held}") == []
    fresh.elect("bert")
    fresh.pass_s(3.0)
    assert told(fresh, f"hold/{held}") == [("bert", "begun")]
    assert told(fresh, "peer/anna") == [("bert", "begun")]


def test_a_hold_is_told_by_the_leader_whoever_was_asked() -> None:
    fresh = house()
    fresh.elect("anna")
    fresh.pass_s(3.0)
    held = fresh.ask("cleo", AskHold(reason="smoke", by="root")).message
    fresh.pass_s(3.0)
    assert told(fresh, f"hold/{held}") == [("anna", "begun")]
    fresh.ask("bert", AskRelease(id=held, by="root"))
    fresh.pass_s(3.0)
    assert told(fresh, f"hold/{held}") == [("anna", "begun"), ("anna", "over")]


def test_a_drain_past_its_end_is_told_until_somebody_ends_it() -> None:
    fresh = house()
    fresh.elect("anna")
    fresh.pass_s(12.0)
    fresh.ask("anna", AskDrain(node="bert", for_s=60.0, reason="fan", by="root"))
    fresh.pass_s(50.0)
    assert told(fresh, "maintenance/bert") == []
    fresh.pass_s(20.0)
    assert told(fresh, "maintenance/bert") == [("anna", "begun")]
    fresh.ask("anna", AskUndrain(node="bert", by="root"))
    fresh.pass_s(3.0)
    assert told(fresh, "maintenance/bert") == [("anna", "begun"), ("anna", "over")]


# --- blind, not dead ----------------------------------------------------------------------------------------


def silent(answers: bool | None) -> Parliament:
    """Cleo's daemons are silent; its server answers so when it is asked."""
    fresh = house()
    real = pool(TREE)
    hosts = {uuid: replace(host, address="192.0.2.9") for uuid, host in real.nodes.items()}
    fresh.pool.observed = replace(real, nodes=hosts)
    fresh.elect("anna")
    fresh.pass_s(12.0)
    fresh.states["cleo"] = PeerState.SUSPECT
    fresh.answers["cleo"] = answers
    fresh.push()
    fresh.pass_s(3.0)
    probes = [effect for effect in fresh["anna"].effects if isinstance(effect, Probe)]
    assert ("cleo", "192.0.2.9") in {(probe.name, probe.address) for probe in probes}
    return fresh


@pytest.mark.parametrize("answers", [True, False, None])
def test_a_silent_peer_whose_server_answers_is_blind(answers: bool | None) -> None:
    fresh = silent(answers)
    peers = {peer.name: peer.state for peer in fresh["anna"].alive.status(fresh.now).peers}
    assert peers["cleo"] == ("blind" if answers is True else "suspect")
    fresh.states["cleo"] = PeerState.DEAD
    fresh.push()
    fresh.pass_s(2.0)
    (page,) = [page for page in fresh["anna"].told if page.key == "peer/cleo"]
    assert page.severity is (Severity.WARNING if answers is True else Severity.CRITICAL)


def test_an_old_answer_of_its_server_proves_nothing() -> None:
    fresh = silent(True)
    fresh.answers["cleo"] = None
    fresh.pass_s(15.0)
    peers = {peer.name: peer.state for peer in fresh["anna"].alive.status(fresh.now).peers}
    assert peers["cleo"] == "suspect"


def test_a_silent_peer_is_asked_about_every_second() -> None:
    fresh = silent(False)
    fresh.pass_s(30.0)
    probes = [effect for effect in fresh["anna"].effects if isinstance(effect, Probe)]
    assert 25 <= sum(probe.name == "cleo" for probe in probes) <= 45


# --- one daemon ---------------------------------------------------------------------------------------------


def test_a_restart_tells_nothing_again() -> None:
    stage = Stage()
    held = stage.ask(AskHold(reason="smoke", by="root")).message
    (tell,) = stage.of(Tell)
    assert tell.page.key == f"hold/{held}"
    stage.tell(PageTold(page=tell.page))
    assert stage.of(Tell) == []
    again = Stage(records=stage.records, ledger=stage.ledger)
    assert again.of(Tell) == []


def test_one_that_was_killed_while_it_told_tells_it_again() -> None:
    stage = Stage()
    stage.ask(AskHold(reason="smoke", by="root"))
    before = stage.of(Tell)
    again = Stage(records=stage.records, ledger=stage.ledger)
    assert again.of(Tell) == before


def test_an_end_follows_its_beginning_even_where_that_takes_long() -> None:
    stage = Stage()
    held = stage.ask(AskHold(reason="smoke", by="root")).message
    (begun,) = stage.of(Tell)
    stage.ask(AskRelease(id=held, by="root"))
    assert stage.of(Tell) == []
    stage.tell(PageTold(page=begun.page))
    (ended_,) = stage.of(Tell)
    assert ended_.page == over(begun.page.key, begun.page.title)
    stage.tell(PageTold(page=ended_.page))
    assert stage.of(Tell) == []
    assert [type(entry).__name__ for entry in stage.entries if "age" in type(entry).__name__] == [
        "Paged",
        "PageEnded",
    ]
