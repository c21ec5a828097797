"""`cxm diff`: one line that dates the answer, then every row of the plan."""

from __future__ import annotations

from cli.render.rows import plan_counts, plan_lines
from cli.render.status import alarm_lines, exception_lines, planned, transition
from cli.render.text import Line, Span, line
from cli.render.units import Moment, clock, from_utc, span
from reconciler.status import Status, Verdict


def diff_lines(status: Status, moment: Moment, *, of: str = "") -> list[Line]:
    """The plan of a status. `of` names another tree (`working copy WC`) than the target.

    Where the pool is not known, no row of an earlier plan is shown: it may be untrue by now.
    """
    rows = [_dated(status, moment, of), *alarm_lines(status)]
    if status.verdict is not Verdict.UNKNOWN:
        rows += plan_lines(status.plan, moment, revisions="" if of else transition(status.revision))
    return rows + exception_lines(status.exceptions)


def _dated(status: Status, moment: Moment, of: str) -> Line:
    unknown = status.verdict is Verdict.UNKNOWN
    what = "not known what differs" if unknown else plan_counts(status.plan)
    told = f": {what} for {of or _revision(status)}; {_seen(status, moment)}"
    return line(Span(status.cluster or "(no cluster yet)", "strong"), told)


def _revision(status: Status) -> str:
    revision, number = status.revision, planned(status.revision)
    if number is None:
        return "no revision"
    gated = revision.state == "gated"
    author = revision.author if gated else revision.target_author
    summary = revision.summary if gated else revision.target_summary
    told = [*([author] if author else []), *([f'"{summary}"'] if summary else [])]
    return f"r{number}" + (f" ({', '.join(told)})" if told else "")


def _seen(status: Status, moment: Moment) -> str:
    seen = status.observation
    if seen is None:
        return "the pool was never seen"
    when = f"seen {clock(from_utc(seen.at), moment)} by {seen.by}"
    if status.verdict is Verdict.UNKNOWN:
        return f"last {when}, {span(seen.age_s)} ago"
    nodes = len(status.nodes)
    return f"{when}, all {nodes} nodes answered" if nodes > 1 else when
