"""`cxm notify`."""

from __future__ import annotations

import click

from cli import asking, granting
from cli.envelope import Finding
from cli.options import cxm_command, invocation
from cli.render.text import line
from reconciler.messages import AskNotify


@cxm_command("notify")
@click.option("--test", is_flag=True, required=True, help="Send a test by every way there is.")
def command(test: bool) -> Finding:
    """Try whether alarms reach people.

    A test goes out by every way that `notify` of this node's node.yaml named when cxmd started. Exit 0:
    each took it; 5: some did not; 4: none is named.
    """
    del test
    run = invocation()
    granting.known_here(run)
    reply = asking.need_daemon(run, lambda control: control.post("notify", AskNotify(by="")))
    granting.named_after(run)
    data = {"notes": list(reply.notes), "message": reply.message}
    return Finding("converged", data, [line(row) for row in (*reply.notes, reply.message) if row])
