"""`cxm leader`."""

from __future__ import annotations

import time

import click

from cli import asking, hearing
from cli.client import Control
from cli.envelope import Finding, failure
from cli.options import Invocation, cxm_command, invocation
from cli.render.peers import leader_data, leader_lines, leading
from cli.waiting import Watcher
from reconciler.messages import AskHandOver
from reconciler.status import LeaderState, Status, Verdict

WAIT_S = 60.0
_ANYBODY = ""


@cxm_command("leader")
@click.option(
    "--hand-over",
    "heir",
    is_flag=False,
    flag_value=_ANYBODY,
    metavar="[NODE]",
    help="Let NODE lead, or whichever node can.",
)
@click.option("--no-wait", is_flag=True, help="Only ask: do not wait until another node leads.")
def command(heir: str | None, no_wait: bool) -> Finding:
    """Who leads; with --hand-over: let another one lead.

    Exit 0: somebody leads, acting or about to; 2: nobody does, and nothing is begun until somebody
    does; 6: this node does not know. --hand-over waits for 60 s or --timeout (exit 8), and exits 5
    where another node than NODE came to lead.
    """
    run = invocation()
    if heir is None:
        if no_wait:
            raise click.UsageError("--no-wait goes with --hand-over")
        return _shown(hearing.of_peers(run))
    return _handed_over(run, heir.removeprefix("node/"), wait=not no_wait)


def _shown(status: Status, worst: Verdict = Verdict.CONVERGED) -> Finding:
    nobody = status.leadership.state is LeaderState.NOBODY
    verdict = Verdict.DIFFERS if nobody else worst
    return Finding(str(verdict), leader_data(status), leader_lines(status), status.cluster)


def _handed_over(run: Invocation, heir: str, *, wait: bool) -> Finding:
    before = asking.of_cluster(run, asking.need_daemon(run, lambda control: control.status()))
    old = before.leadership
    if heir and heir == old.leader:
        return _shown(before)
    ask = AskHandOver(to=heir or None, by="")
    reply = asking.need_daemon(run, lambda control: control.post("hand-over", ask))
    for note in filter(None, (reply.message, *reply.notes)):
        run.note(note)
    if not wait:
        return _shown(before)

    def another(status: Status) -> bool:
        now = status.leadership
        return now.leader not in (None, old.leader) and now.term > old.term

    deadline_s = time.monotonic() + (run.timeout_s or WAIT_S)
    watch = Watcher(run, Control(asking.control(run).path), deadline_s)
    status = watch.until(another, lambda status: leading(status.leadership))
    if status is None:
        hint = "look at cxm leader and cxm members: is another voter alive, and its cxmd running?"
        message = f"nobody has come to lead in the place of {old.leader} in time"
        raise failure("timeout", "Timeout", message, hint)
    meant = not heir or status.leadership.leader == heir
    return _shown(status, Verdict.CONVERGED if meant else Verdict.PARTIAL)
