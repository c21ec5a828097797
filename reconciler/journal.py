"""The fold of the journal: what this node remembers.

The journal is the only memory of the reconciler. `JournalState` is nothing but the fold of its
records, so a daemon that was killed comes back to the same state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from reconciler.actions import (
    UP,
    Action,
    Answer,
    Call,
    Cause,
    CleanShutdown,
    DeclareDead,
    DisableNode,
    Done,
    EnableNode,
    ResetPower,
    Retry,
    SetMemory,
    SetVcpusAtStartup,
    SetVcpusMax,
    Stalled,
    StartOn,
    Unsure,
    Verb,
)
from reconciler.observed import PowerState
from reconciler.records import (
    Answered,
    Cleared,
    Converged,
    DaemonStarted,
    Diverged,
    Entry,
    Foretold,
    Forgotten,
    FoundOpen,
    Intended,
    LeaderChanged,
    Noticed,
    Record,
    Rejected,
    Retried,
    Settled,
    Sighted,
    Sighting,
    SourceBack,
    SourceLost,
    Succeeded,
    Targeted,
    TookOver,
)

SETTERS = (SetMemory, SetVcpusMax, SetVcpusAtStartup)
"""Calls that are made on a halted VM only."""


@dataclass(frozen=True, slots=True)
class InFlight:
    """A call that was begun and is not settled.

    `answered_s` is when it returned or was given up; None while it runs. `by` is the leader that made
    it, "" for ourselves, and `term` that in which that leader began it.
    """

    txn: str
    action: Action
    subject: str
    started_s: float
    answered_s: float | None = None
    answer: Answer | None = None
    by: str = ""
    term: int = 0

    @property
    def call(self) -> Call:
        assert self.action.call is not None
        return self.action.call

    @property
    def implies_stop(self) -> bool:
        """Whether a leader that was followed in this has stopped the VM before, be it that we missed it."""
        return bool(self.by) and self.action.verb is Verb.RESTART and isinstance(self.call, SETTERS)

    @property
    def sure(self) -> bool:
        """False while the call runs, and where no answer came or the daemon restarted meanwhile."""
        return self.answer is not None and not isinstance(self.answer, Unsure)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Failures in a row on one subject, and the earliest moment of the next try.

    `until_s` is None where only a human's `retry`, or a new wish, brings the next try. `refused` are
    hosts (uuids) that said that they are not made for the VM: they are not asked again.
    """

    failures: int
    until_s: float | None
    reason: str
    message: str
    refused: tuple[str, ...] = ()

    @property
    def stalled(self) -> bool:
        return self.until_s is None


@dataclass(frozen=True, slots=True)
class OwnStop:
    """We stopped this VM on the way to something else and owe it a start."""

    cause: Cause
    reason: str
    node: str | None
    at_s: float


@dataclass(slots=True)
class JournalState:
    """The fold of all records. Changed by `apply` alone; plan and diff only read it.

    Keys are XenAPI uuids of VMs and hosts, so a renamed object keeps its past.
    """

    last_seq: int = 0
    in_flight: dict[str, InFlight] = field(default_factory=dict)
    backoff: dict[str, Backoff] = field(default_factory=dict)
    sightings: dict[str, Sighting] = field(default_factory=dict)
    own_stops: dict[str, OwnStop] = field(default_factory=dict)
    own_cordons: set[str] = field(default_factory=set)
    own_resets: set[str] = field(default_factory=set)
    """VMs whose records we have set to Halted, and that were not seen up since."""
    noticed: dict[tuple[str, str], str] = field(default_factory=dict)
    source_lost: SourceLost | None = None
    rejected: Rejected | None = None
    targeted_s: float = 0.0
    converged: tuple[int, float] | None = None
    in_sync: bool = False
    taken: dict[str, str] = field(default_factory=dict)
    leader: tuple[str | None, int] = (None, 0)
    succeeded: int = 0
    """The highest term in which somebody is known to have taken over."""

    def apply(self, record: Record) -> None:
        """Add one record. An entry that changes nothing here is only counted."""
        self.last_seq = record.seq
        step = _STEPS.get(type(record.entry))
        if step is not None:
            step(self, record.entry, record.at_s)

    @property
    def busy(self) -> frozenset[str]:
        """Subjects of calls in flight."""
        return frozenset(flight.subject for flight in self.in_flight.values())


