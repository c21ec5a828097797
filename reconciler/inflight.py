"""In flight: when a call that was begun is over, and what came of it.

A call leaves the in-flight table only by an observation that is newer than its return. Where no answer
came, or the daemon was restarted meanwhile, the observation must also show nothing of it still at
work: neither an operation on the object nor a pending task that could be it, tagged or not yet.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from reconciler.actions import (
    NOT_SHARED,
    AddTag,
    AnyNodeCall,
    AnyVmCall,
    Call,
    CleanShutdown,
    DeclareDead,
    DisableNode,
    Done,
    EjectMedia,
    EnableNode,
    NodeCall,
    Outcome,
    PoolMigrate,
    ResetPower,
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
    VmCall,
)
from reconciler.aspects import memory_met
from reconciler.journal import CALLER_LOST, Backoff, InFlight, JournalState
from reconciler.observed import Observed, Operation, PowerState
from reconciler.records import Settled
from schema.model import Desired
from schema.model import Retry as RetryPolicy

SETTLE_S = 5.0
"""How much newer than a lost answer, and than the end of any silence of the pool, an observation must
be: a request that the pool had taken in shows as a task or an operation well within that time."""

LASTING = (StartOn, ResumeOn, Suspend, CleanShutdown, PoolMigrate)
"""Calls whose work goes on in the hypervisor though the toolstack that they were made to has ended."""

LEAST_WORK_S = 60.0
IN_THE_DARK = 3.0
"""How many times as long as it was to take (`LEAST_WORK_S` at least) such work may still go on, from
the start of the new toolstack: that has wiped the task and the operation, and shows nothing of it."""

TASK_NAMES: dict[type, str] = {
    StartOn: "VM.start_on",
    ResumeOn: "VM.resume_on",
    Unpause: "VM.unpause",
    CleanShutdown: "VM.clean_shutdown",
    Suspend: "VM.suspend",
    PoolMigrate: "VM.pool_migrate",
    EjectMedia: "VBD.eject",
    ResetPower: "VM.power_state_reset",
    DisableNode: "host.disable",
    EnableNode: "host.enable",
    DeclareDead: "host.declare_dead",
}
"""How XenAPI names the tasks of our calls, with or without `Async.` before it."""


def settle(journal: JournalState, observed: Observed, policy: RetryPolicy) -> Iterator[Settled]:
    """The calls that this observation settles, each judged from the records.

    A call that lost its caller and one of a later leader may be in flight on the same object. They
    settle together: what is seen then is excused by either.
    """
    flights = sorted(journal.in_flight.values(), key=lambda flight: (flight.started_s, flight.txn))
    open_yet = {flight.subject for flight in flights if not _over(flight, observed)}
    for flight in flights:
        if flight.subject not in open_yet:
            yield _judged(flight, judge(flight, observed), journal, policy)


def _over(flight: InFlight, observed: Observed) -> bool:
    if flight.answered_s is None:
        return False
    if not observed.complete and achieved(flight.call, observed) is None:
        return False
    operations = operations_on(flight.call, observed)
    if flight.sure:
        if observed.as_of_s <= flight.answered_s:
            return False
        return not any(operation.txn == flight.txn for operation in operations)
    if observed.as_of_s < max(flight.answered_s, observed.steady_since_s) + SETTLE_S:
        return False
    if operations or _may_be_pending(flight, observed):
        return False
    return observed.as_of_s >= _in_the_dark_until_s(flight, observed)


def _in_the_dark_until_s(flight: InFlight, observed: Observed) -> float:
    """Until when it may go on though nothing shows it; 0.0 where it would show, or is achieved."""
    epoch_s = observed.pool.toolstack_started_epoch_s
    if not isinstance(flight.call, LASTING) or achieved(flight.call, observed) or not epoch_s:
        return 0.0
    # On our clock, as far as the master's agrees with it.
    started_s = observed.as_of_s - (observed.epoch_s - epoch_s)
    if started_s <= flight.started_s:
        return 0.0
    return started_s + IN_THE_DARK * max(LEAST_WORK_S, flight.action.estimate_s)


def _may_be_pending(flight: InFlight, observed: Observed) -> bool:
    name = TASK_NAMES.get(type(flight.call))
    return any(
        task.txn == flight.txn
        or (not task.txn and name is not None and task.name.removeprefix("Async.") == name)
        for task in observed.tasks
    )


def found_open(journal: JournalState, observed: Observed) -> frozenset[str]:
    """Hosts that we had closed and that are open now, though nothing of ours opened them."""
    closed = journal.own_cordons - journal.busy
    return frozenset(
        uuid for uuid in closed if (host := observed.nodes.get(uuid)) is not None and host.enabled
    )


def foreign_resets(journal: JournalState, observed: Observed) -> Observed:
    """What is observed, without those resets that we know to be our own. A task of ours that came and went
    between two answers of the pool may have shown itself once, before it was tagged; a record that we
    reset hides nothing, for the VM was proven to be nowhere before. Once the pool may have started it
    anew for us, whatever is seen is another's."""
    started = {flight.subject for flight in journal.in_flight.values() if _may_run(flight)}
    ours = journal.own_resets - started
    left = tuple(vm for vm in observed.resets if vm not in ours)
    return observed if left == observed.resets else replace(observed, resets=left)


