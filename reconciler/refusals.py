"""Refusals: what keeps one row from being carried out now, for good (refused) or for a while (waits)."""

from __future__ import annotations

from collections.abc import Mapping, Set

from fencing.judgement import Belief
from fencing.may_run import Doubt
from membership.clock import Now
from reconciler.actions import (
    Blocked,
    Call,
    Cause,
    PoolMigrate,
    ResetPower,
    ResumeOn,
    StartOn,
    Verb,
    Waits,
)
from reconciler.aspects import desired_power
from reconciler.drift import Change, Drift, NodeChange, VmChange
from reconciler.gates import Gates, blocked, restart_refused
from reconciler.journal import InFlight, JournalState
from reconciler.observed import Observed, Operation, PowerState
from schema.forms import duration_text, size_text
from schema.model import Desired, Restart


class Refusals:
    """The rules about single rows, in their order. The first one that applies is told."""

    def __init__(
        self,
        desired: Desired,
        observed: Observed,
        drift: Drift,
        gates: Gates,
        journal: JournalState,
        now: Now,
    ) -> None:
        self._desired = desired
        self._observed = observed
        self._adoption = drift.adoption
        self._deaths = drift.deaths
        self._gates = gates
        self._journal = journal
        self._now = now
        flights = journal.in_flight.values()
        self._flights: Mapping[str, InFlight] = {flight.subject: flight for flight in flights}

    def refuse(self, change: Change) -> Blocked | None:
        """Why this row is not carried out, though nothing of it is under way; or None."""
        if change.subject in self._flights:
            return None
        return (
            self._gates.refuse(change, self._touched(change))
            or _contended(change)
            or self._crash_loop(change)
            or _pinned(change)
            or _too_small(change)
            or self._stalled(change)
            or self._foreign(change)
            or self._unknown(change)
            or _not_ours_to_stop(change, self._journal)
            or _never(change, self._journal)
        )

    def _touched(self, change: Change) -> tuple[str, ...]:
        if isinstance(change, NodeChange) or change.real.node is None:
            return ()
        return (self._adoption.node_name(change.real.node),)

    def _crash_loop(self, change: Change) -> Blocked | None:
        """A guest that crashes as soon as it is started is not started for ever."""
        if isinstance(change, NodeChange) or not change.crashed:
            return None
        budget = self._desired.cluster.recovery.max_restarts
        if change.crashes <= budget.count:
            return None
        within = duration_text(budget.per_s)
        message = f"{change.message}; its guest crashed {change.crashes} times within {within}"
        return blocked(
            change, "CrashLoop", message, f"look at its console, then cxm retry {change.object}"
        )

    def _stalled(self, change: Change) -> Blocked | None:
        backoff = self._journal.backoff.get(change.subject)
        if backoff is None or not backoff.stalled:
            return None
        tries = f"after {backoff.failures} tries" if backoff.failures > 1 else "at the first try"
        message = f"{backoff.message or backoff.reason} ({tries})"
        return blocked(change, backoff.reason, message, f"cxm retry {change.object}")

    def _foreign(self, change: Change) -> Blocked | None:
        """Whoever works on the object is let finish: XenAPI would queue us behind, for hours if need be."""
        operations = _operations(change)
        if not operations or any(operation.txn for operation in operations):
            return None
        other = operations[0]
        by = f" (task {other.task})" if other.task else ""
        return blocked(
            change,
            "ForeignOperation",
            f"{change.message}; somebody else's {other.kind} is under way{by}",
            "wait for it, or cancel it",
        )

    def _unknown(self, change: Change) -> Blocked | None:
        if change.cause is Cause.RECOVERY:
            return None
        if isinstance(change, NodeChange):
            hears = change.host.uuid in self._deaths.pool.reporting
            return None if hears else _silent(change, change.node.name)
        if change.verb is Verb.RESTART and change.real.power is PowerState.UNKNOWN:
            message = f"{change.message}; the VM's power state is not known"
            return blocked(change, "PowerUnknown", message, "wait until the pool tells it")
        if change.real.node is None:
            return None
        if change.real.node in self._deaths.pool.reporting:
            return None
        return _silent(change, self._adoption.node_name(change.real.node))

    def unproven(self, change: VmChange, call: Call) -> Blocked | None:
        """Why this call could make the VM run twice, or None."""
        match call:
            case StartOn(node=node) | ResumeOn(node=node):
                doubts = self._deaths.doubts(change.vm, change.real, node)
            case PoolMigrate(node=node):
                doubts = self._deaths.doubts(change.vm, change.real, node, change.real.node or "")
            case ResetPower():
                doubts = self._deaths.doubts(change.vm, change.real, "")
            case _:
                return None
        return self._doubted(change, doubts[0]) if doubts else None

    def _doubted(self, change: VmChange, doubt: Doubt) -> Blocked:
        node = self._adoption.node_name(doubt.host)
        if doubt.refused is not None:
            kind = doubt.refused.certificate.kind
            message = (
                f"{change.message}; {node} is dead by {kind}, which its recovery.proof excludes"
            )
            remedy = f"cxm fence {node}, or allow {kind} in recovery.proof"
        elif change.subject in self._observed.resets:
            message = f"{change.message}; somebody reset its record, so it may still run on {node}"
            remedy = f"look at {node}, then start it yourself"
        elif doubt.host in self._deaths.awaited():
            message = f"{change.message}; {node} has yet to join the pool's new master"
            remedy = f"look at {node}: it ends what the new master does not know"
        else:
            message = f"{change.message}; it may still run on {node}, of which nothing is proven"
            remedy = f"cxm why node/{node}"
        return blocked(change, "Unproven", message, remedy)

    def delay(self, change: Change, taken: Set[str]) -> Waits | None:
        """What only time, or the end of something under way, will allow. `taken`: subjects of rows
        of this plan that go first."""
        if isinstance(change, NodeChange) and change.verb is Verb.FENCE:
            return self._fencing(change)
        flight = self._flights.get(change.subject)
        if flight is not None:
            return _under_way(flight, change)
        if any(operation.txn for operation in _operations(change)):
            return Waits(on="in-flight", message="an earlier call of cxm is still under way")
        if change.subject in taken:
            return Waits(on="in-flight", message="after the other change of the same object")
        return (
            self._backing_off(change)
            or self._cold(change)
            or self._locked(change)
            or _not_running_yet(change)
            or self._grace(change)
            or self._window(change)
        )

    def _fencing(self, change: NodeChange) -> Waits:
        """Guarding goes on with it by itself, be it that it only waits for silence to last."""
        verdict = self._deaths.verdicts[change.node.name]
        if verdict.belief is Belief.DOOMED:
            return Waits(on="fence devices", message="its fence devices are asked")
        left_s = verdict.wait_s
        until_s = None if left_s is None else self._now.mono_s + left_s
        return Waits(on="silence", message=verdict.message, until_s=until_s)

    def _backing_off(self, change: Change) -> Waits | None:
        backoff = self._journal.backoff.get(change.subject)
        if backoff is None or backoff.until_s is None or backoff.until_s <= self._now.mono_s:
            return None
        message = f"{backoff.message or backoff.reason}, try {backoff.failures + 1} follows"
        return Waits(on="back-off", message=message, until_s=backoff.until_s)

    def _cold(self, change: Change) -> Waits | None:
        """After a blackout nothing is heaped on those that return first."""
        absent = self._gates.absent
        if not absent or change.verb not in (Verb.START, Verb.RESUME, Verb.RESTART):
            return None
        names = ", ".join(absent)
        message = f"after a blackout, until {names} is here or certified (cxm confirm-off)"
        return Waits(on="cold-start", message=message)

    def _locked(self, change: Change) -> Waits | None:
        """The mark of a dead node on a disk goes when the pool writes the node off."""
        if isinstance(change, NodeChange) or change.verb is not Verb.START:
            return None
        for disk in change.real.disks:
            for host in disk.locked_by:
                if self._deaths.certified(host) is not None:
                    node = self._adoption.node_name(host)
                    return Waits(on=f"node/{node}", message=f"its disks bear the mark of {node}")
        return None

    def _grace(self, change: Change) -> Waits | None:
        if isinstance(change, NodeChange) or change.since_s is None or change.crashed:
            return None
        grace_s = self._desired.cluster.reconcile.drift_grace_s
        until_s = change.since_s + grace_s
        if until_s <= self._now.mono_s:
            return None
        message = f"changed by someone else; mended after driftGrace {duration_text(grace_s)}"
        return Waits(on="driftGrace", message=message, until_s=until_s)

    def _window(self, change: Change) -> Waits | None:
        if isinstance(change, NodeChange) or change.vm.restart is not Restart.WINDOW:
            return None
        if not _stops_on_the_way(change, self._journal):
            return None
        return Waits(
            on="window",
            message="PendingRestart: restart is window and no maintenance window is open;"
            " restart: now applies it at once",
        )


