"""`cxm recover`."""

from __future__ import annotations

import click

from cli import asking, granting, pledging, waiting
from cli.envelope import Finding, failure
from cli.options import cxm_command, invocation
from cli.render.recovery import foreseen_lines
from cli.render.rows import plan_lines
from cli.render.status import HELD, node_lines
from reconciler.actions import Cause, Plan
from reconciler.status import Status
from reconciler.why import Why


@cxm_command("recover")
@click.argument("node")
def command(node: str) -> Finding:
    """What stands between a dead node and its VMs.

    Recovery needs no command: it begins with the certificate. Exit 0: all of them run again; 4: the node
    is held or refused, or nothing says that it is dead; 5: some are blocked; 8: not within --timeout.
    """
    run = invocation()
    name = granting.node_named(run, node)
    why = asking.need_daemon(run, lambda control: control.why(f"node/{name}", Why))
    for row in foreseen_lines(name, why.recovery):
        run.note(*row)
    watch = waiting.watcher(run)

    def over(status: Status) -> bool:
        state = pledging.node_in(status, name).state
        if state in ("silent", "fencing"):
            return False
        return state != "dead" or not (_rows(status).actions or _moving(status))

    status = watch.until(over, lambda status: f"node/{name} is {_state(status, name)}")
    if status is None:
        hint = "it goes on; cxm status shows it"
        raise failure("timeout", "Timeout", f"not all of {name} runs again in time", hint)
    fallen = pledging.node_in(status, name)
    if fallen.state != "dead":
        raise failure("held" if fallen.state == HELD else "refused", *_standing(status, name))
    rows = _rows(status)
    lines = [*node_lines((fallen,)), *plan_lines(rows, asking.moment(run))]
    data = {"node": name, "certificate": fallen.certificate, "blocked": len(rows.blocked)}
    verdict = "partial" if rows.blocked else "converged"
    return Finding(verdict, data, lines, status.cluster, status.observation)


def _rows(status: Status) -> Plan:
    """What is to be done for VMs that died, and what refuses it."""
    plan = status.plan
    return Plan(
        actions=tuple(row for row in plan.actions if row.cause is Cause.RECOVERY),
        blocked=tuple(row for row in plan.blocked if row.cause is Cause.RECOVERY),
    )


def _moving(status: Status) -> bool:
    return any(flight.verb in ("reset", "write-off", "start") for flight in status.in_flight)


def _state(status: Status, name: str) -> str:
    return pledging.node_in(status, name).state


def _standing(status: Status, name: str) -> tuple[str, str, str]:
    fallen = pledging.node_in(status, name)
    if fallen.state == "alive":
        return "Alive", f"{name} is alive: nothing of it is to be recovered", ""
    message = f"{name} is {fallen.state}: {fallen.message or fallen.reason}"
    return fallen.reason or fallen.state, message, fallen.remedy
