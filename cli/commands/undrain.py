"""`cxm undrain`."""

from __future__ import annotations

import click

from cli import asking, granting
from cli.envelope import Finding
from cli.options import cxm_command, invocation
from reconciler.messages import AskUndrain


@cxm_command("undrain")
@click.argument("node")
def command(node: str) -> Finding:
    """Let a drained node take VMs again.

    A node whose file says `maintenance` stays drained until that is taken out by a commit.
    """
    run = invocation()
    name = granting.node_named(run, node)
    ask = AskUndrain(node=name, by="")
    reply = asking.need_daemon(run, lambda control: control.post("undrain", ask))
    return granting.granted(reply, f"undrained: node/{name}", objects=(f"node/{name}",))
