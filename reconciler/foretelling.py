"""Foretelling: what a leader begins is told to all before it begins, and taken in as if it were our own.

A successor is then in the place of a daemon that was killed in the middle of its work. That has
one proven way out: what the leader began is in flight here too, and settles by what the pool shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import msgspec

from membership.clock import Now
from membership.ledger import INTENT, Fact, FactValue, Intent, Ledger, SealedSession, Withdrawn
from reconciler.actions import Action, Answer, CleanShutdown, DisableNode, Verb
from reconciler.journal import LEADER_LOST, RESTARTED, InFlight, JournalState
from reconciler.records import Answered, AnyEntry, Foretold, Forgotten, Intended, Succeeded

RECENT_S = 60.0
"""An answered call that we learn of later than that is history: the pool shows what came of it."""

FORGET_S = 600.0
"""So long the ledger tells of a call after the last word of it: for nodes that were away meanwhile."""

MOST_AT_ONCE = 20

_ACTION: msgspec.json.Decoder[Action] = msgspec.json.Decoder(Action)
_ANSWER: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)


def told(me: str, flight: InFlight) -> tuple[str, FactValue]:
    """The fact, with its key, by which peers learn of a call of ours, and of its answer."""
    answer = msgspec.json.encode(flight.answer).decode() if flight.answer is not None else ""
    intent = Intent(
        txn=flight.txn,
        node=me,
        subject=flight.subject,
        action=msgspec.json.encode(flight.action).decode(),
        answer=answer,
    )
    return f"{INTENT}{flight.subject}", intent


def still_told(flight: InFlight, ledger: Ledger) -> int | None:
    """The term in which the ledger was told of this call of ours, if that is what it still says of the
    object. A leader that was away may learn of an answer when its successor has long gone on."""
    fact = ledger.facts.get(f"{INTENT}{flight.subject}")
    if fact is None or not isinstance(fact.value, Intent) or fact.value.txn != flight.txn:
        return None
    return fact.term


def outlived(ledger: Ledger, journal: JournalState, now: Now) -> Iterator[tuple[str, FactValue]]:
    """Facts of calls that are settled for long, withdrawn by whoever acts: a few at a time. What a call
    left to be given back is told until it is given back, else a successor would not know of it."""
    owed = journal.busy | journal.own_stops.keys() | journal.own_cordons | journal.own_resets
    old = (
        key
        for key, fact in ledger.facts.items()
        if isinstance(fact.value, Intent)
        and fact.value.subject not in owed
        and now.epoch_s - fact.at_epoch_s > FORGET_S
    )
    for key in islice(old, MOST_AT_ONCE):
        yield key, Withdrawn(by="cxm")


def taken_in(facts: Iterable[Fact], journal: JournalState, me: str, now: Now) -> Iterator[AnyEntry]:
    """The entries by which our journal follows what other nodes told of their calls, and what we told of
    ours and do not know any more: our journal was lost, and not all that it owed."""
    facts = tuple(facts)
    others = [fact for fact in facts if _of_another(fact, me)]
    succeeded = journal.succeeded
    last = max(others, key=lambda fact: fact.term, default=None)
    if last is not None and last.term > succeeded:
        assert isinstance(last.value, Intent | SealedSession)
        succeeded = last.term
        yield Succeeded(node=last.value.node, term=succeeded)
    for fact in others:
        if isinstance(fact.value, Intent):
            age_s = now.epoch_s - fact.at_epoch_s
            yield from _taken(fact, fact.value, journal, age_s, succeeded)
    for fact in facts:
        if isinstance(fact.value, Intent) and fact.value.node == me:
            yield from _remembered(fact.value, journal, now.epoch_s - fact.at_epoch_s)
    for fact in facts:
        subject = fact.key.removeprefix(INTENT)
        if subject in journal.taken and isinstance(fact.value, Withdrawn):
            yield from _superseded(subject, journal)
            yield Forgotten(subject=subject)


def _of_another(fact: Fact, me: str) -> bool:
    """Whether another node says by it that it has taken over: its session is open, or used already."""
    return isinstance(fact.value, Intent | SealedSession) and fact.value.node != me


def _taken(
    fact: Fact, intent: Intent, journal: JournalState, age_s: float, succeeded: int
) -> Iterator[AnyEntry]:
    begun = _begun(intent)
    if begun is None:
        return
    action, answer = begun
    flight = journal.in_flight.get(intent.txn)
    if flight is not None:
        if answer is not None and flight.by and not flight.sure and answer != flight.answer:
            yield Answered(txn=intent.txn, answer=answer)
        return
    if journal.taken.get(intent.subject) == intent.txn:
        return
    yield from _superseded(intent.subject, journal)
    yield Foretold(txn=intent.txn, subject=intent.subject)
    if answer is not None and age_s > RECENT_S and not _owes(action):
        return
    yield Intended(
        txn=intent.txn, action=action, subject=intent.subject, by=intent.node, term=fact.term
    )
    if answer is None and fact.term < succeeded:
        answer = LEADER_LOST
    if answer is not None:
        yield Answered(txn=intent.txn, answer=answer)


def _begun(intent: Intent) -> tuple[Action, Answer | None] | None:
    """What was begun, and what came of it; None where that was nothing, or is of a newer cxm: what that
    one does shows in the pool, as a foreign operation."""
    try:
        action = _ACTION.decode(intent.action)
        answer = _ANSWER.decode(intent.answer) if intent.answer else None
    except msgspec.DecodeError:
        return None
    return (action, answer) if action.call is not None else None


def _remembered(intent: Intent, journal: JournalState, age_s: float) -> Iterator[AnyEntry]:
    """A call of our own: it is known, or has lost its caller together with our journal. While our journal
    has a call of ours on the object the ledger tells of that one or, until it was told, of one before."""
    begun = _begun(intent)
    ours = (f for f in journal.in_flight.values() if f.subject == intent.subject and not f.by)
    if begun is None or any(ours) or journal.taken.get(intent.subject) == intent.txn:
        return
    action, answer = begun
    yield Foretold(txn=intent.txn, subject=intent.subject)
    if answer is not None and age_s > RECENT_S and not _owes(action):
        return
    yield Intended(txn=intent.txn, action=action, subject=intent.subject)
    yield Answered(txn=intent.txn, answer=answer if answer is not None else RESTARTED)


def _superseded(subject: str, journal: JournalState) -> Iterator[AnyEntry]:
    """The leader is past an earlier call on this object, whose answer we missed."""
    for txn, flight in journal.in_flight.items():
        if flight.subject == subject and flight.by and flight.answered_s is None:
            yield Answered(txn=txn, answer=LEADER_LOST)


def _owes(action: Action) -> bool:
    """Whether this call leaves something to be given back: a start, an opened node."""
    stops = isinstance(action.call, CleanShutdown) and action.verb is not Verb.STOP
    return stops or isinstance(action.call, DisableNode)
