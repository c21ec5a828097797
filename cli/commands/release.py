"""`cxm release`."""

from __future__ import annotations

import click

from cli import asking, granting
from cli.envelope import Finding
from cli.options import cxm_command, invocation
from cli.render.text import line
from reconciler.messages import AskRelease


@cxm_command("release")
@click.argument("identity", metavar="ID")
@click.option("--reason", default="", help="Why it may go on; the journal keeps it.")
def command(identity: str, reason: str) -> Finding:
    """End the hold of this id, exactly as cxm status shows it.

    It waits like cxm hold, until whoever leads has it. Exit 5: the release is in force where it is
    stored, but not all that have to know of it could be reached: there it is held still.
    """
    run = invocation()
    granting.known_here(run)
    ask = AskRelease(id=identity, reason=reason, by="")

    reply = asking.need_daemon(run, lambda control: control.release(ask, run.note))
    left = _left(identity)
    rows = [line(reply.message or f"{identity} is released"), *(line(row) for row in _still(left))]
    return Finding("converged", {"id": identity, "left": left}, rows)


def _left(identity: str) -> list[str]:
    """The holds that stand still: all of them must be gone before anything is begun."""
    run = invocation()
    status = asking.of_cluster(run, asking.need_daemon(run, lambda control: control.status()))
    rows = status.exceptions
    return [row.object for row in rows if row.kind == "hold" and row.object != identity]


def _still(left: list[str]) -> list[str]:
    return [f"  still held by {', '.join(left)}: nothing is begun"] if left else []
