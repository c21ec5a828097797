"""A status cut down to some objects or one cause, with the verdict of what is left."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from cli import select
from cli.render.status import HELD
from reconciler.actions import Action, Blocked, Cause, Plan
from reconciler.revisions import HeadState
from reconciler.status import Condition, ExceptionStatus, Status, Verdict

HOLD = "hold"
Keeps = Callable[[Action | Blocked], bool]


def of_objects(status: Status, chosen: frozenset[str] | None) -> Status:
    """The rows of `chosen` (names like `vm/web1`) alone; None: of everything."""
    if chosen is None:
        return status
    narrow = _with_rows(status, lambda row: row.object in chosen)
    told = tuple(row for row in status.plan.told if row.object in chosen)
    narrow = replace(
        narrow,
        plan=replace(narrow.plan, told=told),
        nodes=tuple(node for node in status.nodes if f"node/{node.name}" in chosen),
        vms=tuple(vm for vm in status.vms if f"vm/{vm.name}" in chosen),
        in_flight=tuple(flight for flight in status.in_flight if flight.object in chosen),
        exceptions=tuple(row for row in status.exceptions if _bears_on(row, chosen)),
        unmanaged=(),
        **_of_rows_left_out(status),
    )
    if status.verdict is Verdict.HELD and not _waits_for_a_word(narrow, status):
        narrow = replace(narrow, verdict=Verdict.DIFFERS)
    return replace(narrow, verdict=_verdict(narrow))


def _waits_for_a_word(narrow: Status, status: Status) -> bool:
    """Whether a node that is held, or a VM that the pool places there, is among what is left."""
    held = {node.name for node in status.nodes if node.state == HELD}
    left = {node.name for node in narrow.nodes} | {vm.node for vm in narrow.vms}
    return bool(held & left)


def _bears_on(row: ExceptionStatus, chosen: frozenset[str]) -> bool:
    """A hold is named by its id, and is about everything."""
    return row.kind == HOLD or row.object in {*chosen, select.ALL}


def of_cause(status: Status, cause: Cause) -> Status:
    """The rows of one cause alone."""
    narrow = _with_rows(status, lambda row: row.cause is cause)
    return replace(narrow, verdict=_verdict(replace(narrow, vms=(), in_flight=())))


def _with_rows(status: Status, keeps: Keeps) -> Status:
    proposed = None if status.proposed is None else _rows(status.proposed, keeps)
    return replace(status, plan=_rows(status.plan, keeps), proposed=proposed)


def _rows(plan: Plan, keeps: Keeps) -> Plan:
    return Plan(
        actions=tuple(filter(keeps, plan.actions)),
        blocked=tuple(filter(keeps, plan.blocked)),
        next_s=plan.next_s,
    )


def _of_rows_left_out(status: Status) -> dict[str, str]:
    """The reason of the whole may be that of a row which is not shown now."""
    of_row = status.reason in {row.reason for row in status.plan.blocked}
    return {"reason": "", "message": ""} if of_row else {}


def _verdict(narrow: Status) -> Verdict:
    """Only whether something differs depends on what is shown; what is not known stays so."""
    if narrow.verdict not in (Verdict.CONVERGED, Verdict.DIFFERS):
        return narrow.verdict
    stalled = any(vm.condition is Condition.STALLED for vm in narrow.vms)
    calm = narrow.plan.empty and not narrow.in_flight and not stalled
    return Verdict.CONVERGED if calm and not _ahead(narrow) else Verdict.DIFFERS


def _ahead(narrow: Status) -> bool:
    """Whether a newer revision is known that changes these, or of which that cannot be told yet."""
    revision = narrow.revision
    if revision.state == HeadState.GATED:
        return narrow.proposed is None or not narrow.proposed.empty
    return revision.state == HeadState.FETCHING or narrow.planned != revision.target