def replay(records: Iterable[Record]) -> JournalState:
    """The state that a daemon comes back to."""
    state = JournalState()
    for record in records:
        state.apply(record)
    return state


RESTARTED = Unsure(reason="DaemonRestarted", message="the daemon was restarted during the call")


LEADER_LOST = Unsure(reason="LeaderLost", message="the node that made the call leads no more")

CALLER_LOST = frozenset({RESTARTED.reason, LEADER_LOST.reason, "LeaseOver", "SessionRevoked"})
"""Answers that say nothing of the call, but only of who made it, or was no longer to make it."""


def _started(state: JournalState, entry: DaemonStarted, at_s: float) -> None:
    """Whatever of ours had not answered has lost its caller: only an observation from now on can settle
    it. A leader that we follow goes on."""
    del entry
    for txn, flight in state.in_flight.items():
        if flight.sure or flight.by:
            continue
        state.in_flight[txn] = replace(flight, answered_s=at_s, answer=RESTARTED)


def _intended(state: JournalState, entry: Intended, at_s: float) -> None:
    flight = InFlight(entry.txn, entry.action, entry.subject, at_s, by=entry.by, term=entry.term)
    state.in_flight[entry.txn] = flight
    action, call = flight.action, flight.call
    if flight.implies_stop:
        owed = OwnStop(action.cause, action.reason, action.node, at_s)
        state.own_stops.setdefault(entry.subject, owed)
    elif isinstance(call, CleanShutdown) and action.verb is not Verb.STOP:
        state.own_stops[call.vm] = OwnStop(action.cause, action.reason, action.node, at_s)
    elif isinstance(call, DisableNode) or (isinstance(call, DeclareDead) and call.closes):
        state.own_cordons.add(call.node)
    elif isinstance(call, ResetPower):
        state.own_resets.add(call.vm)


def _answered(state: JournalState, entry: Answered, at_s: float) -> None:
    flight = state.in_flight.get(entry.txn)
    if flight is not None:
        state.in_flight[entry.txn] = replace(flight, answered_s=at_s, answer=entry.answer)


def _settled(state: JournalState, entry: Settled, at_s: float) -> None:
    flight = state.in_flight.pop(entry.txn, None)
    match entry.outcome:
        case Done():
            state.backoff.pop(entry.subject, None)
        case Retry(reason=reason, message=message):
            until_s = at_s + entry.backoff_s
            state.backoff[entry.subject] = Backoff(
                entry.failures, until_s, reason, message, entry.refused
            )
        case Stalled(reason=reason, message=message):
            state.backoff[entry.subject] = Backoff(
                entry.failures, None, reason, message, entry.refused
            )
    if flight is not None:
        _repay(state, flight.call, done=isinstance(entry.outcome, Done))


def _repay(state: JournalState, call: Call, *, done: bool) -> None:
    """A debt ends with the call that pays it, or where the call that made it came to nothing."""
    match call:
        case EnableNode(node=node) if done:
            state.own_cordons.discard(node)
        case DisableNode(node=node) | DeclareDead(node=node, closes=True) if not done:
            state.own_cordons.discard(node)
        case ResetPower(vm=vm) if not done:
            state.own_resets.discard(vm)
        case StartOn(vm=vm) if done:
            state.own_stops.pop(vm, None)
            state.own_resets.discard(vm)
        case CleanShutdown(vm=vm) if not done:
            state.own_stops.pop(vm, None)


