"""`cxm drain`."""

from __future__ import annotations

import click

from cli import asking, granting, waiting
from cli.envelope import Finding, failure
from cli.options import Invocation, SpanOfTime, cxm_command, invocation
from cli.render.rows import blocked_lines
from cli.render.status import node_lines
from cli.waiting import Watcher
from reconciler.actions import Blocked, Cause
from reconciler.messages import AskDrain
from reconciler.status import Status, Verdict


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
    _tell_blockers(run, status)
    if not wait:
        return granting.granted(reply, f"draining: node/{name}", objects=(f"node/{name}",))
    return _emptied(watch, name)


def _known(status: Status, name: str) -> bool:
    return any(node.name == name and node.draining for node in status.nodes)


def _blockers(status: Status) -> tuple[Blocked, ...]:
    return tuple(row for row in status.plan.blocked if row.cause is Cause.DRAIN)


def _tell_blockers(run: Invocation, status: Status) -> None:
    for row in blocked_lines(_blockers(status), asking.moment(run)):
        run.note(*row)


def _emptied(watch: Watcher, name: str) -> Finding:
    """Ends when the node runs nothing, or when all that still runs there is blocked (exit 5)."""

    def over(status: Status) -> bool:
        node = next(node for node in status.nodes if node.name == name)
        moving = any(row.cause is Cause.DRAIN for row in status.plan.actions) or status.in_flight
        return waiting.reached(status, None) and (node.vms_running == 0 or not moving)

    status = watch.until(over)
    if status is None:
        hint = "the drain goes on; cxm status shows it"
        raise failure("timeout", "Timeout", f"{name} is not empty in time", hint)
    node = next(node for node in status.nodes if node.name == name)
    verdict = Verdict.CONVERGED if node.vms_running == 0 else Verdict.PARTIAL
    data = {"node": name, "vms_running": node.vms_running}
    rows = node_lines((node,))
    return Finding(str(verdict), data, rows, status.cluster, status.observation)
