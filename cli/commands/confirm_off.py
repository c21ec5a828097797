"""`cxm confirm-off`."""

from __future__ import annotations

import time

import click

from cli import asking, granting, pledging
from cli.envelope import Failure, Finding
from cli.options import Invocation, cxm_command, invocation
from cli.render.recovery import foreseen_lines
from cli.render.text import line
from reconciler.messages import READING, AskConfirmOff, Reply
from reconciler.why import Why

_AGAIN_S = 1.0
_READ_WITHIN_S = 45.0
"""Agents that do not answer are given up by then."""


@cxm_command("confirm-off")
@click.argument("node")
@click.option("--reason", required=True, help="What you saw; kept with the certificate.")
@click.option("--against-evidence", is_flag=True, help="Though a device says on, or nothing.")
@click.option("--yes", is_flag=True, help="Do not ask for the node's name again.")
def command(node: str, reason: str, against_evidence: bool, yes: bool) -> Finding:
    """Swear that a node is off: its VMs run again elsewhere.

    Look at the server before: an oath that is not true makes VMs run twice. It is refused (4) while
    its daemon or its toolstack is heard, and while a fence device says that it is on; only the latter
    can be overruled. One that nothing rests on expires after 10 minutes.
    """
    run = invocation()
    name = granting.node_named(run, node)
    why = asking.need_daemon(run, lambda control: control.why(f"node/{name}", Why))
    for row in foreseen_lines(name, why.recovery):
        run.note(*row)
    pledging.retyped(run, name, "is off, you swear", yes=yes)
    ask = AskConfirmOff(node=name, reason=reason, against_evidence=against_evidence, by="")
    reply = _sworn(run, ask)
    rows = [line(reply.message), *(line(f"  {note}") for note in reply.notes)]
    data = {"node": name, "message": reply.message, "notes": list(reply.notes)}
    return Finding("converged", data, rows)


def _sworn(run: Invocation, ask: AskConfirmOff) -> Reply:
    """Asked again while the node's devices are being read for it. Raises Failure."""
    until_s = time.monotonic() + (run.timeout_s or _READ_WITHIN_S)
    said = False
    while True:
        try:
            return asking.need_daemon(run, lambda control: control.post("confirm-off", ask))
        except Failure as stop:
            fault = stop.finding.errors[0]
            if fault.code != READING or time.monotonic() > until_s:
                raise
            if not said:
                run.note(fault.message)
            said = True
        time.sleep(_AGAIN_S)
