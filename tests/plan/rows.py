"""A plan as lines of text: what a case expects, and what a failure shows."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from reconciler.actions import (
    Action,
    Blocked,
    Call,
    Plan,
    SetMemory,
    SetVcpusAtStartup,
    SetVcpusMax,
    Verb,
)
from schema.forms import duration_text, size_text

OBVIOUS = {
    Verb.START: "start_on",
    Verb.STOP: "clean_shutdown",
    Verb.SUSPEND: "suspend",
    Verb.RESUME: "resume_on",
    Verb.MIGRATE: "pool_migrate",
    Verb.CORDON: "disable_node",
    Verb.UNCORDON: "enable_node",
}
"""The call that people expect behind a verb; any other is shown."""

IN_BYTES = frozenset({"InsufficientMemory"})


def rows(plan: Plan, now_s: float) -> list[str]:
    """One line for each action, then for each refusal, then for all that is only told."""
    lines = [_action(action, now_s) for action in plan.actions]
    lines += [" ".join(_blocked(row, now_s)) for row in plan.blocked]
    return lines + [f"told {row.object} {row.reason}" for row in plan.told]


def _action(action: Action, now_s: float) -> str:
    waits = action.waits
    if waits is not None:
        left = "" if waits.until_s is None else f" for {duration_text(waits.until_s - now_s)}"
        return f"waits {action.object} {action.verb} on {waits.on}{left}"
    line = f"{action.verb} {action.object}"
    if action.node is not None and action.object != f"node/{action.node}":
        line += f" {'to' if action.verb is Verb.MIGRATE else 'on'} {action.node}"
    line += f" [{action.cause}: {action.reason}]"
    call = action.call
    return (
        line
        if call is None or _tag(call) == OBVIOUS.get(action.verb)
        else f"{line} by {_call(call)}"
    )


def _tag(call: Call) -> str:
    tag = msgspec.inspect.type_info(type(call))
    assert isinstance(tag, msgspec.inspect.StructType)
    return str(tag.tag)


def _call(call: Call) -> str:
    match call:
        case SetMemory(size=size):
            return f"{_tag(call)} {size_text(size)}"
        case SetVcpusMax(count=count) | SetVcpusAtStartup(count=count):
            return f"{_tag(call)} {count}"
    return _tag(call)


def _blocked(row: Blocked, now_s: float) -> Iterator[str]:
    yield f"blocked {row.object} {row.verb} {row.reason}"
    if row.needs is not None:
        yield f"needs {_amount(row.reason, row.needs)}"
    if row.best is not None:
        yield f"best {row.best.node}"
        if row.best.has is not None:
            yield _amount(row.best.reason, row.best.has)
    if row.until_s is not None:
        yield f"for {duration_text(row.until_s - now_s)}"


def _amount(reason: str, number: int) -> str:
    return size_text(number) if reason in IN_BYTES else str(number)
