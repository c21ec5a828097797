"""In flight: when a call is over, and what came of it."""

from __future__ import annotations

import dataclasses

import pytest
from msgspec.structs import replace

from reconciler.actions import (
    Action,
    AddTag,
    Answer,
    Call,
    Cause,
    CleanShutdown,
    DisableNode,
    Done,
    EjectMedia,
    EnableNode,
    PoolMigrate,
    ResumeOn,
    Retry,
    SetMemory,
    SetNameLabel,
    SetVcpusAtStartup,
    SetVcpusMax,
    Stalled,
    StartOn,
    Suspend,
    Unpause,
    Unsure,
    Verb,
)
from reconciler.inflight import (
    IN_THE_DARK,
    LEAST_WORK_S,
    SETTLE_S,
    achieved,
    backoff_s,
    operations_on,
    settle,
    timeout_s,
)
from reconciler.journal import JournalState, replay
from reconciler.observed import (
    Disk,
    Observed,
    ObservedNode,
    ObservedVM,
    Operation,
    Pool,
    PowerState,
    Task,
)
from reconciler.records import Answered, AnyEntry, DaemonStarted, Intended, Record, Settled
from schema.model import Retry as RetryPolicy

HALTED = ObservedVM(uuid="vm", name="web", power=PowerState.HALTED, static_max=4, dynamic_max=4)
HALTED = replace(HALTED, dynamic_min=4, disks=(Disk(vbd="cd", kind="CD", vdi="iso", sr="sr"),))
RUNNING = replace(HALTED, power=PowerState.RUNNING, node="host")
START = StartOn(vm="vm", node="host")
ENTERED_S = 100.0


def pool(
    vm: ObservedVM | None, *, as_of_s: float = 200.0, tasks: tuple[Task, ...] = ()
) -> Observed:
    return Observed(
        as_of_s=as_of_s,
        epoch_s=0.0,
        by="here",
        pool=Pool(uuid="pool"),
        nodes={"host": ObservedNode(uuid="host", name="xen1")},
        vms={} if vm is None else {"vm": vm},
        tasks=tasks,
    )


def journal(*entries: tuple[float, AnyEntry], call: Call = START) -> JournalState:
    action = Action(
        id="A-1-1",
        object="vm/web",
        verb=Verb.START,
        cause=Cause.INTENT,
        reason="NotRunning",
        message="",
        call=call,
    )
    begun = (ENTERED_S, Intended(txn="txn", action=action, subject="vm"))
    return replay(
        Record(seq=number, at_s=at_s, entry=entry)
        for number, (at_s, entry) in enumerate([begun, *entries], start=1)
    )


def answered(answer: Answer, at_s: float = 110.0) -> tuple[float, AnyEntry]:
    return at_s, Answered(txn="txn", answer=answer)


def settled(state: JournalState, seen: Observed) -> Settled | None:
    return next(settle(state, seen, RetryPolicy()), None)


# --- when it is over --------------------------------------------------------------------------------


def test_a_call_that_runs_is_not_over_whatever_the_pool_shows() -> None:
    assert settled(journal(), pool(RUNNING, as_of_s=10_000.0)) is None


@pytest.mark.parametrize(("as_of_s", "over"), [(109.9, False), (110.0, False), (110.1, True)])
def test_an_answered_call_is_over_by_an_observation_newer_than_its_return(
    as_of_s: float, over: bool
) -> None:
    found = settled(journal(answered(Done())), pool(RUNNING, as_of_s=as_of_s))
    assert (found is not None) is over


def test_an_answered_call_is_not_over_while_its_own_operation_shows() -> None:
    busy = replace(RUNNING, operations=(Operation(kind="start_on", txn="txn"),))
    assert settled(journal(answered(Done())), pool(busy)) is None
    foreign = replace(RUNNING, operations=(Operation(kind="snapshot"),))
    assert settled(journal(answered(Done())), pool(foreign)) is not None


UNSURE = answered(Unsure(reason="TIMEOUT"))
LATER_S = 110.0 + SETTLE_S


@pytest.mark.parametrize(("as_of_s", "over"), [(LATER_S - 0.1, False), (LATER_S, True)])
def test_a_lost_answer_takes_a_while_until_nothing_can_be_hidden(
    as_of_s: float, over: bool
) -> None:
    assert (settled(journal(UNSURE), pool(HALTED, as_of_s=as_of_s)) is not None) is over


@pytest.mark.parametrize("txn", ["txn", "", "another"])
def test_a_lost_answer_is_not_over_while_anything_works_on_the_object(txn: str) -> None:
    busy = replace(HALTED, operations=(Operation(kind="start_on", txn=txn),))
    assert settled(journal(UNSURE), pool(busy)) is None


