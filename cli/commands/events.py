"""`cxm events`."""

from __future__ import annotations

import time
from collections import deque
from datetime import datetime

import click

from cli import asking, select
from cli.client import Control
from cli.envelope import Finding
from cli.journal_stream import Filter, decoded
from cli.options import Invocation, SpanOfTime, cxm_command, invocation
from cli.render.data import record_data
from cli.render.events import event_line
from reconciler.actions import Cause
from reconciler.records import Record


@cxm_command("events")
@click.argument("sel", default=select.ALL)
@click.option("--from", "start", type=int, default=1, metavar="SEQ", help="From this event on.")
@click.option("--since", metavar="TIME", help="Since 2h ago, or since 2026-12-01T06:00+01:00.")
@click.option(
    "--cause",
    type=click.Choice([cause.value for cause in Cause]),
    help="Only calls with this cause.",
)
@click.option("-n", "count", type=click.IntRange(min=1), help="Only the newest so many.")
def command(
    sel: str, start: int, since: str | None, cause: str | None, count: int | None
) -> Finding:
    """What happened: the daemon's journal.

    With -o jsonl every event is a line with its `seq`, from which --from resumes. With -v also what
    was remembered of each VM.
    """
    run = invocation()
    wants = record_filter(run, sel, Cause(cause) if cause else None, since)

    def read(control: Control) -> list[Record]:
        rows = decoded(control.events(start))
        return list(deque(filter(wants.wants, rows), maxlen=count))

    records = asking.need_daemon(run, read)
    if run.output == "jsonl":
        for record in records:
            run.hand_over(record_data(record))
        return Finding("converged", streamed=True)
    moment = asking.moment(run)
    data = {"events": [record_data(record) for record in records]}
    return Finding("converged", data, [event_line(record, moment) for record in records])


def record_filter(run: Invocation, sel: str, cause: Cause | None, since: str | None) -> Filter:
    """Raises Failure where `sel` names nothing, UsageError where `since` is no moment."""
    objects = None
    if not select.whole(sel):
        status = asking.current_status(run)
        objects = frozenset(select.selected(sel, asking.objects_in(run, status, sel)))
    return Filter(objects, cause, _epoch_s(since), everything=run.verbose)


def _epoch_s(since: str | None) -> float | None:
    if since is None:
        return None
    try:
        return datetime.fromisoformat(since).astimezone().timestamp()
    except ValueError:
        return time.time() - SpanOfTime().convert(since, None, None)
