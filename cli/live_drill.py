"""A live drill, from the request to its end, as a person follows it."""

from __future__ import annotations

import time

from cli import asking, pledging
from cli.client import Control
from cli.envelope import Finding, failure
from cli.options import Invocation
from cli.render.recovery import drill_data, drill_lines
from cli.waiting import Watcher
from membership.proofs import DrillStage, Found
from reconciler.messages import AskLiveDrill
from reconciler.status import DrillStatus, Status, Verdict

WAIT_S = 1100.0
"""A server that does not come back is given up by then."""

_VERDICTS = {
    Found.BOUND: Verdict.CONVERGED,
    Found.CROSSED: Verdict.REFUSED,
    Found.REFUSED: Verdict.REFUSED,
}


def tried(run: Invocation, node: str, reason: str, device: str, *, yes: bool) -> Finding:
    """Ask for it and wait until it is over. Raises Failure."""
    what = "is switched off and on again, while its devices are watched"
    pledging.retyped(run, node, what, yes=yes)
    ask = AskLiveDrill(node=node, reason=reason, device=device, by="")
    reply = pledging.asked(run, "live-drill", ask)
    run.note(f"{reply.message}: {node} is tried with {', '.join(reply.notes)}")
    deadline_s = time.monotonic() + (run.timeout_s or WAIT_S)
    watch = Watcher(run, Control(asking.control(run).path), deadline_s)
    status = watch.until(
        lambda status: _over(_mine(status, reply.message)),
        lambda status: _aim(node, _mine(status, reply.message)),
    )
    drill = _mine(status, reply.message) if status is not None else None
    if status is None or drill is None:
        message = f"the drill of {node} is not over in time; it goes on, and gives the power back"
        raise failure("timeout", "Timeout", message, "cxm status; cxm events")
    for row in status.devices:
        if row.node == node and not row.by_hand and not row.usable:
            run.note(f"node/{node} {row.device} proves nothing yet: {row.message}")
    verdict = _VERDICTS.get(Found(drill.found), Verdict.PARTIAL)
    return Finding(str(verdict), {"drill": drill_data(drill)}, drill_lines(drill), status.cluster)


def _mine(status: Status, id_: str) -> DrillStatus | None:
    """None where nobody has told this node of it yet."""
    return status.drill if status.drill is not None and status.drill.id == id_ else None


def _over(drill: DrillStatus | None) -> bool:
    return drill is not None and drill.stage == DrillStage.OVER


def _aim(node: str, drill: DrillStatus | None) -> str:
    stage = drill.stage if drill is not None else DrillStage.ASKED
    match stage:
        case DrillStage.OFF:
            return f"who falls silent while {node} is off"
        case DrillStage.ON:
            return f"{node}, which gets its power back"
        case _:
            return f"{node}, which is about to be switched off"
