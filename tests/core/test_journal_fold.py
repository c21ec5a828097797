"""The fold of the journal: what a daemon comes back to, wherever it was killed."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest

from reconciler.actions import (
    Action,
    Answer,
    Call,
    Cause,
    CleanShutdown,
    DisableNode,
    Done,
    EnableNode,
    Outcome,
    ResetPower,
    Retry,
    Stalled,
    StartOn,
    Unsure,
    Verb,
)
from reconciler.inflight import foreign_resets
from reconciler.journal import JournalState, replay
from reconciler.messages import Perform, Write
from reconciler.observed import Observed, Pool, PowerState
from reconciler.records import (
    Answered,
    AnyEntry,
    Cleared,
    Converged,
    DaemonStarted,
    Diverged,
    HeadSeen,
    Intended,
    Noticed,
    Record,
    Rejected,
    Retried,
    Settled,
    Sighted,
    Sighting,
    SourceBack,
    SourceLost,
    Targeted,
)
from tests.core.stage import Stage, desired, pool
from tests.plan.cases import cases
from tests.plan.expansion import expand
from tests.plan.interrupted import lived

STARTED = DaemonStarted(version="1.0.0", node="here", term=2)
LIVED = (
    "drain/by-shutdown",
    "drain/over",
    "drain/vms-leave-by-migration",
    "drift/a-crash-loop-ends",
    "drift/foreign-stop-waits-for-grace",
    "names/one-call-at-a-time",
    "order/after",
    "resources/memory-and-vcpus",
)
"""Cases whose lives write every kind of record that a plan brings about."""


def story(name: str) -> list[Record]:
    known = dict(cases())
    return lived(expand(known.get(name) or known["power/foreign-stop-waits-for-grace"])).records


def fold(*entries: AnyEntry, at_s: float = 10.0) -> JournalState:
    return replay(
        Record(seq=number, at_s=at_s, entry=entry) for number, entry in enumerate(entries, start=1)
    )


@pytest.mark.parametrize("name", LIVED)
def test_every_prefix_leaves_a_state_from_which_nothing_is_done_twice(name: str) -> None:
    """What was begun and not settled is in flight, known to be unsure, and holds its object."""
    records = story(name)
    for end in range(len(records) + 1):
        state = replay(records[:end])
        state.apply(Record(seq=end + 1, at_s=1e9, entry=STARTED))
        begun = {r.entry.txn for r in records[:end] if isinstance(r.entry, Intended)}
        over = {r.entry.txn for r in records[:end] if isinstance(r.entry, Settled)}
        assert set(state.in_flight) == begun - over
        said = {r.entry.txn for r in records[:end] if isinstance(r.entry, Answered)}
        for flight in state.in_flight.values():
            assert flight.sure is (flight.txn in said)
            assert flight.sure or flight.answered_s == 1e9
        assert state.busy == {flight.subject for flight in state.in_flight.values()}


@pytest.mark.parametrize("name", LIVED)
def test_what_is_read_back_is_what_was_written(name: str) -> None:
    records = story(name)
    text = msgspec.json.encode(records)
    read = msgspec.json.decode(text, type=list[Record])
    assert read == records
    assert replay(read) == replay(records)


def test_records_of_one_daemon_are_numbered_without_a_gap() -> None:
    records = story("resources/memory-and-vcpus")
    assert [record.seq for record in records] == list(range(1, len(records) + 1))


# --- what is owed -----------------------------------------------------------------------------------


def intended(call: Call, verb: Verb = Verb.RESTART, txn: str = "t") -> Intended:
    action = Action(
        id="A-1-1",
        object="vm/web",
        verb=verb,
        cause=Cause.INTENT,
        reason="MemoryChanged",
        message="",
        call=call,
        node="xen1",
    )
    return Intended(txn=txn, action=action, subject=call.subject)


def settled(outcome: Outcome, subject: str = "vm", txn: str = "t") -> Settled:
    return Settled(txn=txn, object="vm/web", subject=subject, outcome=outcome)


STOP = CleanShutdown(vm="vm")
OWED = (intended(STOP), Answered(txn="t", answer=Done()), settled(Done()))
UP = Sighted(vm="vm", sighting=Sighting(power=PowerState.RUNNING, node="host"))
DOWN = Sighted(vm="vm", sighting=Sighting(power=PowerState.HALTED, node=None))


def test_a_stop_on_the_way_to_a_start_is_owed_from_the_moment_it_is_meant() -> None:
    owed = fold(intended(STOP)).own_stops["vm"]
    assert (owed.cause, owed.reason, owed.node) == (Cause.INTENT, "MemoryChanged", "xen1")
    assert "vm" in fold(*OWED).own_stops


def test_a_stop_for_its_own_sake_owes_nothing() -> None:
    assert fold(intended(STOP, Verb.STOP)).own_stops == {}


def test_a_stop_that_came_to_nothing_owes_nothing() -> None:
    assert fold(intended(STOP), settled(Retry(reason="A"))).own_stops == {}


def test_the_start_repays_and_a_failed_start_does_not() -> None:
    start = intended(StartOn(vm="vm", node="host"), txn="u")
    assert fold(*OWED, start, settled(Done(), txn="u")).own_stops == {}
    assert "vm" in fold(*OWED, start, settled(Retry(reason="A"), txn="u")).own_stops


def test_a_start_by_somebody_else_repays_too() -> None:
    assert fold(*OWED, UP).own_stops == {}
    assert "vm" in fold(*OWED, DOWN).own_stops


def test_a_vm_that_still_runs_under_our_stop_repays_nothing() -> None:
    assert "vm" in fold(intended(STOP), UP).own_stops


def test_a_node_is_ours_to_open_from_the_moment_that_we_mean_to_close_it() -> None:
    close = intended(DisableNode(node="host"), Verb.CORDON)
    assert fold(close).own_cordons == {"host"}
    assert fold(close, settled(Done(), "host")).own_cordons == {"host"}
    assert fold(close, settled(Retry(reason="A"), "host")).own_cordons == set()


def test_a_node_that_was_opened_again_is_no_longer_ours() -> None:
    close = intended(DisableNode(node="host"), Verb.CORDON)
    opening = intended(EnableNode(node="host"), Verb.UNCORDON, txn="u")
    before = (close, settled(Done(), "host"), opening)
    assert fold(*before, settled(Done(), "host", "u")).own_cordons == set()
    assert fold(*before, settled(Retry(reason="A"), "host", "u")).own_cordons == {"host"}


# --- back-off, and what people are told -------------------------------------------------------------


def test_a_failure_is_remembered_until_something_works() -> None:
    failed = Settled(
        txn="t",
        object="vm/web",
        subject="vm",
        outcome=Retry(reason="A", message="b"),
        backoff_s=20.0,
        failures=3,
    )
    backoff = fold(failed).backoff["vm"]
    assert (backoff.until_s, backoff.failures, backoff.stalled) == (30.0, 3, False)
    assert fold(failed, settled(Done())).backoff == {}
    assert fold(failed, settled(Stalled(reason="C"))).backoff["vm"].stalled


def test_retry_forgets_failures_contention_and_drift() -> None:
    drifting = Sighting(
        power=PowerState.HALTED,
        node=None,
        met={"power": "Running", "tags": "a"},
        unmet={"power": 5.0},
        foreign=(1.0, 2.0),
        crashes=(3.0,),
    )
    state = fold(
        settled(Stalled(reason="C")),
        Sighted(vm="vm", sighting=drifting),
        Retried(object="vm/web", subject="vm", by="root"),
    )
    assert state.backoff == {}
    assert state.sightings["vm"] == Sighting(power=PowerState.HALTED, node=None, met={"tags": "a"})


def targeted(revision: int) -> Targeted:
    return Targeted(revision=revision, author="a", summary="", digest="")


def test_a_newer_target_ends_a_rejection_and_an_older_one_does_not() -> None:
    rejected = Rejected(revision=8, author="a", reason="Invalid", message="")
    assert fold(rejected).rejected == rejected
    assert fold(rejected, targeted(9)).rejected is None
    assert fold(rejected, targeted(7)).rejected == rejected


def test_convergence_ends_with_the_first_difference_or_a_new_target() -> None:
    converged = fold(Converged(revision=7), at_s=5.0)
    assert (converged.converged, converged.in_sync) == ((7, 5.0), True)
    assert not fold(Converged(revision=7), Diverged(revision=7)).in_sync
    assert not fold(Converged(revision=7), targeted(8)).in_sync
    assert fold(Converged(revision=7), targeted(8)).converged == (7, 10.0)


def test_what_was_noticed_lasts_until_it_is_cleared() -> None:
    noticed = Noticed(object="vm/web", reason="Frozen", message="m")
    assert fold(noticed).noticed == {("vm/web", "Frozen"): "m"}
    assert fold(noticed, Cleared(object="vm/web", reason="Frozen")).noticed == {}
    assert fold(noticed, Cleared(object="vm/web", reason="Held")).noticed


def test_a_lost_source_lasts_until_it_is_back() -> None:
    lost = SourceLost(reason="unreachable", message="")
    assert fold(lost).source_lost == lost
    assert fold(lost, SourceBack()).source_lost is None


def test_an_entry_that_changes_nothing_is_counted_all_the_same() -> None:
    state = fold(HeadSeen(revision=8, author="a", summary=""))
    assert (state.last_seq, state) == (1, JournalState(last_seq=1))


def test_an_answer_to_a_call_that_nobody_knows_changes_nothing() -> None:
    assert fold(Answered(txn="?", answer=Unsure(reason="x"))).in_flight == {}


# --- the order of writing and doing -----------------------------------------------------------------


def announced(effects: Iterable[object]) -> list[str]:
    return [type(effect).__name__ for effect in effects]


def test_a_call_is_in_the_journal_before_it_is_made() -> None:
    wanted = desired(nodes={"xen1": {}}, vms={"web1": {"state": "running"}})
    stage = Stage()
    stage.commit(7, wanted)
    effects = stage.see(pool(wanted, vms={"web1": {}}))
    made = next(e for e in effects if isinstance(e, Perform))
    before = stage.effects[: effects.index(made)]
    written = [e for e in stage.entries if isinstance(e, Intended)]
    assert set(announced(before)) <= {"Write", "Share"}
    assert any(isinstance(e, Write) and e.record.entry == written[0] for e in before)
    assert [(w.txn, w.action.call) for w in written] == [(made.txn, made.call)]


# --- whose reset it was --------------------------------------------------------------------------------

OFF = ResetPower(vm="vm")
ON = StartOn(vm="vm", node="host")


@pytest.mark.parametrize(
    ("entries", "ours"),
    [
        ((intended(OFF),), True),
        ((intended(OFF), settled(Done())), True),
        ((intended(OFF), settled(Stalled(reason="HostIsLive"))), False),
        ((intended(OFF), settled(Done()), DOWN), True),
        ((intended(OFF), settled(Done()), UP), False),
        ((intended(OFF), settled(Done()), intended(ON, txn="u")), True),
        ((intended(OFF), settled(Done()), intended(ON, txn="u"), settled(Done(), txn="u")), False),
    ],
)
def test_a_reset_is_our_own_until_the_vm_is_up_again(
    entries: tuple[AnyEntry, ...], ours: bool
) -> None:
    journal = fold(*entries)
    assert bool(journal.own_resets) is ours
    seen = Observed(
        as_of_s=1.0, epoch_s=0.0, by="here", pool=Pool(uuid="pool"), resets=("other", "vm")
    )
    assert foreign_resets(journal, seen).resets == (("other",) if ours else ("other", "vm"))


@pytest.mark.parametrize(
    ("answer", "ours"), [(Done(), False), (Unsure(reason="r"), False), (Retry(reason="r"), True)]
)
def test_once_the_pool_may_have_started_it_a_reset_is_anothers(answer: Answer, ours: bool) -> None:
    begun = (intended(OFF), settled(Done()), intended(ON, txn="u"))
    seen = Observed(as_of_s=1.0, epoch_s=0.0, by="here", pool=Pool(uuid="pool"), resets=("vm",))
    assert foreign_resets(fold(*begun), seen).resets == ()
    answered = fold(*begun, Answered(txn="u", answer=answer))
    assert foreign_resets(answered, seen).resets == (() if ours else ("vm",))
