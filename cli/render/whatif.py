"""`cxm diff --what-if`, for people: what is proven of the nodes, then what becomes of each VM."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cli.render.rows import BLOCKED_SIGN, FAULT_SIGN, UNKNOWN_SIGN
from cli.render.text import Cell, Line, Span, line, table
from cli.render.units import counted, size, span
from reconciler.striking import Fate, NodeLoss
from reconciler.whatif import Outcome, Promotion, VmLoss, WhatIf

_Cells = Callable[[VmLoss], Sequence[Cell]]


def whatif_lines(found: WhatIf) -> list[Line]:
    rows = [_head(found)]
    rows += table([_node_cells(loss) for loss in found.nodes], indent=2)
    rows += [_promoted(found.promotion)] if found.promotion is not None else []
    rows += _group(found, Outcome.RETURNS, "Come back", _returning)
    rows += _group(found, Outcome.DOWN, "Stay down", _down)
    return rows + _group(found, Outcome.SPARED, "Not to be brought back", _spared)


def _head(found: WhatIf) -> Line:
    back = sum(row.outcome is Outcome.RETURNS for row in found.vms)
    down = sum(row.outcome is Outcome.DOWN for row in found.vms)
    text = f": {back} of {counted(back + down, 'VM')} would come back"
    if found.first_s is not None and found.last_s is not None:
        text += f", the first start after about {span(found.first_s)}"
        text += f", the last after about {span(found.last_s)}"
    return line(Span(f"If {', '.join(found.down)} fell silent now", "strong"), text)


def _node_cells(loss: NodeLoss) -> Sequence[Cell]:
    if loss.fate is Fate.PROVEN:
        sign, word = FAULT_SIGN, "proven dead"
    else:
        sign, word = UNKNOWN_SIGN, "held" if loss.fate is Fate.HELD else "left alone"
    told = f"{loss.reason}: {loss.message}" if loss.reason else loss.message
    tail = [f"({loss.remedy})"] if loss.remedy else _doubts(loss)
    return (Span(f"{sign.text} node/{loss.node}", sign.style), word, told, *tail)


def _doubts(loss: NodeLoss) -> list[Cell]:
    """How old what is known of the devices is, and whether one survives its node's power."""
    if loss.fate is not Fate.PROVEN:
        return []
    ages = [way.age_s for level in loss.levels for way in level if way.device in loss.by]
    oldest = max((age for age in ages if age is not None), default=None)
    told = [f"tried {span(oldest)} ago"] if oldest is not None else []
    if not loss.without_power and loss.by:
        told.append("a loss of power may take it along")
    return [Span(f"({'; '.join(told)})", "dim")] if told else []


def _promoted(promotion: Promotion) -> Line:
    who = promotion.candidate or "a node that is not known yet"
    age = f", by a copy of the database {span(promotion.age_s)} old" if promotion.age_s else ""
    text = f" {promotion.master} is the pool's master: nothing starts before {who} is promoted{age}"
    return line("  ", UNKNOWN_SIGN, text)


def _group(found: WhatIf, outcome: Outcome, head: str, cells: _Cells) -> list[Line]:
    rows = [cells(row) for row in found.vms if row.outcome is outcome]
    return [line(Span(head, "strong")), *table(rows, indent=2)] if rows else []


def _returning(row: VmLoss) -> Sequence[Cell]:
    return (Span(f"+ {row.object}", "good"), f"{row.on} -> {row.to}")


def _spared(row: VmLoss) -> Sequence[Cell]:
    return (f"  {row.object}", f"on {row.on}", f"{row.reason}: {row.message}")


def _down(row: VmLoss) -> Sequence[Cell]:
    told = f"{row.reason}: {row.message}"
    if row.needs is not None:
        told += f"; needs {size(row.needs)}"
    if row.best is not None and row.best.has is not None:
        told += f", best is {row.best.node} with {size(row.best.has)}"
    sign = Span(f"{BLOCKED_SIGN.text} {row.object}", BLOCKED_SIGN.style)
    return (sign, f"on {row.on}", told, Span(f"({row.remedy})", "dim"))