def _silent(change: Change, node: str) -> Blocked:
    message = f"{change.message}; nobody hears {node}, so its state is not known"
    return blocked(change, "NodeUnknown", message, f"find out what became of {node}")


def _not_running_yet(change: Change) -> Waits | None:
    """A guest that stands still cannot shut down, and to wake it is another row's business: somebody
    may have paused it for a reason."""
    if isinstance(change, NodeChange) or change.verb is not Verb.RESTART:
        return None
    if change.real.power not in (PowerState.PAUSED, PowerState.SUSPENDED):
        return None
    message = f"it is {change.real.power.value.lower()}, and is restarted once it runs"
    return Waits(on=change.object, message=message)


def _contended(change: Change) -> Blocked | None:
    if isinstance(change, NodeChange) or change.cause is not Cause.DRIFT or not change.foreign:
        return None
    return blocked(
        change,
        "Contended",
        f"{change.message}; changed by others {change.foreign} times within an hour: hands off",
        f"agree with whoever does it, then cxm retry {change.object}",
    )


def _pinned(change: Change) -> Blocked | None:
    if (
        isinstance(change, NodeChange)
        or change.verb is not Verb.MIGRATE
        or not change.real.immobile
    ):
        return None
    return blocked(
        change,
        "Immobile",
        f"{change.message}; it cannot move live: {change.real.immobile}",
        "remove what pins it, or allow a stop with migration.live: preferred",
    )


