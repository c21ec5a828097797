"""Saved plans: `cxm diff --out FILE` writes one, `cxm apply FILE` carries out exactly that or nothing."""

from __future__ import annotations

from pathlib import Path

import msgspec

from cli.envelope import failure
from reconciler.actions import Action, Blocked, Call
from reconciler.status import Status
from schema.model import Frozen

FORMAT = "cxm.plan/1.0"


class Row(Frozen, frozen=True, kw_only=True):
    """What makes an action the same one: not when it may run, nor how long it is thought to take."""

    object: str
    verb: str
    cause: str
    reason: str
    message: str
    node: str | None
    call: Call | None


class Refusal(Frozen, frozen=True, kw_only=True):
    object: str
    verb: str
    reason: str


class SavedPlan(Frozen, frozen=True, kw_only=True):
    """`revision` is the one that the plan carries out."""

    format: str
    cluster_id: str | None
    revision: int | None
    actions: tuple[Row, ...]
    blocked: tuple[Refusal, ...]


def plan_of(status: Status) -> SavedPlan:
    """The plan of a status, for the revision it is about."""
    return SavedPlan(
        format=FORMAT,
        cluster_id=status.cluster_id,
        revision=status.revision.target,
        actions=tuple(_row(action) for action in status.plan.actions),
        blocked=tuple(_refusal(row) for row in status.plan.blocked),
    )


def differences(old: SavedPlan, new: SavedPlan) -> list[str]:
    """In words, how two plans differ; empty where they are the same."""
    told: list[str] = []
    if old.cluster_id != new.cluster_id:
        told.append("it was made for another cluster")
    if old.revision != new.revision:
        told.append(f"it was made for r{old.revision}, now it is r{new.revision}")
    told += [f"no longer: {_named(row)}" for row in _left(old, new)]
    return told + [f"new: {_named(row)}" for row in _left(new, old)]


def _left(one: SavedPlan, other: SavedPlan) -> list[Row | Refusal]:
    rows: list[Row | Refusal] = [row for row in one.actions if row not in other.actions]
    return rows + [row for row in one.blocked if row not in other.blocked]


def _named(row: Row | Refusal) -> str:
    end = row.message if isinstance(row, Row) else f"blocked, {row.reason}"
    return f"{row.object} {row.verb} {end}".rstrip()


def _row(action: Action) -> Row:
    return Row(
        object=action.object,
        verb=str(action.verb),
        cause=str(action.cause),
        reason=action.reason,
        message=action.message,
        node=action.node,
        call=action.call,
    )


def _refusal(row: Blocked) -> Refusal:
    return Refusal(object=row.object, verb=str(row.verb), reason=row.reason)


def write(file: Path, status: Status) -> None:
    """Raises Failure (exit 1) where the file cannot be written."""
    plan = plan_of(status)
    try:
        file.write_bytes(msgspec.json.format(msgspec.json.encode(plan), indent=2) + b"\n")
    except OSError as error:
        raise failure("error", "Unwritable", f"{file}: {error.strerror}") from None


def read(file: Path) -> SavedPlan:
    """Raises Failure (exit 1) where the file is no plan of this version."""
    try:
        plan = msgspec.json.decode(file.read_bytes(), type=SavedPlan)
    except OSError as error:
        raise failure("error", "Unreadable", f"{file}: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise failure("error", "NoPlan", f"{file} is no saved plan: {error}") from None
    if plan.format != FORMAT:
        raise failure("error", "NoPlan", f"{file} is {plan.format}, this cxm reads {FORMAT}")
    return plan
