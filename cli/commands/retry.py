"""`cxm retry`."""

from __future__ import annotations

import click

from cli import asking, granting
from cli.envelope import Finding
from cli.options import cxm_command, invocation
from reconciler.messages import AskRetry


@cxm_command("retry")
@click.argument("sel")
def command(sel: str) -> Finding:
    """Try again now what waits for back-off or has stalled.

    It also ends the hands-off after two foreign changes of one VM (Contended).
    """
    run = invocation()
    ask = AskRetry(objects=granting.seen(run, sel), by="")
    reply = asking.need_daemon(run, lambda control: control.post("retry", ask))
    return granting.granted(reply, f"tried again: {', '.join(ask.objects)}", objects=ask.objects)
