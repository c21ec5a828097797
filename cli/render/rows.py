"""Rows of a plan for people: signs, columns, what waits and what refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from cli.render.text import Cell, Line, Span, Style, line, table
from cli.render.units import Moment, clock, counted, size, span
from reconciler.actions import (
    Action,
    Blocked,
    Cause,
    Disruption,
    Plan,
    Rejection,
    Told,
    Verb,
    Waits,
)
from reconciler.status import FlightStatus

SIGNS: Mapping[Verb, Span] = {
    Verb.START: Span("+", "good"),
    Verb.RESUME: Span("+", "good"),
    Verb.STOP: Span("-", "bad"),
    Verb.SUSPEND: Span("-", "bad"),
    Verb.MIGRATE: Span(">", "live"),
    Verb.RESTART: Span("~", "warn"),
    Verb.CHANGE: Span("~", "warn"),
    Verb.CORDON: Span("~", "warn"),
    Verb.UNCORDON: Span("~", "warn"),
    Verb.RESET: Span("!", "bad"),
    Verb.WRITE_OFF: Span("!", "bad"),
    Verb.FENCE: Span("!", "bad"),
}
"""Colour is never the only carrier: each verb has a sign."""

BLOCKED_SIGN = Span("#", "bad")
FAULT_SIGN = Span("!", "bad")
UNKNOWN_SIGN = Span("?", "warn")

_HEADS: Mapping[Cause, str] = {
    Cause.INTENT: "Intent",
    Cause.DRIFT: "Drift",
    Cause.DRAIN: "Drain",
    Cause.RECOVERY: "Recovery",
}


def plan_lines(plan: Plan, moment: Moment, *, revisions: str = "") -> list[Line]:
    """Actions by cause, then what is blocked, then what is told.

    `revisions` (`r145 -> r146`) stands beside the head of the intent.
    """
    rows: list[Line] = []
    for cause, head in _HEADS.items():
        actions = [a for a in plan.actions if a.cause is cause]
        if actions:
            beside = f" {revisions}" if cause is Cause.INTENT and revisions else ""
            rows += [line(Span(head, "strong"), beside), *action_rows(actions, moment)]
    return [*rows, *blocked_lines(plan.blocked, moment), *told_lines(plan.told)]


def action_rows(actions: Iterable[Action], moment: Moment) -> list[Line]:
    return table([_action_cells(action, moment) for action in actions], indent=2)


def _action_cells(action: Action, moment: Moment) -> Sequence[Cell]:
    what = f"{action.verb}  {action.message}" if action.message else str(action.verb)
    waits = Span(f"waits: {waits_text(action.waits, moment)}", "dim") if action.waits else ""
    sign = SIGNS[action.verb]
    return (_signed(sign, action.object), what, _how(action), waits)


def _signed(sign: Span, obj: str) -> Span:
    """One cell, so that sign and object stay one blank apart whatever the column's gap."""
    return Span(f"{sign.text} {obj}", sign.style)


def _how(action: Action) -> str:
    about = f", about {span(action.estimate_s)}" if action.estimate_s else ""
    match action.disruption:
        case Disruption.NONE:
            return f"no interruption{about}" if about else ""
        case Disruption.LIVE:
            return f"live{about}"
        case Disruption.COLD:
            return f"cold{about} down" if about else "cold"


def waits_text(waits: Waits, moment: Moment) -> str:
    """What an action waits for, and until when where that is known."""
    text = waits.message or waits.on
    if waits.until_s is None:
        return text
    left = waits.until_s - moment.epoch_s
    return f"{text}, {span(left)} left (until {clock(waits.until_s, moment)})"


def blocked_lines(blocked: Sequence[Blocked], moment: Moment) -> list[Line]:
    """One row each, and under it what a person can do about it."""
    if not blocked:
        return []
    rows: list[Line] = [line(Span("Blocked", "strong"))]
    cells = [_blocked_cells(row, moment) for row in blocked]
    for told, row in zip(table(cells, indent=2), blocked, strict=True):
        rows.append(told)
        if row.remedy and row.remedy != _why(row):
            rows.append(line(f"      {row.remedy}"))
    return rows


def _blocked_cells(row: Blocked, moment: Moment) -> Sequence[Cell]:
    sign = _signed(BLOCKED_SIGN, row.object)
    return (sign, row.verb, _refusal(row, moment), Span(f"({_why(row)})", "dim"))


def _refusal(row: Blocked, moment: Moment) -> str:
    parts = [f"{row.reason}: {row.message}" if row.message else row.reason]
    if row.best is not None and row.best.needs is not None and row.best.has is not None:
        unit = _unit(row.best)
        best = f"best is {row.best.node} with {unit(row.best.has)}"
        parts.append(f"needs {unit(row.best.needs)}, {best}")
    if row.until_s is not None:
        parts.append(f"next try in {span(row.until_s - moment.epoch_s)}")
    return "; ".join(parts)


def _why(row: Blocked) -> str:
    return f"cxm why {row.object}"


def _unit(rejection: Rejection) -> Callable[[int], str]:
    """The reason says what is counted: bytes, or things."""
    return size if "Memory" in rejection.reason else str


def rejection_text(rejection: Rejection) -> str:
    """`InsufficientMemory: needs 16GiB, has 11GiB`."""
    unit = _unit(rejection)
    parts = [
        f"{word} {unit(count)}"
        for word, count in (("needs", rejection.needs), ("has", rejection.has))
        if count is not None
    ]
    return f"{rejection.reason}: {', '.join(parts)}" if parts else rejection.reason


def told_lines(told: Sequence[Told]) -> list[Line]:
    if not told:
        return []
    head = line(Span("Told, not touched", "strong"))
    return [
        head,
        *table([(f"  {row.object}", row.message or row.reason) for row in told], indent=2),
    ]


def flight_lines(flights: Sequence[FlightStatus]) -> list[Line]:
    if not flights:
        return []
    rows = table([_flight_cells(flight) for flight in flights], indent=2)
    return [line(Span("In flight", "strong")), *rows]


def _flight_cells(flight: FlightStatus) -> Sequence[Cell]:
    sign = sign_of(flight.verb)
    what = f"{flight.verb}  {flight.message}" if flight.message else flight.verb
    return (
        _signed(sign, flight.object),
        what,
        progress_text(flight),
        f"for {span(flight.running_s)}",
    )


def progress_text(flight: FlightStatus) -> str:
    """The phase, and a share where the pool tells one; no time left: progress stalls and jumps."""
    share = "" if flight.progress is None else f" {flight.progress:.0%}"
    return f"{flight.phase}{share}"


def sign_of(verb: str) -> Span:
    """The sign of a verb; a daemon that is newer may know others."""
    return SIGNS[Verb(verb)] if verb in frozenset(Verb) else UNKNOWN_SIGN


def style_of(condition: str) -> Style:
    styles: Mapping[str, Style] = {
        "Ready": "good",
        "Progressing": "live",
        "Degraded": "warn",
        "Stalled": "bad",
        "Unknown": "warn",
    }
    return styles.get(condition, "")


def plan_counts(plan: Plan) -> str:
    """`2 actions, 1 blocked`, or what stands for nothing."""
    parts = [counted(len(plan.actions), "action")] if plan.actions else []
    parts += [f"{len(plan.blocked)} blocked"] if plan.blocked else []
    return ", ".join(parts) or "nothing to do"
