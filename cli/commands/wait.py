"""`cxm wait`."""

from __future__ import annotations

import click

from cli import asking, waiting
from cli.envelope import Finding, failure
from cli.narrowing import of_objects
from cli.options import cxm_command, invocation
from cli.render.data import status_data
from cli.render.progress import waiting_for
from cli.render.status import headline
from cli.waiting import Watcher
from reconciler.status import Condition, Status, Verdict

_CONVERGED = "converged"
_CONDITIONS = {condition.lower(): condition for condition in Condition}


@cxm_command("wait")
@click.argument("sel")
@click.option(
    "--for",
    "wanted",
    default=_CONVERGED,
    metavar="converged|ready|CONDITION",
    help="What to wait for.  [default: converged]",
)
@click.option("-r", "--revision", type=int, metavar="N", help="At least revision N.")
def command(sel: str, wanted: str, revision: int | None) -> Finding:
    """Wait until objects are as desired.

    A VM is ready once nothing of it differs and it shows what its start.ready asks.

    Without -r Subversion is looked at first, and its head waited for. A head that is rejected ends
    the wait (3), and so does a node that is held: it waits for a human's word (4). There is no end but
    --timeout (8); the work goes on.
    """
    run = invocation()
    if wanted.lower() not in (_CONVERGED, *_CONDITIONS):
        words = ", ".join((_CONVERGED, *_CONDITIONS))
        raise click.UsageError(f'"{wanted}" cannot be waited for; there is {words}')
    watch = waiting.watcher(run)
    need = revision if revision is not None else waiting.newest_head(watch)
    return until(watch, sel, wanted.lower(), need)


# `until` is what `cxm apply`, `cxm drain --wait` and `cxm commit` end with, too.
def until(watch: Watcher, sel: str, wanted: str, need: int | None) -> Finding:
    """Wait, with progress on stderr. Raises Failure: rejected (3), no daemon (1)."""
    chosen: dict[int | None, frozenset[str] | None] = {}

    def narrowed(status: Status) -> Status:
        """What SEL names is looked up once for each revision: labels are read from its files."""
        if status.planned not in chosen:
            chosen[status.planned] = asking.chosen(watch.run, status, sel)
        return of_objects(status, chosen[status.planned])

    def met(status: Status) -> bool:
        waiting.refuse_rejected(watch.run, status, need)
        if not waiting.reached(status, need):
            return False  # What SEL names may be in no revision before `need`.
        narrow = narrowed(status)
        waiting.refuse_held(narrow, status)
        if not waiting.seen(watch, status):
            return False
        if wanted != _CONVERGED:
            return waiting.all_in(narrow, _CONDITIONS[wanted])
        return waiting.calm(narrow) and (narrow is not status or waiting.proven(watch, status))

    status = watch.until(met, lambda status: waiting_for(status, need))
    if status is None:
        hint = "the work goes on; cxm status shows it"
        raise failure("timeout", "Timeout", f"{sel} is not {wanted} in time", hint)
    data, rows = status_data(narrowed(status)), [headline(status)]
    return Finding(str(Verdict.CONVERGED), data, rows, status.cluster, status.observation)