def _may_run(flight: InFlight) -> bool:
    """Whether a start has returned, and was not refused."""
    starts = isinstance(flight.call, StartOn | ResumeOn)
    return starts and isinstance(flight.answer, Done | Unsure)


def operations_on(call: Call, observed: Observed) -> tuple[Operation, ...]:
    """What XenAPI is doing to the object of this call right now, and could be the call.

    What was under way on a server that died may show for ever, and is none of the calls that write it
    off: those show as tasks alone.
    """
    if isinstance(call, ResetPower | DeclareDead):
        return ()
    if isinstance(call, VmCall):
        vm = observed.vms.get(call.vm)
        return vm.operations if vm is not None else ()
    node = observed.nodes.get(call.node)
    return node.upkeep if node is not None else ()


def judge(flight: InFlight, observed: Observed) -> Outcome:
    """What the records say became of a call that is over. The answer only explains a failure."""
    held = achieved(flight.call, observed)
    if held is None:
        return Stalled(reason="ObjectGone", message="the object is no longer in the pool")
    if held:
        return Done()
    match flight.answer:
        case Retry() | Stalled() as failure:
            return failure
        case Unsure(reason=reason, message=message):
            return Retry(reason=reason, message=message)
        case _:
            return Retry(
                reason="NotObserved", message="the call succeeded, but the pool does not show it"
            )


def achieved(call: Call, observed: Observed) -> bool | None:
    """Whether the pool shows what this call was to bring about; None if its object is gone."""
    if isinstance(call, NodeCall):
        return _node_achieved(call, observed)
    return _vm_achieved(call, observed)


def _node_achieved(call: AnyNodeCall, observed: Observed) -> bool | None:
    node = observed.nodes.get(call.node)
    if node is None:
        return None
    match call:
        case DisableNode():
            return not node.enabled
        case EnableNode():
            return node.enabled
        case DeclareDead():
            return not node.enabled and not any(
                call.node == vm.node or any(call.node in disk.locked_by for disk in vm.disks)
                for vm in observed.vms.values()
            )


