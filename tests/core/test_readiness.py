"""When a started VM is ready: who asks its guest, how often, and what all nodes know of the answer."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from membership.clock import Now
from membership.ledger import GuestReady
from membership.view import single
from reconciler.actions import Done
from reconciler.guests import EVERY_S, LATE_EVERY_S
from reconciler.messages import CallReturned, GuestProbed, Perform, ProbeGuest, Share, Tick
from reconciler.observed import Observed
from reconciler.readiness import TOLD_FOR_S, Run, followed
from reconciler.status import Condition, VmStatus
from tests.core.stage import EPOCH_S, Stage, desired, pool
from tests.plan.expansion import ME, MONO_S, identity

DB1, WEB1 = identity("vm", "db1"), identity("vm", "web1")
TCP = {"by": "tcp:5432", "timeout": "5m"}
ADDRESS = "192.0.2.5"


def tree(**ready: Any) -> Any:
    vms = {
        "db1": {"state": "running", "start": {"wave": 10, "ready": ready or TCP}},
        "web1": {"state": "running"},
    }
    return desired(nodes={"xen1": {}}, vms=vms)


def world(stage: Stage, ago_s: float | None, **changes: Any) -> Observed:
    """The pool in which db1 was started so long ago; None: it is halted."""
    seen = pool(tree(), vms={"db1": {} if ago_s is None else {"on": "xen1"}, "web1": {}})
    if ago_s is None:
        return seen
    started_s = stage.now.epoch_s - ago_s
    db1 = replace(
        seen.vms[DB1], **{"started_epoch_s": started_s, "addresses": (ADDRESS,)} | changes
    )
    return replace(seen, vms={**seen.vms, DB1: db1})


def begun(wanted: Any = None) -> tuple[Stage, Observed]:
    """db1 was seen halted, and was started just now."""
    stage = Stage()
    stage.commit(1, wanted or tree())
    stage.see(world(stage, None))
    (perform,) = stage.of(Perform)
    stage.tell(CallReturned(txn=perform.txn, answer=Done()))
    after = world(stage, -2.0)
    stage.see(after)
    return stage, after


def health(stage: Stage) -> VmStatus:
    return next(vm for vm in stage.status.vms if vm.name == "db1")


def answer(question: ProbeGuest, answers: bool) -> GuestProbed:
    return GuestProbed(
        vm=question.vm,
        started_epoch_s=question.started_epoch_s,
        by=question.by,
        answers=answers,
    )


def test_the_leader_asks_until_the_guest_answers_and_then_tells_all() -> None:
    stage, seen = begun()
    (question,) = stage.of(ProbeGuest)
    assert (question.vm, question.addresses, question.port) == (DB1, (ADDRESS,), 5432)
    assert stage.calls == []
    stage.tell(answer(question, False), after_s=1.0)
    assert stage.of(ProbeGuest) == []
    stage.tell(Tick(), after_s=EVERY_S)
    assert stage.of(ProbeGuest) == [question]
    stage.tell(answer(question, True), after_s=0.1)
    ready = GuestReady(vm=DB1, started_epoch_s=question.started_epoch_s, by="tcp:5432")
    assert ready in [share.fact.value for share in stage.of(Share)]
    assert stage.calls == ["StartOn"]
    stage.see(seen)
    stage.tell(Tick(), after_s=EVERY_S)
    assert stage.of(ProbeGuest) == []


def test_who_does_not_lead_asks_nobody_and_plans_the_same() -> None:
    stage, _ = begun()
    (question,) = stage.of(ProbeGuest)
    stage.tell(answer(question, True))
    view = replace(single(ME, 1), leader="other")
    follower = Stage(view=view, ledger=stage.ledger)
    follower.commit(1, tree())
    follower.see(world(follower, None))
    waiting = replace(world(follower, 0.0), epoch_s=EPOCH_S)
    follower.see(waiting)
    assert follower.of(ProbeGuest) == []
    assert [action.waits.on for action in follower.status.plan.actions if action.waits] == [
        "wave 10"
    ]
    known = world(follower, 0.0, started_epoch_s=question.started_epoch_s)
    follower.see(known)
    assert [action.waits for action in follower.status.plan.actions] == [None]


def test_an_answer_to_an_earlier_start_is_none_to_this_one() -> None:
    stage, _ = begun()
    (question,) = stage.of(ProbeGuest)
    stage.tell(answer(question, True), after_s=0.1)
    stage.see(world(stage, 0.0))
    assert health(stage).condition is Condition.PROGRESSING
    assert stage.calls == []


def test_a_guest_without_an_address_is_not_asked_and_the_row_says_so() -> None:
    stage = Stage()
    stage.commit(1, tree())
    stage.see(world(stage, None))
    stage.see(world(stage, 0.0, addresses=()))
    assert stage.of(ProbeGuest) == []
    (action,) = stage.status.plan.actions
    assert action.waits is not None
    assert action.waits.message == (
        "wave 10 starts before wave 50: vm/db1 runs, nobody can ask its tcp:5432:"
        " its guest's agent has told no address yet"
    )


def test_a_vm_shows_that_it_starts_and_is_ready_only_then() -> None:
    stage, seen = begun(tree(by="ping"))
    found = health(stage)
    assert (found.condition, found.reason) == (Condition.PROGRESSING, "Starting")
    assert found.message == f"it runs, it has not answered to ping at {ADDRESS} yet"
    (question,) = stage.of(ProbeGuest)
    assert question.port is None
    stage.tell(answer(question, True))
    stage.see(seen)
    assert health(stage).condition is Condition.READY


def test_too_late_is_told_for_a_while_and_asked_at_leisure() -> None:
    stage, seen = begun()
    stage.see(seen, after_s=301.0)
    assert stage.calls == ["StartOn"]
    assert [row.reason for row in stage.status.plan.told] == ["NotReady"]
    assert (health(stage).condition, health(stage).reason) == (Condition.DEGRADED, "NotReady")
    (question,) = stage.of(ProbeGuest)
    stage.tell(Tick(), after_s=EVERY_S)
    assert stage.of(ProbeGuest) == []
    stage.see(seen, after_s=LATE_EVERY_S)
    assert stage.of(ProbeGuest) == [question]
    stage.see(seen, after_s=TOLD_FOR_S)
    assert stage.status.plan.told == ()
    assert stage.of(ProbeGuest) == []
    assert health(stage).condition is Condition.READY


def test_what_ran_before_anything_was_known_of_it_is_ready_unasked() -> None:
    stage = Stage()
    stage.commit(1, tree())
    stage.see(world(stage, 301.0))
    assert stage.of(ProbeGuest) == []
    assert stage.calls == ["StartOn"]
    assert stage.status.plan.told == ()


def test_a_daemon_that_starts_anew_goes_on_asking() -> None:
    stage = Stage()
    stage.commit(1, tree())
    stage.see(world(stage, 60.0))
    assert len(stage.of(ProbeGuest)) == 1
    assert stage.calls == []


# --- since when a VM runs -----------------------------------------------------------------------------


def run(before: dict[str, Run | None], ago_s: float, power: str = "Running") -> Run | None:
    now = Now(mono_s=MONO_S, epoch_s=EPOCH_S)
    seen = pool(tree(), vms={"db1": {"on": "xen1", "power": power}})
    db1 = replace(seen.vms[DB1], started_epoch_s=EPOCH_S - ago_s)
    return followed(before, replace(seen, vms={DB1: db1}), now)[DB1]


def test_a_start_that_lies_ahead_of_our_clock_was_just_now() -> None:
    assert run({}, -3600.0) == Run(MONO_S, seen=False)
    assert run({}, 60.0) == Run(MONO_S - 60.0, seen=False)


def test_no_clock_counts_for_a_start_that_was_seen() -> None:
    assert run({DB1: None}, 3600.0) == Run(MONO_S, seen=True)


def test_a_guest_that_restarts_runs_on() -> None:
    before = Run(MONO_S - 600.0, seen=True)
    assert run({DB1: before}, 5.0) == before
    assert run({DB1: before}, 5.0, "Paused") == before
    assert run({DB1: before}, 5.0, "Unknown") == before
    assert run({DB1: before}, 5.0, "Suspended") is None