@pytest.mark.parametrize(
    ("task", "over"),
    [
        (Task(uuid="t", name="VM.start_on", txn="txn"), False),
        (Task(uuid="t", name="anything", txn="txn"), False),
        (Task(uuid="t", name="VM.start_on"), False),
        (Task(uuid="t", name="Async.VM.start_on"), False),
        (Task(uuid="t", name="Async.VM.start_on", txn="another"), True),
        (Task(uuid="t", name="Async.VM.clean_shutdown"), True),
        (Task(uuid="t", name="VM.start"), True),
    ],
)
def test_a_lost_answer_is_not_over_while_a_task_may_be_it(task: Task, over: bool) -> None:
    assert (settled(journal(UNSURE), pool(HALTED, tasks=(task,))) is not None) is over


EPOCH_S = 1_790_000_000.0
RESTARTED_S = ENTERED_S + 3.0


def after_restart(vm: ObservedVM, as_of_s: float, started_s: float = RESTARTED_S) -> Observed:
    """The master's toolstack was started at `started_s` of our clock, and shows nothing at work."""
    seen = pool(vm, as_of_s=as_of_s)
    of_pool = replace(seen.pool, toolstack_started_epoch_s=EPOCH_S + started_s)
    return replace(seen, pool=of_pool, epoch_s=EPOCH_S + as_of_s)


@pytest.mark.parametrize(
    ("estimate_s", "least_s"), [(0.0, 3 * LEAST_WORK_S), (100.0, IN_THE_DARK * 100.0)]
)
def test_what_a_restarted_toolstack_does_not_show_may_still_be_at_work(
    estimate_s: float, least_s: float
) -> None:
    state = journal(UNSURE)
    flight = state.in_flight["txn"]
    action = replace(flight.action, estimate_s=estimate_s)
    state.in_flight["txn"] = dataclasses.replace(flight, action=action)
    until_s = RESTARTED_S + least_s
    assert settled(state, after_restart(HALTED, until_s - 0.1)) is None
    found = settled(state, after_restart(HALTED, until_s))
    assert found is not None
    assert isinstance(found.outcome, Retry)


def test_what_is_achieved_is_over_although_the_toolstack_was_restarted() -> None:
    found = settled(journal(UNSURE), after_restart(RUNNING, LATER_S))
    assert found is not None
    assert found.outcome == Done()


def test_a_restart_before_the_call_hides_nothing_of_it() -> None:
    seen = after_restart(HALTED, LATER_S, started_s=ENTERED_S - 1.0)
    assert settled(journal(UNSURE), seen) is not None


def test_a_setting_does_not_go_on_in_the_dark() -> None:
    state = journal(UNSURE, call=SetNameLabel(vm="vm", label="other"))
    assert settled(state, after_restart(HALTED, LATER_S)) is not None


def test_a_restart_of_the_daemon_makes_a_running_call_unsure() -> None:
    state = journal((120.0, DaemonStarted(version="1", node="here", term=2)))
    assert not state.in_flight["txn"].sure
    assert settled(state, pool(HALTED, as_of_s=120.0 + SETTLE_S - 0.1)) is None
    assert settled(state, pool(RUNNING, as_of_s=120.0 + SETTLE_S)) is not None


def test_a_restart_of_the_daemon_does_not_forget_what_was_answered() -> None:
    """The reason of a failure is known; the next observation is newer than the answer by itself."""
    refused = Stalled(reason="NoTools", message="")
    started = (120.0, DaemonStarted(version="1", node="here", term=2))
    found = settled(journal(answered(refused), started), pool(HALTED, as_of_s=121.0))
    assert found is not None
    assert found.outcome == refused


# --- what came of it --------------------------------------------------------------------------------


def outcome(answer: Answer, seen: ObservedVM | None) -> object:
    found = settled(journal(answered(answer)), pool(seen))
    assert found is not None
    return found.outcome


def test_what_the_pool_shows_is_what_counts() -> None:
    assert outcome(Done(), RUNNING) == Done()
    assert outcome(Retry(reason="HOST_OFFLINE"), RUNNING) == Done()
    assert outcome(Unsure(reason="TIMEOUT"), RUNNING) == Done()


def test_an_answer_only_explains_a_failure() -> None:
    assert outcome(Retry(reason="A", message="b"), HALTED) == Retry(reason="A", message="b")
    assert outcome(Stalled(reason="A"), HALTED) == Stalled(reason="A")
    assert outcome(Unsure(reason="TIMEOUT"), HALTED) == Retry(reason="TIMEOUT")


def test_a_success_that_the_pool_does_not_show_is_a_failure() -> None:
    found = outcome(Done(), HALTED)
    assert isinstance(found, Retry)
    assert found.reason == "NotObserved"


def test_an_object_that_is_gone_is_not_tried_again() -> None:
    found = outcome(Done(), None)
    assert isinstance(found, Stalled)
    assert found.reason == "ObjectGone"


def test_an_object_that_was_not_seen_is_not_gone() -> None:
    partial = replace(pool(None), complete=False, missing=("vm",))
    assert settled(journal(answered(Done())), partial) is None


UP = replace(RUNNING, power=PowerState.RUNNING)


