"""`cxm freeze`."""

from __future__ import annotations

import click

from cli import asking, granting
from cli.envelope import Finding
from cli.options import SpanOfTime, cxm_command, invocation
from cli.render.status import freeze_text
from membership.ledger import DEFAULT_SCOPES, SCOPES
from reconciler.messages import AskFreeze


@cxm_command("freeze")
@click.argument("sel")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(SCOPES),
    help="What to leave alone.  [default: intent, drift, rebalance]",
)
@click.option("--for", "for_s", type=SpanOfTime(), required=True, help="How long, such as 2h.")
@click.option("--reason", required=True, help="Why; shown wherever the freeze is.")
def command(sel: str, scopes: tuple[str, ...], for_s: float, reason: str) -> Finding:
    """Leave objects alone for a while.

    SEL: all, vm/web1, node/xen2, vm/*, a bare name, label=value, with commas.
    """
    run = invocation()
    ask = AskFreeze(
        objects=granting.named(run, sel),
        scopes=scopes or DEFAULT_SCOPES,
        for_s=for_s,
        reason=reason,
        by="",
    )
    before = asking.need_daemon(run, lambda control: control.status())
    reply = asking.need_daemon(run, lambda control: control.post("freeze", ask))
    for row in before.exceptions:
        if row.kind == "freeze" and row.object in ask.objects:
            run.note(f"in the place of {freeze_text(row)}")
    return granting.granted(reply, f"frozen: {', '.join(ask.objects)}", objects=ask.objects)
