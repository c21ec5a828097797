"""Which records of a journal still matter: what a new file of the journal begins with.

Kept are the newest records, for people, and of the older ones those that the fold of the journal
still depends on. The result is checked by folding it: where that does not give the same state, all
is kept, since a journal that grows is a smaller evil than one that forgets a call in flight.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reconciler.journal import JournalState, replay
from reconciler.records import (
    Answered,
    Converged,
    DaemonStarted,
    Diverged,
    Foretold,
    Intended,
    LeaderChanged,
    Noticed,
    Record,
    Rejected,
    Retried,
    Settled,
    Sighted,
    SourceLost,
    Succeeded,
    Targeted,
    TookOver,
)

RECENT = 2000
"""Newest records that are kept whatever they say, for `cxm events`."""


def compacted(records: Sequence[Record], recent: int = RECENT) -> Sequence[Record]:
    """The records that matter, in their order. All of them where less would not give their state."""
    state = replay(records)
    tail_from = max(0, len(records) - recent)
    needed = {record.seq for record in _needed(records[:tail_from], state)}
    kept = [record for record in records[:tail_from] if record.seq in needed]
    kept += records[tail_from:]
    return kept if replay(kept) == state else records


def _needed(records: Sequence[Record], state: JournalState) -> Iterator[Record]:
    """Of the older records: the last of each slot, and the whole history of what is owed."""
    last: dict[tuple[str, ...], Record] = {}
    for record in records:
        slot = _slot(record, state)
        if slot is not None:
            last[slot] = record
    yield from last.values()
    yield from _debts(records, state)


def _slot(record: Record, state: JournalState) -> tuple[str, ...] | None:
    """Of all records in one slot only the last can matter to the state. None: it cannot."""
    match record.entry:
        case Intended(txn=txn) if txn in state.in_flight:
            return ("intended", txn)
        case Answered(txn=txn) if txn in state.in_flight:
            return ("answered", txn)
        case Settled(subject=subject) if subject in state.backoff:
            return ("settled", subject)
        case Sighted(vm=vm) if vm in state.sightings:
            return ("sighted", vm)
        case Retried(subject=subject):
            return ("retried", subject)
        case Noticed(object=name, reason=reason) if (name, reason) in state.noticed:
            return ("noticed", name, reason)
        case Foretold(subject=subject) if subject in state.taken:
            return ("foretold", subject)
        case SourceLost() if state.source_lost is not None:
            return ("source",)
        case Rejected() if state.rejected is not None:
            return ("rejected",)
        case DaemonStarted() | Targeted() | Converged() | Diverged():
            return (type(record.entry).__name__,)
        case LeaderChanged() | TookOver() | Succeeded():
            return (type(record.entry).__name__,)
    return None


def _debts(records: Sequence[Record], state: JournalState) -> Iterator[Record]:
    """Calls on what we stopped, cordoned or reset and have yet to give back, from the first one on."""
    owed = state.own_stops.keys() | state.own_cordons | state.own_resets
    calls: set[str] = set()
    for record in records:
        match record.entry:
            case Intended(txn=txn, subject=subject) if subject in owed:
                calls.add(txn)
                yield record
            case Answered(txn=txn) | Settled(txn=txn) if txn in calls:
                yield record
