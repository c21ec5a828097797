"""`cxm status`."""

from __future__ import annotations

import time

import click

from cli import asking, select
from cli.envelope import Finding, envelope
from cli.options import Invocation, cxm_command, invocation
from cli.render.data import status_data
from cli.render.status import standing, status_lines

_AGAIN_S = 2.0


@cxm_command("status")
@click.argument("sel", default=select.ALL)
@click.option("--unmanaged", is_flag=True, help="List the VMs that no file names.")
@click.option("--revision", is_flag=True, help="Show where revisions stand.")
@click.option(
    "--bounds",
    is_flag=True,
    help="What would prove each death, and what is in the way.",
)
@click.option("--watch", is_flag=True, help="Show it again every two seconds, until Ctrl-C.")
def command(sel: str, unmanaged: bool, revision: bool, bounds: bool, watch: bool) -> Finding:
    """What cxm knows: verdict, nodes, what is pending and what refuses.

    SEL limits it to some objects: vm/web1, vm/*, a bare name, label=value, with commas. Exit 4: all is as
    desired, and nothing would be begun: it is held, nobody leads, or no daemon runs here.
    """
    run = invocation()
    finding = _finding(run, sel, unmanaged=unmanaged, revision=revision, bounds=bounds)
    while watch:
        if run.text:
            click.clear()
            run.say(*finding.lines)
        else:
            run.hand_over(envelope(run.command, finding))
        time.sleep(_AGAIN_S)
        finding = _finding(run, sel, unmanaged=unmanaged, revision=revision, bounds=bounds)
    return finding


def _finding(
    run: Invocation, sel: str, *, unmanaged: bool, revision: bool, bounds: bool
) -> Finding:
    status = asking.narrowed(run, asking.current_status(run), sel)
    moment = asking.moment(run)
    rows = status_lines(
        status,
        moment,
        unmanaged=unmanaged,
        bounds=bounds,
        revision=revision,
        vms=not select.whole(sel) or run.verbose,
    )
    return Finding(
        str(standing(status)),
        status_data(status),
        rows,
        status.cluster,
        status.observation,
    )
