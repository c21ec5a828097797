"""Saved plans: `cxm diff --out FILE` writes one, `cxm apply FILE` carries out exactly that or nothing.

The file holds the rows as the daemon made them, and the daemon itself compares: it is asked to apply
a revision only while its plan has the digest of the rows that were read.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from cli.envelope import failure
from cli.render.plans import gated
from reconciler.actions import Action, Blocked, Plan
from reconciler.sameness import plan_digest
from reconciler.status import Status, Verdict
from schema.model import Frozen

FORMAT = "cxm.plan/1.0"


class SavedPlan(Frozen, frozen=True, kw_only=True):
    """`revision` is the one that the plan carries out: a head that waits, else the one in force."""

    format: str
    cluster_id: str | None
    revision: int
    plan: Plan

    @property
    def digest(self) -> str:
        """What makes a plan the same one: not when its rows may run, nor how long they take."""
        return plan_digest(self.plan)


def plan_of(status: Status) -> SavedPlan:
    """What `cxm apply` would carry out. Raises Failure (6) where that is not known now."""
    waits = gated(status)
    revision = status.revision.head if waits else status.planned
    plan = status.proposed if waits else status.plan
    if status.verdict is Verdict.UNKNOWN or revision is None or plan is None:
        hint = "cxm status tells why; right after a commit, ask again in a second"
        raise failure("unknown", "NoPlan", "there is no plan that could be saved now", hint)
    kept = Plan(actions=plan.actions, blocked=plan.blocked)
    return SavedPlan(format=FORMAT, cluster_id=status.cluster_id, revision=revision, plan=kept)


def differences(old: SavedPlan, new: SavedPlan) -> list[str]:
    """In words, how two plans differ; empty where they are the same."""
    told: list[str] = []
    if old.cluster_id != new.cluster_id:
        told.append("it was made for another cluster")
    if old.revision != new.revision:
        told.append(f"it was made for r{old.revision}, now it is r{new.revision}")
    if old.digest != new.digest:
        told += [f"no longer: {_named(row)}" for row in _left(old.plan, new.plan)]
        told += [f"new: {_named(row)}" for row in _left(new.plan, old.plan)]
        told = told or ["its rows come in another order"]
    return told


def _left(one: Plan, other: Plan) -> list[Action | Blocked]:
    """Rows of `one` that, taken alone, are not in `other`."""
    actions = {plan_digest(Plan(actions=(row,))) for row in other.actions}
    refusals = {plan_digest(Plan(blocked=(row,))) for row in other.blocked}
    left = [row for row in one.actions if plan_digest(Plan(actions=(row,))) not in actions]
    return left + [row for row in one.blocked if plan_digest(Plan(blocked=(row,))) not in refusals]


def _named(row: Action | Blocked) -> str:
    end = row.message if isinstance(row, Action) else f"blocked, {row.reason}"
    return f"{row.object} {row.verb} {end}".rstrip()


def write(file: Path, status: Status) -> None:
    """Raises Failure: 6 where there is no plan, 1 where the file cannot be written."""
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
        raise failure("error", "NotAPlan", f"{file} is no saved plan: {error}") from None
    if plan.format != FORMAT:
        raise failure("error", "NotAPlan", f"{file} is {plan.format}, this cxm reads {FORMAT}")
    return plan
