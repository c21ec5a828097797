"""`cxm why`: evidence, rule, choice, and the nodes that were rejected, with their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from cli.render.data import plan_data
from cli.render.rows import UNKNOWN_SIGN, plan_lines, rejection_text
from cli.render.text import Line, Span, line, table
from cli.render.units import Moment, clock, size, span
from reconciler.actions import Plan
from reconciler.observed import STALE_AFTER_S
from reconciler.status import Observation
from reconciler.timeline import Moment as Told
from reconciler.why import Candidate, Past, Why


def why_lines(why: Why, moment: Moment, seen: Observation | None) -> list[Line]:
    """What is known of one object, by what was `seen`; one that is as desired says so."""
    plan = _plan(why)
    rows = [_head(why), _age(seen), *_declared(why), *plan_lines(plan, moment)]
    if plan.empty and not plan.told and not stale(seen):
        rows.append(line("  as desired: nothing to do, nothing refused"))
    rows += _past(why.past) if why.past is not None else []
    rows += _timeline(why.timeline, moment)
    return rows + (_placement(why.placement) if why.placement is not None else [])


def _timeline(moments: Sequence[Told], moment: Moment) -> list[Line]:
    if not moments:
        return []
    cells = [(clock(moment.epoch_s - row.age_s, moment), row.text) for row in moments]
    return [line(Span("What happened", "strong")), *table(cells, indent=2)]


def stale(seen: Observation | None) -> bool:
    """Whether what was seen is too old to decide anything from."""
    return seen is None or seen.age_s > STALE_AFTER_S


def _age(seen: Observation | None) -> Line:
    if seen is None:
        return line("  ", UNKNOWN_SIGN, " the pool was never seen")
    when = f"seen {span(seen.age_s)} ago by {seen.by}"
    missing = f"; not heard: {', '.join(seen.missing)}" if seen.missing else ""
    if stale(seen):
        text = f" last {when}{missing}; what follows may be untrue by now"
        return line("  ", UNKNOWN_SIGN, text)
    return line(f"  {when}{missing}")


def why_data(why: Why) -> dict[str, Any]:
    """The same as plain data."""
    data: dict[str, Any] = msgspec.to_builtins(why)
    return {**data, **plan_data(_plan(why))}


def _plan(why: Why) -> Plan:
    return Plan(actions=why.actions, blocked=why.blocked, told=why.told)


def _head(why: Why) -> Line:
    marks = [why.subject] if why.subject else ["not found in the pool"]
    marks += [f"earlier {', '.join(why.also)}"] if why.also else []
    return line(Span(why.object, "strong"), f"  {'; '.join(marks)}")


def _declared(why: Why) -> list[Line]:
    told = why.declared
    if told is None:
        return []
    by, quoted = told.author or "nobody named", f': "{told.summary}"' if told.summary else ""
    return [line(f"  as declared in r{told.revision} by {by}{quoted}")]


def _past(past: Past) -> list[Line]:
    told = [f"{aspect} has differed for {span(age)}" for aspect, age in past.unmet_age_s.items()]
    told += [f"changed by somebody else {span(age)} ago" for age in past.foreign_age_s]
    if past.failures:
        told.append(f"failed {past.failures} times in a row, last: {past.failing}")
    if past.owes_start:
        told.append(f"stopped by cxm ({past.owes_start}), which owes it a start")
    return [line(Span("Remembered", "strong")), *(line(f"  {row}") for row in told)] if told else []


def _placement(candidate: Candidate) -> list[Line]:
    chosen = f"would go to {candidate.chosen}" if candidate.chosen else "fits nowhere"
    head = line(
        Span("If it had to be placed now", "strong"), f": {chosen}, needs {size(candidate.needs)}"
    )
    cells = [(f"not {row.node}", rejection_text(row)) for row in candidate.rejected]
    return [head, *table(cells, indent=2)]
