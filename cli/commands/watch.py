"""`cxm watch`."""

from __future__ import annotations

import time

import click

from cli import asking, select
from cli.client import Control, NoDaemon
from cli.commands.events import record_filter
from cli.envelope import Finding
from cli.journal_stream import Filter, decoded
from cli.options import Invocation, cxm_command, invocation
from cli.render.data import record_data
from cli.render.events import event_line
from reconciler.records import Record

_AGAIN_S = 1.0


@cxm_command("watch")
@click.argument("sel", default=select.ALL)
@click.option("--from", "start", type=int, metavar="SEQ", help="Resume after a break.")
def command(sel: str, start: int | None) -> Finding | None:
    """Show every change as it happens.

    One line a change; with -o json or jsonl one event a line. It ends with Ctrl-C, and goes on when
    the daemon is restarted.
    """
    run = invocation()
    run.by_lines = True
    wants = record_filter(run, sel, None, None)
    status = asking.need_daemon(run, lambda control: control.status())
    resume = start if start is not None else status.sequence + 1
    until_s = None if run.timeout_s is None else time.monotonic() + run.timeout_s
    control = Control(asking.control(run).path)
    while (left := _left(until_s)) is None or left > 0:
        resume = _follow(run, control, wants, resume, until_s)
        time.sleep(_AGAIN_S if left is None else min(_AGAIN_S, left))
    return None


def _left(until_s: float | None) -> float | None:
    return None if until_s is None else until_s - time.monotonic()


def _follow(
    run: Invocation, control: Control, wants: Filter, resume: int, until_s: float | None
) -> int:
    """Show events until the daemon breaks off or time is up; the answer is where to resume."""
    try:
        for record in decoded(control.follow(resume, _left(until_s))):
            resume = record.seq + 1
            if wants.wants(record):
                _show(run, record)
    except NoDaemon as absent:
        left = _left(until_s)
        if left is None or left > 0:
            run.note(f"{absent}; trying again")
    return resume


def _show(run: Invocation, record: Record) -> None:
    if run.text:
        run.say(event_line(record, asking.moment(run)))
    else:
        run.hand_over(record_data(record))
