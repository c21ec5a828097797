"""Progress of what is in flight, for a log: a line at the start, each 10 % or 30 s, and at the end.

XenAPI's progress may stall or jump, so a phase and a share are shown and never a time left.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from cli.render.rows import plan_counts, progress_text, sign_of
from cli.render.text import Line, line
from cli.render.units import span
from reconciler.status import FlightStatus, Status

STEP = 0.1
EVERY_S = 30.0


class Mark(NamedTuple):
    """What was last said of one call: when, at which share; and how to say its end."""

    object: str
    verb: str
    share: float
    said_s: float
    began_s: float


Marks = Mapping[str, Mark]
NOTHING: Marks = MappingProxyType({})


def progress(marks: Marks, status: Status, mono_s: float) -> tuple[list[Line], Marks]:
    """The lines worth saying now, and what has been said. Calls are told apart by their `txn`."""
    rows: list[Line] = []
    now: dict[str, Mark] = {}
    for flight in status.in_flight:
        before = marks.get(flight.txn)
        mark = _mark(flight, mono_s, before)
        if before is None:
            rows.append(_begun(flight))
        elif _worth(before, mark, mono_s):
            rows.append(_named(mark, progress_text(flight)))
        else:
            mark = before
        now[flight.txn] = mark
    ended = [mark for txn, mark in marks.items() if txn not in now]
    took = [_named(mark, f"ended after {span(mono_s - mark.began_s)}") for mark in ended]
    return rows + took, now


def _mark(flight: FlightStatus, mono_s: float, before: Mark | None) -> Mark:
    began_s = before.began_s if before else mono_s - flight.running_s
    return Mark(flight.object, flight.verb, flight.progress or 0.0, mono_s, began_s)


def _worth(before: Mark, mark: Mark, mono_s: float) -> bool:
    return int(mark.share / STEP) > int(before.share / STEP) or mono_s - before.said_s >= EVERY_S


def _begun(flight: FlightStatus) -> Line:
    about = f"  {flight.message}" if flight.message else ""
    return line(sign_of(flight.verb), f" {flight.object} {flight.verb}{about}")


def _named(mark: Mark, told: str) -> Line:
    return line(sign_of(mark.verb), f" {mark.object} {mark.verb}: {told}")


def waiting_for(status: Status, need: int | None) -> str:
    """In a few words, what still keeps a wait from ending."""
    target = status.revision.target
    if need is not None and (target is None or target < need):
        return (
            f"r{need} is not the target yet (r{target})" if target else f"r{need} is not read yet"
        )
    if status.observation is None:
        return "the pool has not been observed yet"
    flights = f", {len(status.in_flight)} in flight" if status.in_flight else ""
    return plan_counts(status.plan) + flights