def _too_small(change: Change) -> Blocked | None:
    """Below its static minimum a guest may not boot. All four limits equal is no minimum at all."""
    if isinstance(change, NodeChange) or "memory" not in change.aspects:
        return None
    memory, floor = change.vm.memory, change.real.static_min
    if memory is None or memory >= floor or floor == change.real.static_max:
        return None
    message = f"{change.message}; the VM's static minimum is {size_text(floor)}"
    return blocked(
        change, "BelowMinimum", message, "give it more, or lower its static minimum yourself"
    )


def _stops_on_the_way(change: Change, journal: JournalState) -> bool:
    """Whether carrying out this row would stop a VM that is up, in order to start it again."""
    return (
        isinstance(change, VmChange)
        and change.verb is Verb.RESTART
        and change.real.power is not PowerState.HALTED
        and change.reason != "DrainShutdown"
        and change.subject not in journal.own_stops
    )


def _not_ours_to_stop(change: Change, journal: JournalState) -> Blocked | None:
    if isinstance(change, NodeChange) or change.verb is not Verb.RESTART:
        return None
    if desired_power(change.vm) is PowerState.RUNNING or change.subject in journal.own_stops:
        return None
    return blocked(
        change,
        "StateNotManaged",
        f"{change.message}; this stops the VM, and the tree does not say state: running",
        "set state: running, or stop the VM yourself",
    )


def _never(change: Change, journal: JournalState) -> Blocked | None:
    if isinstance(change, NodeChange) or not _stops_on_the_way(change, journal):
        return None
    return restart_refused(change)


def _operations(change: Change) -> tuple[Operation, ...]:
    return change.host.upkeep if isinstance(change, NodeChange) else change.real.operations


def _under_way(flight: InFlight, change: Change) -> Waits:
    same = flight.action.verb is change.verb
    what = "under way" if same else f"after the {flight.action.verb.value} under way"
    if flight.answered_s is not None:
        what += ", to be seen in the pool"
    return Waits(on="in-flight", message=what)
