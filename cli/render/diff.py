"""`cxm diff`: one line that dates the answer, then every row of the plan."""

from __future__ import annotations

from cli.render.plans import (
    WAITS,
    gated,
    head_named,
    planned_named,
    plans_lines,
    proposed_counts,
)
from cli.render.rows import plan_counts, plan_lines
from cli.render.status import alarm_lines, exception_lines
from cli.render.text import Line, Span, line
from cli.render.units import Moment, clock, from_utc, span
from reconciler.status import Status, Verdict


def diff_lines(status: Status, moment: Moment, *, of: str = "") -> list[Line]:
    """The plan of a status. `of` names another tree (`working copy WC`) than the one in force.

    Where the pool is not known, no row of an earlier plan is shown: it may be untrue by now.
    """
    told = f": {_what(status)} for {of or _subject(status)}; {_seen(status, moment)}"
    rows = [line(Span(status.cluster or "(no cluster yet)", "strong"), told)]
    rows += alarm_lines(status)
    if status.verdict is not Verdict.UNKNOWN:
        rows += plan_lines(status.plan, moment) if of else plans_lines(status, moment, headed=True)
    return rows + exception_lines(status.exceptions)


def _what(status: Status) -> str:
    if status.verdict is Verdict.UNKNOWN:
        return "not known what differs"
    return proposed_counts(status) if gated(status) else plan_counts(status.plan)


def _subject(status: Status) -> str:
    """Whose plan the first rows are."""
    if not gated(status):
        return planned_named(status)
    return f"{head_named(status.revision)}, which {WAITS}"


def _seen(status: Status, moment: Moment) -> str:
    seen = status.observation
    if seen is None:
        return "the pool was never seen"
    when = f"seen {clock(from_utc(seen.at), moment)} by {seen.by}"
    if status.verdict is Verdict.UNKNOWN:
        return f"last {when}, {span(seen.age_s)} ago"
    nodes = len(status.nodes)
    return f"{when}, all {nodes} nodes answered" if nodes > 1 else when
