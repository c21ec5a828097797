"""One line for each record of the journal that people care about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from cli.render.rows import BLOCKED_SIGN, FAULT_SIGN, SIGNS, UNKNOWN_SIGN
from cli.render.text import Line, Span, line
from cli.render.units import Moment, clock, span
from reconciler import records as r
from reconciler.actions import Done, Retry, Stalled, Verb


class Told(NamedTuple):
    """What one record says: a sign, the object it is about ("" for the cluster) and the words."""

    sign: Span
    object: str
    text: str


_NO_SIGN, _GOOD = Span(" "), Span("*", "good")


def event_line(record: r.Record, moment: Moment) -> Line:
    """`09:14:02 +01:00   812 > vm/web1 migrate ...`; `at_s` of the record is wall time."""
    told = told_of(record.entry)
    at = Span(f"{clock(record.at_s, moment)} {record.seq:>6} ", "dim")
    name = (Span(told.object, "strong"), " ") if told.object else ()
    return line(at, told.sign, " ", *name, told.text)


def told_of(entry: r.AnyEntry) -> Told:
    return _TELLERS[type(entry)](entry)


def object_of(entry: r.AnyEntry) -> str:
    """The object a record is about, or "" where it is about the cluster or one call."""
    return told_of(entry).object


def minor(entry: r.AnyEntry) -> bool:
    """True for what only a close look needs: what was remembered, and returns of calls."""
    return isinstance(entry, r.Sighted | r.Answered | r.Foretold)


def _started(entry: r.DaemonStarted) -> Told:
    return Told(_NO_SIGN, "", f"cxmd {entry.version} started on {entry.node}, term {entry.term}")


def _intended(entry: r.Intended) -> Told:
    action = entry.action
    call = type(action.call).__struct_config__.tag if action.call is not None else ""
    words = f"{action.verb} ({action.cause}, {action.reason}): {call}"
    by = f", by {entry.by}" if entry.by else ""
    text = f"{words}  {action.message}{by}" if action.message else words + by
    return Told(SIGNS[action.verb], action.object, text)


def _answered(entry: r.Answered) -> Told:
    answer = entry.answer
    reason = "" if isinstance(answer, Done) else f" {answer.reason}"
    return Told(_NO_SIGN, "", f"call {entry.txn} returned: {type(answer).__name__.lower()}{reason}")


def _settled(entry: r.Settled) -> Told:
    match entry.outcome:
        case Done():
            return Told(_GOOD, entry.object, "done")
        case Retry(reason=reason, message=message):
            text = f"failed, next try in {span(entry.backoff_s)}: {_both(reason, message)}"
            return Told(FAULT_SIGN, entry.object, text)
        case Stalled(reason=reason, message=message):
            text = f"stalled, waits for cxm retry: {_both(reason, message)}"
            return Told(BLOCKED_SIGN, entry.object, text)


def _sighted(entry: r.Sighted) -> Told:
    seen = entry.sighting
    where = f" on {seen.node}" if seen.node else ""
    return Told(_NO_SIGN, f"vm {entry.vm}", f"seen {seen.power}{where}")


def _foreign(entry: r.ForeignChange) -> Told:
    evidence = f" ({entry.evidence})" if entry.evidence else ""
    return Told(UNKNOWN_SIGN, entry.object, f"{entry.message or entry.what}{evidence}")


def _source_lost(entry: r.SourceLost) -> Told:
    return Told(FAULT_SIGN, "", f"Subversion lost: {_both(entry.reason, entry.message)}")


def _source_back(entry: r.SourceBack) -> Told:
    del entry
    return Told(_GOOD, "", "Subversion answers again")


def _head(entry: r.HeadSeen) -> Told:
    return Told(_NO_SIGN, "", f"r{entry.revision} ({_who(entry.author)}) seen: {entry.summary}")


def _rejected(entry: r.Rejected) -> Told:
    why = _both(entry.reason, entry.message)
    return Told(FAULT_SIGN, "", f"r{entry.revision} ({_who(entry.author)}) rejected: {why}")


def _targeted(entry: r.Targeted) -> Told:
    text = f"r{entry.revision} ({_who(entry.author)}) is the target: {entry.summary}"
    return Told(_NO_SIGN, "", text)


def _converged(entry: r.Converged) -> Told:
    return Told(_GOOD, "", f"converged at r{entry.revision}")


def _diverged(entry: r.Diverged) -> Told:
    return Told(_NO_SIGN, "", f"differs from r{entry.revision}")


def _noticed(entry: r.Noticed) -> Told:
    return Told(BLOCKED_SIGN, entry.object, _both(entry.reason, entry.message))


def _cleared(entry: r.Cleared) -> Told:
    return Told(_GOOD, entry.object, f"{entry.reason} is over")


def _retried(entry: r.Retried) -> Told:
    return Told(_NO_SIGN, entry.object, f"try again now, asked by {entry.by}")


def _excepted(entry: r.Excepted) -> Told:
    return Told(_NO_SIGN, entry.object, entry.message)


def _found_open(entry: r.FoundOpen) -> Told:
    return Told(UNKNOWN_SIGN, f"host {entry.node}", "found open again, not by cxm")


def _foretold(entry: r.Foretold) -> Told:
    return Told(_NO_SIGN, "", f"the leader's call {entry.txn} is taken note of")


def _forgotten(entry: r.Forgotten) -> Told:
    return Told(_NO_SIGN, "", f"calls on {entry.subject} are settled for long")


def _leader_changed(entry: r.LeaderChanged) -> Told:
    if entry.leader is None:
        why = f": {entry.reason}" if entry.reason else ""
        return Told(UNKNOWN_SIGN, "", f"nobody leads{why}")
    return Told(_NO_SIGN, "", f"{entry.leader} leads in term {entry.term}")


def _took_over(entry: r.TookOver) -> Told:
    return Told(_GOOD, "", f"this node acts, in term {entry.term}")


def _succeeded(entry: r.Succeeded) -> Told:
    return Told(_NO_SIGN, "", f"{entry.node} acts, in term {entry.term}")


_STAGES = {
    "ordered": (_NO_SIGN, "to be powered off"),
    "begun": (SIGNS[Verb.FENCE], "is powered off"),
    "failed": (FAULT_SIGN, "is held, nothing proves that it is off"),
    "proven": (_GOOD, "is dead, certificate"),
    "void": (FAULT_SIGN, "has a certificate that is void"),
}


def _fenced(entry: r.Fenced) -> Told:
    sign, words = _STAGES.get(entry.stage, (UNKNOWN_SIGN, entry.stage))
    joint = " " if entry.stage in ("proven", "void") else ": "
    return Told(sign, f"node/{entry.node}", f"{words}{joint}{entry.message}")


_DRILLS = {
    "asked": (_NO_SIGN, "is to be tried live"),
    "begun": (SIGNS[Verb.FENCE], "is switched off for a drill"),
    "bound": (_GOOD, "gets its power back, the drill passed"),
    "lies": (FAULT_SIGN, "gets its power back, the drill failed"),
    "crossed": (FAULT_SIGN, "gets its power back, the drill failed"),
    "failed": (FAULT_SIGN, "gets its power back, the drill showed nothing"),
    "interrupted": (FAULT_SIGN, "gets its power back, the drill showed nothing"),
    "refused": (FAULT_SIGN, "is not switched off for a drill"),
    "over": (_NO_SIGN, "is done with its drill"),
}


def _drilled(entry: r.Drilled) -> Told:
    sign, words = _DRILLS.get(entry.stage, (UNKNOWN_SIGN, entry.stage))
    return Told(sign, f"node/{entry.node}", f"{words}: {entry.message}")


_PROMOTIONS = {
    "begun": (SIGNS[Verb.FENCE], "is made the pool's master"),
    "master": (_GOOD, "is the pool's master"),
    "over": (_GOOD, "is the master of all that are left"),
    "called-off": (_NO_SIGN, "is not made the pool's master after all"),
}


def _promoted(entry: r.Promoted) -> Told:
    sign, words = _PROMOTIONS.get(entry.stage, (UNKNOWN_SIGN, entry.stage))
    return Told(sign, f"node/{entry.node}", f"{words}: {entry.message}" if entry.message else words)


def _recovered(entry: r.Recovered) -> Told:
    text = f"VM {entry.vm} runs again on {entry.node}"
    return Told(_GOOD, f"node/{entry.died_with}", text)


def _paged(entry: r.Paged) -> Told:
    return Told(FAULT_SIGN, "", f"alarm ({entry.severity}): {entry.title}")


def _page_ended(entry: r.PageEnded) -> Told:
    return Told(_GOOD, "", f"alarm over: {entry.key}")


def _both(reason: str, message: str) -> str:
    return f"{reason}: {message}" if message else reason


def _who(author: str) -> str:
    return author or "nobody named"


_TELLERS: dict[type[r.Entry], Callable[[Any], Told]] = {
    r.DaemonStarted: _started,
    r.Intended: _intended,
    r.Answered: _answered,
    r.Settled: _settled,
    r.Sighted: _sighted,
    r.ForeignChange: _foreign,
    r.SourceLost: _source_lost,
    r.SourceBack: _source_back,
    r.HeadSeen: _head,
    r.Rejected: _rejected,
    r.Targeted: _targeted,
    r.Converged: _converged,
    r.Diverged: _diverged,
    r.Noticed: _noticed,
    r.Cleared: _cleared,
    r.Retried: _retried,
    r.Excepted: _excepted,
    r.FoundOpen: _found_open,
    r.Foretold: _foretold,
    r.Forgotten: _forgotten,
    r.LeaderChanged: _leader_changed,
    r.TookOver: _took_over,
    r.Succeeded: _succeeded,
    r.Fenced: _fenced,
    r.Drilled: _drilled,
    r.Recovered: _recovered,
    r.Promoted: _promoted,
    r.Paged: _paged,
    r.PageEnded: _page_ended,
}
