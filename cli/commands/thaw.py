"""`cxm thaw`."""

from __future__ import annotations

import click

from cli import asking, granting
from cli.envelope import Finding
from cli.options import cxm_command, invocation
from reconciler.messages import AskThaw


@cxm_command("thaw")
@click.argument("sel")
def command(sel: str) -> Finding:
    """End a freeze."""
    run = invocation()
    ask = AskThaw(objects=granting.named(run, sel), by="")
    reply = asking.need_daemon(run, lambda control: control.post("thaw", ask))
    return granting.granted(reply, f"thawed: {', '.join(ask.objects)}", objects=ask.objects)
