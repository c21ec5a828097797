"""`cxm why`."""

from __future__ import annotations

import click

from cli import asking, select
from cli.client import NoDaemon
from cli.envelope import Finding, failure
from cli.options import Invocation, cxm_command, invocation
from cli.render.why import stale, why_data, why_lines
from cli.settings import node_settings
from reconciler.status import Status, Verdict
from reconciler.why import Why
from schema.suggest import nearest


@cxm_command("why")
@click.argument("obj", metavar="OBJ")
def command(obj: str) -> Finding:
    """Evidence, rule and choice behind the state of one object.

    OBJ: vm/web1, node/xen2, or a bare name that only one object has. Exit 6: what it rests on is too
    old to be relied on.
    """
    run = invocation()
    why, status = _asked(run, obj)
    if not why.known:
        known = list(asking.objects_in(run, status, select.ALL))
        near = nearest(why.object, known)
        hint = f"did you mean {near}?" if near else ""
        raise failure("error", "NoSuchObject", f'there is no "{obj}"', hint)
    seen = status.observation
    verdict = Verdict.UNKNOWN if stale(seen) else Verdict.CONVERGED
    rows = why_lines(why, asking.moment(run), seen)
    return Finding(str(verdict), why_data(why), rows, status.cluster, seen)


def _asked(run: Invocation, obj: str) -> tuple[Why, Status]:
    """From the daemon, else from a look of our own."""
    try:
        control = asking.control(run)
        status = asking.of_cluster(run, control.status())
        return control.why(_named(run, status, obj), Why), status
    except NoDaemon as absent:
        run.note(f"{absent}; asking Subversion and XenAPI directly")
    from cli import compose  # noqa: PLC0415 - loads the XenAPI client: a third of a second

    composed = compose.look(run, node_settings(run))
    return composed.why(_named(run, composed.status, obj)), asking.of_cluster(run, composed.status)


def _named(run: Invocation, status: Status, obj: str) -> str:
    """A bare name becomes a full one; what has a kind is left to the daemon, which knows old names."""
    if "/" in obj:
        return obj
    found = select.selected(obj, asking.objects_in(run, status, obj))
    if len(found) != 1:
        raise failure("error", "Ambiguous", f'"{obj}" is not one object')
    return found[0]
