"""Plan: which rows of the drift are carried out now, which wait and for what, which are refused and why.

Recomputed from scratch on every step and never remembered: what was begun is in the journal, what
came of it is in the next observation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import replace

from msgspec.structs import replace as with_fields

from membership.clock import Now
from membership.ledger import Ledger
from membership.view import View
from reconciler.actions import (
    Action,
    Blocked,
    Disruption,
    Plan,
    Precondition,
    StartOn,
    Verb,
    Waits,
)
from reconciler.drift import Change, Drift, NodeChange, VmChange
from reconciler.gates import Gates
from reconciler.journal import JournalState, OwnStop
from reconciler.limits import Slots
from reconciler.memory import need
from reconciler.observed import Observed
from reconciler.placement import Board
from reconciler.refusals import Refusals
from reconciler.steps import Step, growth, next_step
from reconciler.waves import Row, in_order
from schema.model import Desired, Live, Priority


def plan(
    drift: Drift,
    desired: Desired,
    observed: Observed,
    view: View,
    ledger: Ledger,
    journal: JournalState,
    load: None,
    now: Now,
) -> Plan:
    """What to do about the drift. Every change comes out as one action or one refusal, none is lost.

    The plan is the same on every node, leader or not; who may carry it out is the reconciler's
    question (`View.may_act`).
    """
    del view, load
    if not drift.changes:
        return Plan(blocked=drift.blocked, told=drift.told)
    planner = _Planner(drift, desired, observed, ledger, journal, now)
    return planner.plan()


class _Planner:
    def __init__(
        self,
        drift: Drift,
        desired: Desired,
        observed: Observed,
        ledger: Ledger,
        journal: JournalState,
        now: Now,
    ) -> None:
        self._drift = drift
        self._desired = desired
        self._observed = observed
        self._ledger = ledger
        self._journal = journal
        gates = Gates(desired, observed, ledger, now)
        self._refusals = Refusals(desired, observed, drift, gates, journal, now)
        closed = dict.fromkeys(gates.frozen_nodes(), "Frozen") | dict(drift.closed)
        self._board = Board(observed, drift.adoption, closed, journal)
        self._taken = set(journal.busy)
        self._kept: set[str] = set()
        self._network = _network(desired.cluster.migration_network, observed)
        self._rows: list[Row] = []
        self._blocked: list[Blocked] = list(drift.blocked)

    def plan(self) -> Plan:
        owed = self._journal.own_stops.keys()
        for change in sorted(self._drift.changes, key=lambda change: _urgency(change, owed)):
            self._decide(_in_effect(change))
        slots = Slots(self._desired.cluster.limits, self._observed, self._journal)
        actions = [self._action(row, slots) for row in in_order(self._rows, self._drift)]
        revision = self._ledger.target.revision if self._ledger.target is not None else 0
        actions.sort(key=lambda action: (action.object, action.verb))
        return Plan(
            actions=tuple(_numbered(actions, revision)),
            blocked=tuple(sorted(self._blocked, key=lambda row: (row.object, row.verb))),
            told=self._drift.told,
            next_s=_next(actions, self._blocked),
        )

    # --- may it, and what is the next call -------------------------------------------------------

    def _decide(self, change: Change) -> None:
        owed = self._journal.own_stops.get(change.subject)
        verdict = (
            self._refusals.refuse(change)
            or self._refusals.delay(change, self._taken)
            or self._step(change, owed)
        )
        if isinstance(change, VmChange):
            self._reserve(change, verdict, owed)
        match verdict:
            case Blocked():
                self._blocked.append(verdict)
            case Waits():
                self._rows.append(Row(change, None, verdict))
            case Step():
                self._taken.add(change.subject)
                self._rows.append(Row(change, verdict, None))

    def _step(self, change: Change, owed: OwnStop | None) -> Blocked | Step:
        """The next call; never one that could make a VM run twice."""
        step = next_step(change, self._board, owed, self._network)
        if isinstance(step, Blocked) or isinstance(change, NodeChange):
            return step
        return self._refusals.unproven(change, step.call) or step

    def _reserve(
        self, change: VmChange, verdict: Blocked | Waits | Step, owed: OwnStop | None
    ) -> None:
        """Count the room that a step takes, or else that a VM which cxm stopped comes back to: given
        away meanwhile, it would keep the VM down."""
        uuids = self._drift.adoption.node_uuids
        if isinstance(verdict, Step) and verdict.size and verdict.node is not None:
            self._board.place(change.real, uuids[verdict.node], verdict.size)
            return
        home = uuids.get(owed.node) if owed is not None and owed.node is not None else None
        if home is None or change.verb is not Verb.RESTART or change.subject in self._kept:
            return
        self._kept.add(change.subject)
        if not self._arrives(change.subject):
            self._board.place(change.real, home, growth(change, home))

    def _arrives(self, subject: str) -> bool:
        """Whether a start is in flight, whose room is counted already."""
        flights = self._journal.in_flight.values()
        return any(f.subject == subject and isinstance(f.call, StartOn) for f in flights)

    def _here(self, change: Change) -> str:
        node = change.real.node if isinstance(change, VmChange) else change.host.uuid
        return self._drift.adoption.node_name(node)

    def _action(self, row: Row, slots: Slots) -> Action:
        change, step, waits = row.change, row.step, row.waits
        if step is not None and waits is None:
            waits = slots.full(step.call, change.cause)
            if waits is None:
                slots.take(step.call)
        return Action(
            id="",
            object=change.object,
            verb=change.verb,
            cause=change.cause,
            reason=change.reason,
            message=_message(change, step, self._here(change)),
            disruption=change.disruption if isinstance(change, VmChange) else Disruption.NONE,
            estimate_s=_estimate(change),
            preconditions=_preconditions(change, self._drift),
            waits=waits,
            call=step.call if step is not None else None,
            node=step.node if step is not None else None,
        )


def _in_effect(change: Change) -> Change:
    """A VM that cannot move live is moved by stop and start, where its tree prefers live only."""
    if isinstance(change, NodeChange) or change.verb is not Verb.MIGRATE:
        return change
    live = change.vm.migration.live
    fixed = change.real.immobile or ("migration.live is never" if live is Live.NEVER else "")
    if not fixed or live is Live.REQUIRED:
        return change
    message = f"{change.message}, by stop and start: {fixed}"
    return replace(
        change,
        verb=Verb.RESTART,
        reason="ColdMove",
        message=message,
        disruption=Disruption.COLD,
    )


# --- order -----------------------------------------------------------------------------------------

_ORDER: Mapping[Verb, int] = {
    Verb.FENCE: 0,
    Verb.RESET: 0,
    Verb.WRITE_OFF: 1,
    Verb.UNCORDON: 0,
    Verb.CORDON: 1,
    Verb.STOP: 2,
    Verb.SUSPEND: 2,
    Verb.CHANGE: 4,
    Verb.MIGRATE: 5,
    Verb.START: 6,
    Verb.RESUME: 6,
    Verb.RESTART: 7,
}
_OWED = 3
"""What cxm stopped comes back before anything else takes its room."""

_PRIORITY: Mapping[Priority, int] = {Priority.CRITICAL: 0, Priority.NORMAL: 1, Priority.LOW: 2}


def _urgency(change: Change, owed: Set[str]) -> tuple[int, int, int, str, str]:
    """What frees memory before what takes it; who is more important before who is less."""
    returns = change.verb is Verb.RESTART and change.subject in owed
    order = _OWED if returns else _ORDER[change.verb]
    if isinstance(change, NodeChange):
        return (order, 0, 0, change.object, change.reason)
    vm = change.vm
    return (order, _PRIORITY[vm.priority], vm.start.wave, change.object, change.reason)


# --- rows ------------------------------------------------------------------------------------------


def _message(change: Change, step: Step | None, here: str) -> str:
    """`here` names the node that the VM is on now."""
    if step is None or step.node is None or isinstance(change, NodeChange):
        return change.message
    if change.verb is Verb.MIGRATE:
        return f"{change.message}, to {step.node}"
    if change.verb in (Verb.START, Verb.RESUME):
        return f"{change.message}, on {step.node}"
    if change.verb is Verb.RESTART and step.node != here:
        return f"{change.message}, then on {step.node}"
    return change.message


_MIGRATION_BASE_S = 5.0
_BYTES_PER_S = 100e6


def _estimate(change: Change) -> float:
    """Seconds, from sizes and a 1 Gbit/s network; an order of magnitude, not a promise."""
    if isinstance(change, NodeChange):
        return 1.0
    by_memory = need(change.real) / _BYTES_PER_S
    match change.verb:
        case Verb.MIGRATE:
            return round(_MIGRATION_BASE_S + by_memory)
        case Verb.SUSPEND | Verb.RESUME:
            return round(by_memory)
        case Verb.RESTART:
            return 40.0
        case Verb.STOP:
            return 20.0
        case Verb.START:
            return 10.0
        case _:
            return 1.0


def _preconditions(change: Change, drift: Drift) -> tuple[Precondition, ...]:
    if isinstance(change, NodeChange):
        enabled = "true" if change.host.enabled else "false"
        return (Precondition(object=change.object, field="enabled", equals=enabled),)
    power = Precondition(object=change.object, field="power_state", equals=change.real.power.value)
    if change.real.node is None:
        return (power,)
    node = drift.adoption.node_name(change.real.node)
    return (power, Precondition(object=change.object, field="resident_on", equals=node))


def _numbered(actions: Iterable[Action], revision: int) -> Iterable[Action]:

    for number, action in enumerate(actions, start=1):
        yield with_fields(action, id=f"A-{revision}-{number}")


def _next(actions: Iterable[Action], refusals: Iterable[Blocked]) -> float | None:
    moments = [a.waits.until_s for a in actions if a.waits is not None]
    moments += [row.until_s for row in refusals]
    return min((moment for moment in moments if moment is not None), default=None)


def _network(name: str | None, observed: Observed) -> str | None:
    """The uuid of the migration network; named by uuid or by the pool's name for it."""
    if name is None:
        return None
    found = (n.uuid for n in observed.networks.values() if name in (n.uuid, n.name))
    return next(found, None)
