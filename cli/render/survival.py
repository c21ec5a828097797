"""How many losses of nodes are survived, in `cxm status`."""

from __future__ import annotations

from cli.render.rows import FAULT_SIGN
from cli.render.text import Line, line
from cli.render.units import counted
from reconciler.status import Status, Verdict


def survives(status: Status) -> str:
    """`  Survives any 1 node`, at the end of the first line."""
    if status.survives is None or status.verdict is Verdict.UNKNOWN:
        return ""
    losses = status.survives.losses
    return f"  Survives any {counted(losses, 'node')}" if losses else "  Survives no loss of a node"


def unsurvived(status: Status) -> list[Line]:
    """Where not even one loss is survived, or fewer than are wanted: the worst, and why."""
    found = status.survives
    if found is None or not found.lacks or (found.losses and not found.falls_short):
        return []
    worst = found.lacks[0]
    more = f" ({len(found.lacks) - 1} more like it)" if len(found.lacks) > 1 else ""
    would = f" without {', '.join(worst.nodes)} {counted(worst.vms, 'VM')} would stay down{more}"
    ask = f"cxm diff --what-if down={'+'.join(worst.nodes)}"
    return [line("  ", FAULT_SIGN, f"{would}: {worst.object} {worst.reason}  ({ask})")]
