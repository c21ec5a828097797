"""`cxm fence`."""

from __future__ import annotations

import time

import click

from cli import asking, granting, pledging
from cli.client import Control
from cli.envelope import Finding, failure
from cli.options import cxm_command, invocation
from cli.render.status import HELD, node_lines
from cli.waiting import Watcher
from reconciler.messages import AskFence
from reconciler.status import Status

WAIT_S = 150.0


@cxm_command("fence")
@click.argument("node")
@click.option("--reason", required=True, help="Why; kept with the attempt.")
@click.option("--yes", is_flag=True, help="Do not ask for the node's name again.")
def command(node: str, reason: str, yes: bool) -> Finding:
    """Power a node off, though it may be well.

    Every rule of fencing holds but that it must be silent: never oneself, never in hold or maintenance,
    within budget and floor, by devices that are bound to it (4). Waits for the certificate; exit 5: the
    devices prove nothing; 8: not in time.
    """
    run = invocation()
    name = granting.node_named(run, node)
    pledging.foretold(run, name, dies=True)
    pledging.retyped(run, name, "is switched off, with all that runs there", yes=yes)
    ask = AskFence(node=name, reason=reason, by="")
    reply = asking.need_daemon(run, lambda control: control.post("fence", ask))
    run.note(reply.message)
    deadline_s = time.monotonic() + (run.timeout_s or WAIT_S)
    watch = Watcher(run, Control(asking.control(run).path), deadline_s)
    began = False

    def over(status: Status) -> bool:
        nonlocal began
        state = pledging.node_in(status, name).state
        began = began or state == "fencing"
        return state in ("dead", HELD) or (began and state in ("alive", "refused"))

    status = watch.until(over, lambda _: f"the devices of {name}")
    if status is None:
        message = f"{name} is not proven dead in time"
        raise failure("timeout", "Timeout", message, f"cxm why node/{name}")
    fallen = pledging.node_in(status, name)
    verdict = "converged" if fallen.state == "dead" else "partial"
    data = {"node": name, "state": fallen.state, "certificate": fallen.certificate}
    return Finding(verdict, data, node_lines((fallen,)), status.cluster, status.observation)
