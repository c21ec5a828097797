"""The same models as plain data for JSON: times are RFC 3339 in UTC, spans are seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from cli.render.peers import peers_data
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
    return {
        **data,
        "peers": peers_data(status),
        "plan": plan_data(status.plan),
        "proposed": _proposed(status),
    }


def diff_data(status: Status) -> dict[str, Any]:
    """Where revisions stand, the rows of the one in force, and those of a head that waits."""
    return {
        "revision": msgspec.to_builtins(status.revision),
        "planned": status.planned,
        **plan_data(status.plan),
        "summary": _summary(status.plan),
        "proposed": _proposed(status),
    }


def _proposed(status: Status) -> dict[str, Any] | None:
    """What `cxm apply` would do, where a head waits for it."""
    plan = status.proposed
    if plan is None:
        return None
    return {"revision": status.revision.head, **plan_data(plan), "summary": _summary(plan)}


def _summary(plan: Plan) -> dict[str, int]:
    """How many actions of each verb, and how many rows are blocked."""
    counts = dict(sorted(Counter(str(action.verb) for action in plan.actions).items()))
    return {**counts, "blocked": len(plan.blocked)} if plan.blocked else counts


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
