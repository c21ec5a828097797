"""`cxm confirm-off`."""

from __future__ import annotations

import click

from cli import granting, pledging
from cli.envelope import Finding
from cli.options import cxm_command, invocation
from cli.render.text import line
from reconciler.messages import AskConfirmOff


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
    pledging.foretold(run, name)
    pledging.retyped(run, name, "is off, you swear", yes=yes)
    ask = AskConfirmOff(node=name, reason=reason, against_evidence=against_evidence, by="")
    reply = pledging.asked(run, "confirm-off", ask)
    rows = [line(reply.message), *(line(f"  {note}") for note in reply.notes)]
    data = {"node": name, "message": reply.message, "notes": list(reply.notes)}
    return Finding("converged", data, rows)
