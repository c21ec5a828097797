"""`cxm bootstrap`."""

from __future__ import annotations

import click

from cli import granting, pledging
from cli.envelope import Finding
from cli.options import cxm_command, invocation
from cli.render.text import line
from reconciler.messages import AskBootstrap


@cxm_command("bootstrap")
@click.option(
    "--absent", multiple=True, metavar="NODE", help="A node that stays off; once for each."
)
@click.option("--reason", required=True, help="What you saw; kept with the certificates.")
@click.option("--against-evidence", is_flag=True, help="Though a device says on, or nothing.")
@click.option("--yes", is_flag=True, help="Do not ask for the names again.")
def command(absent: tuple[str, ...], reason: str, against_evidence: bool, yes: bool) -> Finding:
    """After a blackout, swear that all nodes that are not here are off.

    What ran runs again then, on the nodes that are here. All that everything waits for have to be named;
    without a name it says which. Refused (4) as a whole while one of them is heard, or its fence device
    says that it is on: only the latter can be overruled. Look at each of them before.
    """
    run = invocation()
    names = tuple(granting.node_named(run, node) for node in absent)
    for name in names:
        pledging.foretold(run, name)
    if names:
        verb = "is" if len(names) == 1 else "are"
        pledging.retyped(run, " ".join(names), f"{verb} off, you swear", yes=yes)
    ask = AskBootstrap(absent=names, reason=reason, against_evidence=against_evidence, by="")
    reply = pledging.asked(run, "bootstrap", ask)
    rows = [line(reply.message), *(line(f"  {note}") for note in reply.notes)]
    data = {"nodes": list(names), "message": reply.message, "notes": list(reply.notes)}
    return Finding("converged", data, rows)