def _vm_achieved(call: AnyVmCall, observed: Observed) -> bool | None:
    vm = observed.vms.get(call.vm)
    if vm is None:
        return None
    match call:
        case StartOn(node=home) | ResumeOn(node=home) | PoolMigrate(node=home):
            return vm.power is PowerState.RUNNING and vm.node == home
        case Unpause():
            return vm.power is PowerState.RUNNING
        case CleanShutdown():
            return vm.power is PowerState.HALTED
        case Suspend():
            return vm.power is PowerState.SUSPENDED
        case SetMemory(size=size):
            return memory_met(size, vm)
        case SetVcpusMax(count=count):
            return vm.vcpus_max == count
        case SetVcpusAtStartup(count=count):
            return vm.vcpus_at_startup == count
        case SetNameLabel(label=label):
            return vm.name == label
        case AddTag(label=label):
            return label in vm.tags
        case EjectMedia(vbd=vbd):
            return not any(disk.vbd == vbd and disk.vdi is not None for disk in vm.disks)
        case ResetPower():
            return vm.power is PowerState.HALTED and vm.node is None


def _judged(
    flight: InFlight, outcome: Outcome, journal: JournalState, policy: RetryPolicy
) -> Settled:
    failures, wait_s = 0, 0.0
    refused: tuple[str, ...] = ()
    if not isinstance(outcome, Done):
        before = journal.backoff.get(flight.subject)
        failures = 1 + (before.failures if before is not None else 0)
        refused = _refused(flight.call, outcome, before)
        if len(refused) > len(before.refused if before is not None else ()):
            # Not the VM's fault: another node is tried, as long as there is one.
            outcome = Retry(reason=outcome.reason, message=outcome.message)
            failures = max(1, failures - 1)
        if isinstance(outcome, Retry) and outcome.reason == NOT_SHARED:
            failures = max(1, failures - 1)  # It was not made: nothing is wrong with it.
    if isinstance(outcome, Retry) and outcome.reason in CALLER_LOST:
        # The pool refused nothing, and waiting might lose the room to another.
        failures = max(1, failures - 1)
    elif isinstance(outcome, Retry):
        wait_s = max(outcome.after_s, backoff_s(policy, failures))
        if failures >= policy.stalled_after:
            outcome = Stalled(reason=outcome.reason, message=outcome.message)
    return Settled(
        txn=flight.txn,
        object=flight.action.object,
        subject=flight.subject,
        outcome=outcome,
        backoff_s=wait_s,
        failures=failures,
        refused=refused,
    )


UNFIT = frozenset({"CpuIncompatible", "VersionIncompatible", "NoDevice", "NotEnoughCpus"})
"""Reasons of a refusal that lie in what the target node is, and will not pass by themselves."""


def _refused(call: Call, outcome: Outcome, before: Backoff | None) -> tuple[str, ...]:
    """XenAPI alone can compare CPU features, so which nodes are unfit is learnt by asking."""
    known = before.refused if before is not None else ()
    unfit = isinstance(outcome, Retry | Stalled) and outcome.reason in UNFIT
    if unfit and isinstance(call, StartOn | ResumeOn | PoolMigrate) and call.node not in known:
        return (*known, call.node)
    return known


def backoff_s(policy: RetryPolicy, failures: int) -> float:
    """Seconds until the next try after so many failures in a row."""
    return float(min(policy.max_s, policy.base_s * policy.factor ** (failures - 1)))


_TIMEOUTS_S: dict[type, float] = {
    StartOn: 600.0,
    ResumeOn: 1200.0,
    Suspend: 1200.0,
    CleanShutdown: 1320.0,
    PoolMigrate: 1800.0,
    ResetPower: 180.0,
    DeclareDead: 900.0,
}
"""The last two have the master call servers that do not answer, one after another: up to 130 s each
until TCP gives up, and `DeclareDead` does so anew for every VM that the records place there."""


def limit_s(call: Call, name: str, desired: Desired) -> float:
    """As `timeout_s`, with what the tree says of the object of this name for people."""
    vm = desired.vms.get(name.removeprefix("vm/"))
    return timeout_s(call, vm.migration.timeout_s if vm is not None else None)


def timeout_s(call: Call, migration_s: float | None = None) -> float:
    """How long we wait for a call. A guest has 20 minutes of XenAPI's to shut down; setters answer soon."""
    if isinstance(call, PoolMigrate) and migration_s is not None:
        return migration_s
    return _TIMEOUTS_S.get(type(call), 60.0)
