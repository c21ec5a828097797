"""`cxm hold`."""

from __future__ import annotations

import click

from cli import asking, granting
from cli.envelope import Finding
from cli.options import cxm_command, invocation
from cli.render.text import Span, line
from reconciler.messages import AskHold


@cxm_command("hold")
@click.option("--reason", required=True, help="Why; shown wherever the hold is.")
def command(reason: str) -> Finding:
    """Begin nothing any more, on any node, until the hold is released.

    What is under way is not broken off. It outlives restarts, a change of leader, and Subversion; only
    cxm release with its id ends it. It waits until whoever leads has it and no one node can lose it.
    Exit 5: it is in force where it is stored, but not all that have to know of it could be reached.
    """
    run = invocation()
    granting.known_here(run)
    ask = AskHold(reason=reason, by="")

    reply = asking.need_daemon(run, lambda control: control.hold(ask, run.note))
    granting.named_after(run)
    identity = reply.message
    rows = [
        line("held: ", Span(identity, "strong"), "; nothing is begun on any node"),
        line(f"  cxm release {identity}  ends it"),
    ]
    return Finding("converged", {"id": identity, "reason": reason}, rows)
