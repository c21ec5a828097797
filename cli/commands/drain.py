"""`cxm drain`."""

from __future__ import annotations

import click

from cli import asking, granting, waiting
from cli.envelope import Finding, failure
from cli.options import SpanOfTime, cxm_command, invocation
from cli.render.progress import waiting_for
from cli.render.rows import blocked_lines
from cli.render.status import node_lines
from cli.render.units import counted
from cli.waiting import Watcher
from reconciler.actions import Blocked, Cause
from reconciler.messages import AskDrain
from reconciler.status import NodeStatus, Status, Verdict


@cxm_command("drain")
@click.argument("node")
@click.option("--for", "for_s", type=SpanOfTime(), help="When to be reminded, such as 4h.")
@click.option("--reason", required=True, help="Why; shown wherever the drain is.")
@click.option("--wait", is_flag=True, help="Wait until nothing runs there any more.")
def command(node: str, for_s: float | None, reason: str, wait: bool) -> Finding:
    """Move everything off a node.

    It stays drained until cxm undrain: --for only reminds. What cannot be moved is told at once.
    """
    run = invocation()
    name = granting.node_named(run, node)
    ask = AskDrain(node=name, for_s=for_s, reason=reason, by="")
    reply = asking.need_daemon(run, lambda control: control.post("drain", ask))
    watch = waiting.watcher(run)
    status = watch.until(lambda status: _known(status, name))
    if status is None:
        raise failure("timeout", "Timeout", f"{name} does not show as draining in time")
    for row in blocked_lines(_blockers(status, name), asking.moment(run)):
        run.note(*row)
    if not wait:
        return granting.granted(reply, f"draining: node/{name}", objects=(f"node/{name}",))
    return _emptied(watch, name)


def _known(status: Status, name: str) -> bool:
    return any(node.name == name and node.draining for node in status.nodes)


def _blockers(status: Status, name: str) -> tuple[Blocked, ...]:
    """What keeps this node from being emptied, though another one may be drained too."""
    there = {f"vm/{vm.name}" for vm in status.vms if vm.node == name} | {f"node/{name}"}
    rows = status.plan.blocked
    return tuple(row for row in rows if row.cause is Cause.DRAIN and row.object in there)


def _emptied(watch: Watcher, name: str) -> Finding:
    """Ends when the node runs nothing, or when all that still runs there is blocked (exit 5)."""

    def over(status: Status) -> bool:
        if not waiting.reached(status, None):
            return False
        moving = any(row.cause is Cause.DRAIN for row in status.plan.actions) or status.in_flight
        return _node(status, name).vms_running == 0 or not moving

    def aim(status: Status) -> str:
        left = waiting_for(status, None)
        if not waiting.reached(status, None):
            return left
        return f"{counted(_node(status, name).vms_running, 'VM')} on node/{name}; {left}"

    status = watch.until(over, aim)
    if status is None:
        hint = "the drain goes on; cxm status shows it"
        raise failure("timeout", "Timeout", f"{name} is not empty in time", hint)
    node = _node(status, name)
    verdict = Verdict.CONVERGED if node.vms_running == 0 else Verdict.PARTIAL
    data = {"node": name, "vms_running": node.vms_running}
    rows = node_lines((node,))
    if node.vms_running:
        rows += blocked_lines(_blockers(status, name), asking.moment(watch.run))
    return Finding(str(verdict), data, rows, status.cluster, status.observation)


def _node(status: Status, name: str) -> NodeStatus:
    return next(node for node in status.nodes if node.name == name)
