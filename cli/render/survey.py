"""`cxm survey` and `cxm import`, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cli.render.rows import BLOCKED_SIGN, FAULT_SIGN, UNKNOWN_SIGN, rejection_text
from cli.render.text import Cell, Line, Span, line, table
from cli.render.units import counted, size
from cli.surveying import Survey, SurveyedNode
from reconciler.actions import Blocked
from reconciler.whatif import VmLoss


def survey_lines(survey: Survey) -> list[Line]:
    """The pool, its nodes, and what would surprise an operator."""
    head = (
        f": {counted(len(survey.nodes), 'node')}, {counted(survey.vms, 'VM')}"
        f" ({survey.running} running), pool master {survey.master}"
    )
    rows = [line(Span(survey.pool or survey.pool_uuid, "strong"), head)]
    rows += _pool_alarms(survey)
    rows += table([_node_cells(node) for node in survey.nodes], indent=2)
    rows += _stays(survey.nodes)
    rows += _lost(survey.nodes)
    rows += _doubles(survey)
    rows += left_out_lines(survey.left_out)
    return rows + renamed_lines(survey.renamed)


def _pool_alarms(survey: Survey) -> list[Line]:
    told = {
        "the pool's own HA is on: cxm stands aside until it is off": survey.ha_enabled,
        "a rolling upgrade is going on: cxm stands aside until it ends": survey.rolling_upgrade,
    }
    rows = [line("  ", FAULT_SIGN, f" {text}") for text, true in told.items() if true]
    if survey.missing:
        rows.append(line("  ", UNKNOWN_SIGN, f" not seen: {', '.join(survey.missing)}"))
    return rows


def _node_cells(node: SurveyedNode) -> Sequence[Cell]:
    marks = [*(["disabled"] if not node.enabled else []), *(["not live"] if not node.live else [])]
    memory = f"{size(node.memory_free)} of {size(node.memory_total)} free"
    drain = f"{len(node.stays)} cannot be drained" if node.stays else "can be drained"
    drain += f", {len(node.lost)} lost if it dies" if node.lost else ""
    running = counted(node.vms_running, "VM")
    return (node.name, node.address, running, memory, ", ".join([*marks, drain]))


def _stays(nodes: Sequence[SurveyedNode]) -> list[Line]:
    cells = [_stay_cells(node.name, row) for node in nodes for row in node.stays]
    if not cells:
        return []
    head = line(
        Span("Cannot be drained", "strong"), " (the names are those that import would give)"
    )
    return [head, *table(cells, indent=2)]


def _stay_cells(node: str, row: Blocked) -> Sequence[Cell]:
    why = rejection_text(row.best) if row.best is not None else row.message
    return (f"{BLOCKED_SIGN.text} {row.object}", f"on {node}", row.reason, why)


def _lost(nodes: Sequence[SurveyedNode]) -> list[Line]:
    """What would not come back if its node died."""
    cells = [_lost_cells(row) for node in nodes for row in node.lost]
    head = Span("Would not run elsewhere if their node died", "strong")
    return [line(head), *table(cells, indent=2)] if cells else []


def _lost_cells(row: VmLoss) -> Sequence[Cell]:
    why = rejection_text(row.best) if row.best is not None else row.message
    return (f"{BLOCKED_SIGN.text} {row.object}", f"on {row.on}", row.reason, why)


def _doubles(survey: Survey) -> list[Line]:
    if not survey.double:
        return []
    cells = [(f'"{name}"', ", ".join(uuids)) for name, uuids in survey.double.items()]
    return [line(Span("Names that several VMs have", "strong")), *table(cells, indent=2)]


def left_out_lines(left_out: Mapping[str, int]) -> list[Line]:
    if not left_out:
        return []
    words = [counted(n, kind, "copies" if kind == "copy" else "") for kind, n in left_out.items()]
    return [line(Span("Left out by import", "strong"), f": {', '.join(words)}")]


def renamed_lines(renamed: Sequence[tuple[str, str]]) -> list[Line]:
    """The pool's names stay as they are; only the files cannot have them."""
    if not renamed:
        return []
    head = line(Span("Names in the tree", "strong"), " (the VMs keep theirs)")
    return [head, *table([(f'"{was}"', f"-> vm/{now}") for was, now in renamed], indent=2)]


def import_lines(
    folder: str,
    nodes: int,
    vms: int,
    left_out: Mapping[str, int],
    renamed: Sequence[tuple[str, str]],
) -> list[Line]:
    told = (
        f"{folder}: {counted(nodes, 'node')} and {counted(vms, 'VM')} written, all manage: observe"
    )
    rows = [line(told), *left_out_lines(left_out)]
    return rows + renamed_lines(renamed)