def _sighted(state: JournalState, entry: Sighted, at_s: float) -> None:
    """No start is owed any more to a VM that somebody else started, or that shall be halted by now."""
    del at_s
    sighting = entry.sighting
    state.sightings[entry.vm] = sighting
    if sighting.power in UP:
        state.own_resets.discard(entry.vm)
    started = sighting.power is PowerState.RUNNING and entry.vm not in state.busy
    if started or sighting.met.get("power") == PowerState.HALTED.value:
        state.own_stops.pop(entry.vm, None)


def _found_open(state: JournalState, entry: FoundOpen, at_s: float) -> None:
    del at_s
    state.own_cordons.discard(entry.node)


def _source_lost(state: JournalState, entry: SourceLost, at_s: float) -> None:
    del at_s
    state.source_lost = entry


def _source_back(state: JournalState, entry: SourceBack, at_s: float) -> None:
    del entry, at_s
    state.source_lost = None


def _rejected(state: JournalState, entry: Rejected, at_s: float) -> None:
    del at_s
    state.rejected = entry


def _targeted(state: JournalState, entry: Targeted, at_s: float) -> None:
    """A newer wish ends a rejection, and has yet to be fulfilled."""
    state.targeted_s = at_s
    if state.rejected is not None and state.rejected.revision <= entry.revision:
        state.rejected = None
    state.in_sync = False


def _converged(state: JournalState, entry: Converged, at_s: float) -> None:
    state.converged = (entry.revision, at_s)
    state.in_sync = True


def _diverged(state: JournalState, entry: Diverged, at_s: float) -> None:
    del entry, at_s
    state.in_sync = False


def _noticed(state: JournalState, entry: Noticed, at_s: float) -> None:
    del at_s
    state.noticed[(entry.object, entry.reason)] = entry.message


def _cleared(state: JournalState, entry: Cleared, at_s: float) -> None:
    del at_s
    state.noticed.pop((entry.object, entry.reason), None)


def _retried(state: JournalState, entry: Retried, at_s: float) -> None:
    """A human asked: what was drift is a wish again, so neither grace nor contention delays it."""
    del at_s
    state.backoff.pop(entry.subject, None)
    sighting = state.sightings.get(entry.subject)
    if sighting is not None:
        met = {
            aspect: wish for aspect, wish in sighting.met.items() if aspect not in sighting.unmet
        }
        state.sightings[entry.subject] = msgspec.structs.replace(
            sighting, met=met, unmet={}, foreign=(), crashes=()
        )


def _foretold(state: JournalState, entry: Foretold, at_s: float) -> None:
    del at_s
    state.taken[entry.subject] = entry.txn


def _forgotten(state: JournalState, entry: Forgotten, at_s: float) -> None:
    del at_s
    state.taken.pop(entry.subject, None)


def _leader_changed(state: JournalState, entry: LeaderChanged, at_s: float) -> None:
    del at_s
    state.leader = (entry.leader, entry.term)


def _took_over(state: JournalState, entry: TookOver | Succeeded, at_s: float) -> None:
    """Calls of earlier terms that were not answered have lost their caller."""
    state.succeeded = max(state.succeeded, entry.term)
    for txn, flight in state.in_flight.items():
        if flight.by and flight.term < entry.term and flight.answered_s is None:
            state.in_flight[txn] = replace(flight, answered_s=at_s, answer=LEADER_LOST)


_STEPS: dict[type[Entry], Callable[[JournalState, Any, float], None]] = {
    DaemonStarted: _started,
    Intended: _intended,
    Answered: _answered,
    Settled: _settled,
    Sighted: _sighted,
    SourceLost: _source_lost,
    SourceBack: _source_back,
    Rejected: _rejected,
    Targeted: _targeted,
    Converged: _converged,
    Diverged: _diverged,
    Noticed: _noticed,
    Cleared: _cleared,
    Retried: _retried,
    FoundOpen: _found_open,
    Foretold: _foretold,
    Forgotten: _forgotten,
    LeaderChanged: _leader_changed,
    TookOver: _took_over,
    Succeeded: _took_over,
}
