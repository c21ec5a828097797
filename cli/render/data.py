"""The same models as plain data for JSON: times are RFC 3339 in UTC, spans are seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from cli.render.units import utc
from reconciler.actions import Action, Plan
from reconciler.records import Record
from reconciler.status import Status

_IN_ENVELOPE = ("cluster", "verdict", "observation")


def status_data(status: Status) -> dict[str, Any]:
    """Everything of a status that the envelope does not say already."""
    data: dict[str, Any] = msgspec.to_builtins(status)
    for key in _IN_ENVELOPE:
        del data[key]
    return {**data, "plan": plan_data(status.plan)}


def diff_data(status: Status) -> dict[str, Any]:
    """The revision it is about, the rows of the plan, and a count per verb."""
    summary = dict(sorted(Counter(str(a.verb) for a in status.plan.actions).items()))
    if status.plan.blocked:
        summary["blocked"] = len(status.plan.blocked)
    return {
        "revision": msgspec.to_builtins(status.revision),
        **plan_data(status.plan),
        "summary": summary,
    }


def plan_data(plan: Plan) -> dict[str, Any]:
    """The rows of a plan; a moment at which something ends is called `until`."""
    return {
        "actions": [_action(row) for row in plan.actions],
        "blocked": [_dated(msgspec.to_builtins(row)) for row in plan.blocked],
        "told": [msgspec.to_builtins(row) for row in plan.told],
    }


def _action(row: Action) -> dict[str, Any]:
    data: dict[str, Any] = msgspec.to_builtins(row)
    if data["waits"] is not None:
        data["waits"] = _dated(data["waits"])
    return data


def _dated(data: Mapping[str, Any]) -> dict[str, Any]:
    rest = dict(data)
    until_s = rest.pop("until_s")
    return {**rest, "until": None if until_s is None else utc(until_s)}


def record_data(record: Record) -> dict[str, Any]:
    """One event: `seq`, `at`, and the entry as the daemon journals it. `at_s` is wall time here."""
    entry = msgspec.to_builtins(record.entry)
    return {"seq": record.seq, "at": utc(record.at_s), "entry": entry}
