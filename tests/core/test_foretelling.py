"""What a leader begins becomes part of every other node's memory, as if it were its own."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from membership.clock import Now
from membership.ledger import Fact, Intent, Ledger, SealedSession, Withdrawn
from reconciler.actions import (
    Action,
    Answer,
    Call,
    Cause,
    CleanShutdown,
    DisableNode,
    Done,
    Retry,
    SetMemory,
    StartOn,
    Verb,
)
from reconciler.foretelling import FORGET_S, RECENT_S, outlived, still_told, taken_in, told
from reconciler.inflight import settle
from reconciler.journal import LEADER_LOST, RESTARTED, InFlight, JournalState, OwnStop, replay
from reconciler.messages import FactsMerged
from reconciler.records import (
    Answered,
    AnyEntry,
    DaemonStarted,
    ForeignChange,
    Foretold,
    Intended,
    LeaderChanged,
    Record,
    Succeeded,
    TookOver,
)
from tests.core.parliament import parliament
from tests.core.stage import desired, pool
from tests.plan.expansion import identity

VM, HOST = identity("vm", "web1"), identity("host", "xen1")
NOW = Now(mono_s=1000.0, epoch_s=5000.0)
START = StartOn(vm=VM, node=HOST)
STOP = CleanShutdown(vm=VM)


def action(call: Call | None, verb: Verb = Verb.START) -> Action:
    return Action(
        id="A-1",
        object="vm/web1",
        verb=verb,
        cause=Cause.INTENT,
        reason="NotRunning",
        message="",
        call=call,
        node="xen1",
    )


def fact(
    txn: str,
    call: Call | None = START,
    *,
    verb: Verb = Verb.START,
    answer: Answer | None = None,
    node: str = "bert",
    term: int = 2,
    age_s: float = 0.0,
) -> Fact:
    text = "" if answer is None else msgspec.json.encode(answer).decode()
    intent = Intent(
        txn=txn,
        node=node,
        subject=VM,
        action=msgspec.json.encode(action(call, verb)).decode(),
        answer=text,
    )
    return Fact(key=f"intent/{VM}", term=term, seq=1, at_epoch_s=NOW.epoch_s - age_s, value=intent)


def led_by(leader: str | None, term: int, *entries: AnyEntry) -> JournalState:
    journal = JournalState()
    write(journal, LeaderChanged(leader=leader, term=term), *entries)
    return journal


def write(journal: JournalState, *entries: AnyEntry) -> None:
    for entry in entries:
        journal.apply(Record(seq=journal.last_seq + 1, at_s=NOW.mono_s, entry=entry))


def take(journal: JournalState, *facts: Fact, now: Now = NOW) -> list[AnyEntry]:
    entries = list(taken_in(facts, journal, "anna", now))
    write(journal, *entries)
    return entries


def test_what_the_leader_begins_is_in_flight_here_too() -> None:
    journal = led_by("bert", 2)
    entries = take(journal, fact("t1"))
    assert entries == [
        Succeeded(node="bert", term=2),
        Foretold(txn="t1", subject=VM),
        Intended(txn="t1", action=action(START), subject=VM, by="bert", term=2),
    ]
    flight = journal.in_flight["t1"]
    assert (flight.by, flight.answered_s, flight.call) == ("bert", None, START)


def test_its_answer_is_taken_in_as_an_answer() -> None:
    journal = led_by("bert", 2)
    take(journal, fact("t1"))
    assert take(journal, fact("t1", answer=Done())) == [Answered(txn="t1", answer=Done())]
    assert take(journal, fact("t1", answer=Done())) == [], "the same answer twice is one answer"


def test_both_at_once_are_taken_in_at_once() -> None:
    journal = led_by("bert", 2)
    entries = take(journal, fact("t1", answer=Retry(reason="r")))
    assert [type(entry) for entry in entries] == [Succeeded, Foretold, Intended, Answered]


def test_the_same_fact_again_changes_nothing() -> None:
    journal = led_by("bert", 2)
    take(journal, fact("t1"))
    assert take(journal, fact("t1")) == []


def test_our_own_calls_are_not_foretold_to_us() -> None:
    journal = led_by("anna", 2, Foretold(txn="t1", subject=VM))
    assert take(journal, fact("t1", node="anna")) == []


def test_our_own_calls_that_our_journal_has_lost_are_ours_again() -> None:
    """They have lost their caller, and what they owe is owed."""
    journal = led_by("anna", 2)
    lost = fact("t1", STOP, verb=Verb.RESTART, node="anna")
    entries = take(journal, lost)
    assert entries[-1] == Answered(txn="t1", answer=RESTARTED)
    assert journal.in_flight["t1"].by == ""
    assert list(journal.own_stops) == [VM]
    assert take(journal, lost) == []
    old = replace(fact("t2", node="anna", answer=Done(), age_s=RECENT_S + 1.0), key="intent/x")
    take(journal, old)
    assert "t2" not in journal.in_flight, "that is history"


@pytest.mark.parametrize("call", ["stop", "cordon"])
def test_a_node_whose_journal_was_moved_away_gives_back_what_it_took(call: str) -> None:
    """A VM that was stopped to be started anew is started; a node that was closed is opened."""
    tree = desired(nodes={"xen1": {}}, vms={"web1": {"state": "running"}})
    house = parliament(tree, pool(tree, vms={"web1": {}}))
    what = STOP if call == "stop" else DisableNode(node=HOST)
    verb = Verb.RESTART if call == "stop" else Verb.CORDON
    told_ = fact("cxm-2-57", what, verb=verb, node="anna", answer=Done())
    anna = house["anna"]
    house.kill("anna")
    anna.records.clear()
    anna.ledger = anna.ledger.merge([replace(told_, key=f"intent/{what.subject}")])
    house.boot("anna")
    journal = replay(anna.records)
    assert (set(journal.own_stops), journal.own_cordons) == (
        ({VM}, set()) if call == "stop" else (set(), {HOST})
    )


def test_a_call_that_was_not_told_yet_is_later_than_the_one_that_was() -> None:
    """The daemon was killed with a start in its journal, while the ledger told of what went before it."""
    earlier = fact("t1", STOP, verb=Verb.STOP, node="anna", answer=Done())
    journal = led_by("anna", 2, Intended(txn="t2", action=action(START), subject=VM))
    write(journal, Foretold(txn="t2", subject=VM), DaemonStarted(version="1", node="anna", term=2))
    assert take(journal, earlier) == []
    assert list(journal.in_flight) == ["t2"]


def test_other_facts_are_none_of_its_business() -> None:
    other = Fact(
        key="x",
        term=2,
        seq=1,
        at_epoch_s=0.0,
        value=Intent(txn="t", node="bert", subject=VM, action="no JSON"),
    )
    assert take(led_by("bert", 2), other) == [Succeeded(node="bert", term=2)]


def test_an_action_without_a_call_is_nothing_that_was_begun() -> None:
    journal = led_by("bert", 2, Succeeded(node="bert", term=2))
    assert take(journal, fact("t1", None)) == []


def test_a_settled_call_does_not_come_back() -> None:
    journal = led_by("bert", 2)
    take(journal, fact("t1"))
    del journal.in_flight["t1"]
    assert take(journal, fact("t1", answer=Done())) == []


# --- what is old ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("age_s", [RECENT_S - 1.0, RECENT_S + 1.0])
def test_an_answer_that_comes_late_is_history(age_s: float) -> None:
    journal = led_by("bert", 2)
    take(journal, fact("t1", answer=Done(), age_s=age_s))
    assert bool(journal.in_flight) is (age_s < RECENT_S)
    assert journal.taken == {VM: "t1"}


@pytest.mark.parametrize(
    ("call", "verb", "owes"),
    [
        (STOP, Verb.RESTART, True),
        (STOP, Verb.STOP, False),
        (DisableNode(node=HOST), Verb.CORDON, True),
        (START, Verb.START, False),
    ],
)
def test_what_leaves_a_debt_is_never_history(call: Call, verb: Verb, owes: bool) -> None:
    journal = led_by("bert", 2)
    take(journal, fact("t1", call, verb=verb, answer=Done(), age_s=86_400.0))
    assert bool(journal.in_flight) is owes
    assert bool(journal.own_stops or journal.own_cordons) is owes


def test_an_old_call_without_an_answer_may_still_be_under_way() -> None:
    journal = led_by("bert", 2)
    take(journal, fact("t1", age_s=86_400.0))
    assert journal.in_flight["t1"].answered_s is None


def test_a_later_call_on_the_object_ends_the_waiting_for_the_earlier_one() -> None:
    journal = led_by("bert", 2)
    take(journal, fact("t1", STOP))
    take(journal, fact("t2"))
    assert journal.in_flight["t1"].answer == LEADER_LOST
    assert journal.in_flight["t2"].answer is None


def test_a_set_call_of_a_restart_tells_of_the_stop_that_was_missed() -> None:
    """A node that was away while its leader stopped the VM owes the start all the same."""
    journal = led_by("bert", 2)
    take(journal, fact("t2", SetMemory(vm=VM, size=1, static_min=1), verb=Verb.RESTART))
    assert journal.own_stops[VM].reason == "NotRunning"
    unrelated = led_by("bert", 2)
    take(unrelated, fact("t2", SetMemory(vm=VM, size=1, static_min=1), verb=Verb.CHANGE))
    assert unrelated.own_stops == {}


# --- who leads no more ------------------------------------------------------------------------------------


def session(term: int, node: str = "cleo") -> Fact:
    value = SealedSession(node=node, sealed=f"of {node}")
    return Fact(key="session", term=term, seq=1, at_epoch_s=NOW.epoch_s, value=value)


@pytest.mark.parametrize("leader", [None, "cleo", "anna"])
def test_that_another_is_named_leader_settles_nothing(leader: str | None) -> None:
    """Nobody has ended the session of the one that was: a call of it may still come to the pool."""
    journal = led_by("bert", 2)
    take(journal, fact("t1"))
    write(journal, LeaderChanged(leader=leader, term=3))
    assert journal.in_flight["t1"].answer is None
    take(journal, fact("t2", STOP, term=2))
    assert journal.in_flight["t2"].answer is None


def test_a_cordon_that_comes_late_is_still_ours_to_open() -> None:
    """Settled too early it would be forgotten, and the node would stay closed for ever."""
    journal = led_by("bert", 2)
    take(journal, fact("t1", DisableNode(node=HOST), verb=Verb.CORDON))
    write(journal, LeaderChanged(leader="anna", term=3))
    tree = desired(nodes={"xen1": {}}, vms={})
    still_open = replace(pool(tree), as_of_s=NOW.mono_s + 60.0)
    assert list(settle(journal, still_open, tree.cluster.reconcile.retry)) == []
    assert journal.own_cordons == {HOST}


@pytest.mark.parametrize("kind", ["session", "intent", "took over"])
def test_whoever_has_taken_over_has_ended_what_went_before(kind: str) -> None:
    journal = led_by("bert", 2)
    take(journal, fact("t1"))
    if kind == "took over":
        write(journal, TookOver(term=3))
    else:
        other = fact("t9", node="cleo", term=3)
        take(journal, session(3) if kind == "session" else replace(other, key="intent/x"))
    assert journal.in_flight["t1"].answer == LEADER_LOST


@pytest.mark.parametrize("node", ["bert", "cleo"])
def test_a_call_that_is_learnt_of_after_its_end_has_lost_its_caller(node: str) -> None:
    journal = led_by(node, 3)
    take(journal, session(3, node))
    take(journal, fact("t1", term=2))
    assert journal.in_flight["t1"].answer == LEADER_LOST
    take(journal, fact("t2", STOP, node=node, term=3))
    assert journal.in_flight["t2"].answer is None


def test_a_leader_that_we_follow_goes_on_though_we_were_restarted() -> None:
    journal = led_by("bert", 2)
    take(journal, fact("t1"))
    write(journal, DaemonStarted(version="1", node="anna", term=2))
    assert journal.in_flight["t1"].answer is None


def test_what_the_heir_told_before_we_knew_it_leads_is_no_orphan() -> None:
    journal = led_by("cleo", 1)
    take(journal, fact("t1", term=2))
    write(journal, LeaderChanged(leader="bert", term=2))
    assert journal.in_flight["t1"].answer is None


def test_our_own_calls_are_no_orphans_when_another_leads() -> None:
    journal = led_by("anna", 2, Intended(txn="t0", action=action(START), subject=VM))
    write(journal, LeaderChanged(leader="bert", term=3))
    assert journal.in_flight["t0"].answer is None


def test_a_real_answer_takes_the_place_of_a_lost_one() -> None:
    journal = led_by("bert", 2)
    take(journal, fact("t1"))
    take(journal, session(3))
    take(journal, fact("t1", answer=Done()))
    assert journal.in_flight["t1"].answer == Done()
    assert take(journal, fact("t1", answer=LEADER_LOST)) == []


# --- what is over for long ---


def test_what_is_settled_for_long_is_withdrawn_and_what_is_owed_is_told_on() -> None:
    ledger = Ledger().merge([fact("t1", node="anna", answer=Done(), age_s=FORGET_S + 1.0)])
    journal = JournalState()
    assert [key for key, _ in outlived(ledger, journal, NOW)] == [f"intent/{VM}"]
    journal.own_stops[VM] = OwnStop(Cause.INTENT, "r", None, 0.0)
    assert list(outlived(ledger, journal, NOW)) == []
    young = Ledger().merge([fact("t1", answer=Done(), age_s=FORGET_S - 1.0)])
    assert list(outlived(young, JournalState(), NOW)) == []


def test_what_is_in_flight_is_told_on_however_old() -> None:
    journal = led_by("bert", 2)
    old = fact("t1", age_s=86_400.0)
    take(journal, old)
    assert list(outlived(Ledger().merge([old]), journal, NOW)) == []


def test_what_is_withdrawn_is_forgotten_and_keeps_nobody_waiting() -> None:
    """A follower that missed the answer would wait for it for ever."""
    journal = led_by("bert", 2)
    take(journal, fact("t1"))
    gone = replace(fact("t1", term=3), seq=9, value=Withdrawn(by="cxm"))
    take(journal, gone)
    assert journal.taken == {}
    assert journal.in_flight["t1"].answer == LEADER_LOST


def test_the_facts_of_many_calls_do_not_pile_up() -> None:
    names = [f"w{number}" for number in range(6)]
    tree = desired(nodes={"xen1": {}}, vms={name: {"state": "running"} for name in names})
    house = parliament(tree, pool(tree, vms={name: {} for name in names}))
    house.elect("anna")
    house.rest()
    assert len(house.performed) == len(names)
    house.pass_s(FORGET_S + 120.0)
    for member in house.living:
        assert member.ledger.values(Intent) == ()
        assert replay(member.records).taken == {}


# --- telling ----------------------------------------------------------------------------------------------


def flight(txn: str = "t0", answer: Answer | None = None) -> InFlight:
    return InFlight(txn, action(START), VM, 1.0, answer=answer)


@pytest.mark.parametrize("answer", [None, Done(), Retry(reason="r", message='ä "q"')])
def test_what_is_told_can_be_taken_in(answer: Answer | None) -> None:
    key, intent = told("bert", flight(answer=answer))
    journal = led_by("bert", 2)
    take(journal, Fact(key=key, term=2, seq=1, at_epoch_s=NOW.epoch_s, value=intent))
    taken = journal.in_flight["t0"]
    assert (taken.action, taken.subject, taken.answer) == (action(START), VM, answer)


def test_an_answer_is_told_in_the_term_of_its_call_and_only_while_it_matters() -> None:
    ledger = Ledger().merge([fact("t0", node="anna", term=4)])
    assert still_told(flight(), ledger) == 4
    assert still_told(flight("t1"), ledger) is None
    assert still_told(flight(), Ledger()) is None


def test_a_leader_that_was_restarted_tells_that_its_calls_lost_their_caller() -> None:
    """Else its followers would wait for the answer until somebody else leads."""
    tree = desired(nodes={"xen1": {}}, vms={"web1": {"state": "running"}})
    house = parliament(tree, pool(tree, vms={"web1": {}}))
    house.elect("anna")
    while not house.performed:
        house.pass_s(0.5)
    (txn,) = (f.txn for f in house["bert"].alive.status(house.now).in_flight)
    house.kill("anna")
    house.boot("anna")
    house.rest()
    for member in house.living:
        assert not member.alive.status(house.now).in_flight
    ((_, intent),) = [
        (key, value.value)
        for key, value in house["bert"].ledger.facts.items()
        if key.startswith("intent/")
    ]
    assert isinstance(intent, Intent)
    assert intent.txn == txn
    assert "DaemonRestarted" in intent.answer


def test_calls_of_two_leaders_on_one_object_settle_together() -> None:
    """What is seen then is excused by either: the one that lost its caller, or the later one."""
    tree = desired(nodes={"xen1": {}}, vms={"web1": {"state": "running"}})
    seen = pool(tree, vms={"web1": {"on": "xen1"}})
    journal = led_by("bert", 2)
    take(journal, fact("t1", STOP))
    take(journal, fact("t2"))
    write(journal, Answered(txn="t2", answer=Done()))
    policy = tree.cluster.reconcile.retry
    early = replace(seen, as_of_s=NOW.mono_s + 1.0)
    assert list(settle(journal, early, policy)) == [], "t1 is not settled yet"
    late = replace(seen, as_of_s=NOW.mono_s + 6.0)
    assert [settled.txn for settled in settle(journal, late, policy)] == ["t1", "t2"]


def test_what_a_newer_cxm_begins_is_left_to_what_the_pool_shows() -> None:
    tree = desired(nodes={"xen1": {}}, vms={"web1": {}})
    house = parliament(tree, pool(tree, vms={"web1": {"on": "xen1"}}))
    newer = Intent(txn="t9", node="bert", subject=VM, action='{"id":"A-9","verb":"teleport"}')
    odd = Fact(key=f"intent/{VM}", term=2, seq=9, at_epoch_s=0.0, value=newer)
    house["anna"].events.append(FactsMerged(facts=(odd,)))
    house.settle()
    assert not house["anna"].alive.status(house.now).in_flight
    assert not any(isinstance(entry, ForeignChange) for entry in house["anna"].entries)
