"""Progress of what is in flight, for a log: a line at the start, each 10 % or 30 s, and at the end.

XenAPI's progress may stall or jump, so a phase and a share are shown and never a time left.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from cli.render.plans import WAITS, gated
from cli.render.rows import plan_counts, progress_text, sign_of
from cli.render.text import Line, line
from cli.render.units import span
from reconciler.revisions import HeadState
from reconciler.status import FlightStatus, Status

STEP = 0.1
EVERY_S = 30.0


class Mark(NamedTuple):
    """What was last said of one row: which call, when, at which share; and how to say its end."""

    txn: str
    share: float
    said_s: float
    began_s: float


Row = tuple[str, str]
"""Object and verb: a restart is one row for people, though several calls carry it out in turn."""
Marks = Mapping[Row, Mark]
NOTHING: Marks = MappingProxyType({})


def progress(marks: Marks, status: Status, mono_s: float) -> tuple[list[Line], Marks]:
    """The lines worth saying now, and what has been said.

    A row has ended when no call of it is in flight and the plan does not list it any more.
    """
    rows: list[Line] = []
    open_rows = {(action.object, str(action.verb)) for action in status.plan.actions}
    now: dict[Row, Mark] = {row: mark for row, mark in marks.items() if row in open_rows}
    for flight in status.in_flight:
        row = (flight.object, flight.verb)
        before = marks.get(row)
        mark = _mark(flight, mono_s, before)
        if before is None or before.txn != flight.txn:
            rows.append(_begun(flight))
        elif _worth(before, mark, mono_s):
            rows.append(_told(row, progress_text(flight)))
        else:
            mark = before
        now[row] = mark
    for row, why in _failing(status).items():
        began = now.get(row)
        if began is not None and began.txn:
            rows.append(_told(row, f"failed after {span(mono_s - began.began_s)}: {why}"))
            now[row] = began._replace(txn="")
    refused = {(item.object, str(item.verb)): item.message for item in status.plan.blocked}
    for row, mark in marks.items():
        if row not in now:
            how = f"given up: {refused[row]}" if row in refused else "ended"
            rows.append(_told(row, f"{how} after {span(mono_s - mark.began_s)}"))
    return rows, now


def _failing(status: Status) -> dict[Row, str]:
    """Rows whose last call came to nothing, and that are tried again later."""
    return {
        (action.object, str(action.verb)): action.waits.message
        for action in status.plan.actions
        if action.waits is not None and action.waits.on == "back-off"
    }


def _mark(flight: FlightStatus, mono_s: float, before: Mark | None) -> Mark:
    began_s = before.began_s if before else mono_s - flight.running_s
    return Mark(flight.txn, flight.progress or 0.0, mono_s, began_s)


def _worth(before: Mark, mark: Mark, mono_s: float) -> bool:
    return int(mark.share / STEP) > int(before.share / STEP) or mono_s - before.said_s >= EVERY_S


def _begun(flight: FlightStatus) -> Line:
    about = f"  {flight.message}" if flight.message else ""
    return line(sign_of(flight.verb), f" {flight.object} {flight.verb}{about}")


def _told(row: Row, words: str) -> Line:
    obj, verb = row
    return line(sign_of(verb), f" {obj} {verb}: {words}")


def waiting_for(status: Status, need: int | None) -> str:
    """In a few words, what still keeps a wait for revision `need` from ending."""
    revision, seen = status.revision, status.observation
    if need is not None and (revision.target is None or revision.target < need):
        return _not_in_force(status, need)
    if seen is None or not seen.complete:
        return (
            "the pool is not seen" if seen is None else f"the pool was seen {span(seen.age_s)} ago"
        )
    if status.planned != revision.target:
        return f"r{revision.target} is being planned"
    flights = f", {len(status.in_flight)} in flight" if status.in_flight else ""
    return f"{plan_counts(status.plan)}{flights}"


def _not_in_force(status: Status, need: int) -> str:
    if gated(status):
        return f"r{status.revision.head} {WAITS}"
    if status.revision.state == HeadState.FETCHING:
        return f"r{status.revision.head} is being read"
    return f"r{need} has not been seen yet"
