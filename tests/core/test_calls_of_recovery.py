"""Calls that write off what a dead node had: when they are over, and what came of them."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from reconciler.actions import (
    Action,
    Answer,
    Call,
    Cause,
    DeclareDead,
    DisableNode,
    Done,
    Outcome,
    ResetPower,
    Retry,
    Stalled,
    Unsure,
    Verb,
)
from reconciler.inflight import achieved, operations_on, settle, timeout_s
from reconciler.journal import replay
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
from reconciler.records import Answered, AnyEntry, Intended, Record
from schema.model import Retry as RetryPolicy

DISK = Disk(vbd="disk", kind="Disk", vdi="vdi", sr="sr", locked_by=("host",))
THERE = ObservedVM(uuid="vm", name="web", power=PowerState.RUNNING, node="host", disks=(DISK,))
RESET = replace(THERE, power=PowerState.HALTED, node=None)
CLEAN = replace(RESET, disks=(replace(DISK, locked_by=("other",)),))

DEAD = DeclareDead(node="host")


def pool(
    vm: ObservedVM, *, enabled: bool = False, as_of_s: float = 200.0, tasks: tuple[Task, ...] = ()
) -> Observed:
    """As while a node is dead: the pool holds it for dead, so the picture is not complete."""
    node = ObservedNode(uuid="host", name="xen1", live=False, enabled=enabled)
    return Observed(
        as_of_s=as_of_s,
        epoch_s=0.0,
        by="here",
        pool=Pool(uuid="pool"),
        nodes={"host": node},
        vms={"vm": vm},
        tasks=tasks,
        complete=False,
        missing=("node/xen1",),
    )


def outcome(call: Call, answer: Answer, seen: Observed) -> Outcome | None:
    """What an observation makes of a call that was answered 90 s before."""
    action = Action(
        id="A-1-1",
        object="vm/web",
        verb=Verb.STOP,
        cause=Cause.DRIFT,
        reason="NodeDead",
        message="",
        call=call,
    )
    entries: list[AnyEntry] = [
        Intended(txn="txn", action=action, subject=call.subject),
        Answered(txn="txn", answer=answer),
    ]
    records = [Record(seq=n, at_s=100.0 + n, entry=entry) for n, entry in enumerate(entries, 1)]
    found = next(settle(replay(records), seen, RetryPolicy()), None)
    return None if found is None else found.outcome


@pytest.mark.parametrize(
    ("vm", "reset"),
    [(THERE, False), (RESET, True), (replace(RESET, node="host"), False), (CLEAN, True)],
)
def test_a_reset_is_done_when_the_vm_is_halted_and_nowhere(vm: ObservedVM, reset: bool) -> None:
    assert achieved(ResetPower(vm="vm"), pool(vm)) is reset
    assert achieved(ResetPower(vm="gone"), pool(vm)) is None


@pytest.mark.parametrize(
    ("vm", "enabled", "written_off"),
    [
        (THERE, False, False),
        (replace(THERE, disks=()), False, False),
        (RESET, False, False),
        (CLEAN, True, False),
        (CLEAN, False, True),
    ],
)
def test_a_node_is_written_off_when_nothing_is_there_and_no_lock_is_left(
    vm: ObservedVM, enabled: bool, written_off: bool
) -> None:
    assert achieved(DEAD, pool(vm, enabled=enabled)) is written_off
    assert achieved(DeclareDead(node="gone"), pool(vm)) is None


def test_an_answer_that_the_records_contradict_is_not_believed() -> None:
    assert outcome(DEAD, Done(), pool(CLEAN)) == Done()
    failed = outcome(DEAD, Done(), pool(RESET))
    assert isinstance(failed, Retry)
    assert failed.reason == "NotObserved"


def test_a_node_that_lives_stalls_what_writes_it_off() -> None:
    lives = Stalled(reason="HostIsLive")
    assert outcome(DEAD, lives, pool(THERE)) == lives
    assert outcome(ResetPower(vm="vm"), lives, pool(THERE)) == lives


@pytest.mark.parametrize(
    ("name", "over"),
    [("Async.host.declare_dead", False), ("host.declare_dead", False), ("host.disable", True)],
)
def test_a_lost_answer_is_not_over_while_a_task_may_be_it(name: str, over: bool) -> None:
    seen = pool(RESET, tasks=(Task(uuid="t", name=name),))
    assert (outcome(DEAD, Unsure(reason="Timeout"), seen) is not None) is over


def test_each_is_about_one_object() -> None:
    calls = (ResetPower(vm="vm"), DEAD, DisableNode(node="host"))
    assert [call.subject for call in calls] == ["vm", "host", "host"]


@pytest.mark.parametrize("call", [ResetPower(vm="vm"), DEAD])
def test_what_was_under_way_on_a_dead_server_holds_no_call_open(call: Call) -> None:
    busy = replace(THERE, operations=(Operation(kind="pool_migrate"),))
    seen = pool(busy)
    node = replace(seen.nodes["host"], operations=(Operation(kind="reboot"),))
    seen = replace(seen, nodes={"host": node})
    assert operations_on(call, seen) == ()
    assert isinstance(outcome(call, Unsure(reason="Timeout"), seen), Retry)


def test_servers_that_do_not_answer_take_their_time() -> None:
    """TCP gives up after some 130 s, and one is asked again for every VM that is to be reset."""
    assert timeout_s(DEAD) == 900.0
    assert timeout_s(ResetPower(vm="vm")) > 130.0
