"""Which revision each plan of a status is of: the one in force, and a head that waits for approval."""

from __future__ import annotations

from cli.render.rows import plan_counts, plan_lines
from cli.render.text import Line, Span, line
from cli.render.units import Moment
from reconciler.revisions import HeadState
from reconciler.status import RevisionStatus, Status

WAITS = "waits for cxm apply"


def gated(status: Status) -> bool:
    """Whether the head waits for approval."""
    return status.revision.state == HeadState.GATED


def named(number: int | None, author: str | None = None, summary: str = "") -> str:
    """`r146 (alice, "web1 to 8 GiB")`."""
    if number is None:
        return "no revision"
    told = [*([author] if author else []), *([f'"{summary}"'] if summary else [])]
    return f"r{number}" + (f" ({', '.join(told)})" if told else "")


def head_named(revision: RevisionStatus) -> str:
    return named(revision.head, revision.author, revision.summary)


def planned_named(status: Status) -> str:
    """The revision that the plan is of. Its author is not told once another one is in force."""
    revision = status.revision
    if status.planned is None or status.planned == revision.target:
        return named(revision.target, revision.target_author, revision.target_summary)
    return named(status.planned)


def transition(was: int | None, now: int | None) -> str:
    """`r145 -> r146` where what a plan is of is newer than what was last converged."""
    if now is None or was == now:
        return ""
    return f"r{was} -> r{now}" if was is not None else f"r{now}"


def plans_lines(status: Status, moment: Moment, *, headed: bool = False) -> list[Line]:
    """What `cxm apply` would do, where a head waits for it, and below that what is in force.

    `headed`: a line above names the head already.
    """
    revision = status.revision
    beside = transition(revision.converged, status.planned)
    if not gated(status):
        return plan_lines(status.plan, moment, revisions=beside)
    head = f"{head_named(revision)}, {WAITS}: {proposed_counts(status)}"
    rows = [] if headed else [_head("Proposed by", head)]
    if status.proposed is not None:
        proposed = transition(revision.target, revision.head)
        rows += plan_lines(status.proposed, moment, revisions=proposed)
    if status.plan.empty:
        return rows
    in_force = _head("In force meanwhile:", planned_named(status))
    return [*rows, in_force, *plan_lines(status.plan, moment, revisions=beside)]


def proposed_counts(status: Status) -> str:
    """How much a head that waits would do; it is planned within a second of being read."""
    return "not planned yet" if status.proposed is None else plan_counts(status.proposed)


def _head(word: str, rest: str) -> Line:
    return line(Span(word, "strong"), f" {rest}")