@pytest.mark.parametrize(
    ("call", "before", "after"),
    [
        (START, HALTED, RUNNING),
        (START, replace(RUNNING, node="elsewhere"), RUNNING),
        (ResumeOn(vm="vm", node="host"), replace(HALTED, power=PowerState.SUSPENDED), RUNNING),
        (PoolMigrate(vm="vm", node="host"), replace(RUNNING, node="elsewhere"), RUNNING),
        (PoolMigrate(vm="vm", node="host"), HALTED, RUNNING),
        (Unpause(vm="vm"), replace(RUNNING, power=PowerState.PAUSED), RUNNING),
        (CleanShutdown(vm="vm"), RUNNING, HALTED),
        (CleanShutdown(vm="vm"), replace(HALTED, power=PowerState.UNKNOWN), HALTED),
        (Suspend(vm="vm"), RUNNING, replace(HALTED, power=PowerState.SUSPENDED)),
        (SetMemory(vm="vm", size=4, static_min=1), replace(HALTED, dynamic_min=2), HALTED),
        (SetVcpusMax(vm="vm", count=2), HALTED, replace(HALTED, vcpus_max=2)),
        (SetVcpusAtStartup(vm="vm", count=2), HALTED, replace(HALTED, vcpus_at_startup=2)),
        (SetNameLabel(vm="vm", label="x"), HALTED, replace(HALTED, name="x")),
        (AddTag(vm="vm", label="x"), HALTED, replace(HALTED, tags=("x",))),
        (EjectMedia(vm="vm", vbd="cd"), HALTED, replace(HALTED, disks=())),
    ],
)
def test_each_call_on_a_vm_has_an_end_that_can_be_seen(
    call: Call, before: ObservedVM, after: ObservedVM
) -> None:
    assert achieved(call, pool(before)) is False
    assert achieved(call, pool(after)) is True
    assert achieved(call, pool(None)) is None


def test_each_call_on_a_node_has_an_end_that_can_be_seen() -> None:
    open_node = pool(None)
    assert achieved(DisableNode(node="host"), open_node) is False
    assert achieved(EnableNode(node="host"), open_node) is True
    assert achieved(DisableNode(node="gone"), open_node) is None


def test_the_arrival_of_a_vm_is_no_operation_on_its_node() -> None:
    kinds = ("vm_start", "vm_migrate", "reboot")
    operations = tuple(Operation(kind=kind) for kind in kinds)
    node = ObservedNode(uuid="host", name="xen1", operations=operations)
    seen = replace(pool(None), nodes={"host": node})
    assert [op.kind for op in operations_on(DisableNode(node="host"), seen)] == ["reboot"]


# --- how long until the next try --------------------------------------------------------------------


def test_back_off_doubles_up_to_its_end() -> None:
    waits = [backoff_s(RetryPolicy(), failures) for failures in (1, 2, 3, 8, 50)]
    assert waits == [5.0, 10.0, 20.0, 600.0, 600.0]


def failing(times: int, answer: Answer) -> list[Settled]:
    state = journal(answered(answer))
    found: list[Settled] = []
    for _ in range(times):
        one = settled(state, pool(HALTED))
        assert one is not None
        found.append(one)
        intent = Intended(txn="txn", action=state.in_flight["txn"].action, subject="vm")
        for entry in (one, intent, answered(answer)[1]):
            state.apply(Record(seq=state.last_seq + 1, at_s=110.0, entry=entry))
    return found


def test_failures_in_a_row_end_in_a_stall() -> None:
    found = failing(5, Retry(reason="A"))
    assert [one.failures for one in found] == [1, 2, 3, 4, 5]
    assert [one.backoff_s for one in found] == [5.0, 10.0, 20.0, 40.0, 80.0]
    assert [type(one.outcome) for one in found] == [Retry, Retry, Retry, Retry, Stalled]


def test_the_pool_may_ask_for_a_longer_wait() -> None:
    assert failing(1, Retry(reason="A", after_s=30.0))[0].backoff_s == 30.0


def test_a_call_that_a_restart_prevented_is_made_at_once_but_not_for_ever() -> None:
    started = (120.0, DaemonStarted(version="1", node="here", term=2))
    found = settled(journal(started), pool(HALTED))
    assert found is not None
    assert (found.backoff_s, found.failures) == (0.0, 1)


@pytest.mark.parametrize(
    ("call", "least_s"),
    [(CleanShutdown(vm="vm"), 1200.0), (START, 60.0), (AddTag(vm="vm", label="x"), 1.0)],
)
def test_a_call_is_given_the_time_that_it_may_take(call: Call, least_s: float) -> None:
    assert timeout_s(call) >= least_s
    assert timeout_s(call, 7.0) == timeout_s(call)


def test_a_migration_has_the_time_that_its_vm_says() -> None:
    assert timeout_s(PoolMigrate(vm="vm", node="host"), 7.0) == 7.0


def test_a_node_that_is_unfit_is_remembered_and_another_is_tried() -> None:
    """Which CPU features a VM was started with is compared by the pool alone."""
    found = settled(journal(answered(Stalled(reason="CpuIncompatible"))), pool(HALTED))
    assert found is not None
    assert found.outcome == Retry(reason="CpuIncompatible")
    assert found.refused == ("host",)
    assert found.failures == 1
