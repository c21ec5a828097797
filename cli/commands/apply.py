"""`cxm apply`."""

from __future__ import annotations

from pathlib import Path

import click

from cli import asking, saved, select, waiting
from cli.client import STALE_PLAN
from cli.commands.wait import until
from cli.envelope import Finding, failure
from cli.options import Invocation, cxm_command, invocation
from cli.render.data import diff_data
from cli.render.diff import diff_lines
from cli.render.plans import gated
from cli.waiting import Watcher
from reconciler.messages import AskApply
from reconciler.revisions import HeadState
from reconciler.status import Status, Verdict
from schema.model import Mode

_SETTLED = ("converged", HeadState.TARGET, HeadState.GATED, HeadState.REJECTED, HeadState.DOUBTED)


@cxm_command("apply")
@click.argument("plan", required=False, type=click.Path(path_type=Path))
@click.option("-r", "--revision", type=int, metavar="N", help="Only if N is the head.")
@click.option("--wait/--no-wait", default=True, help="Wait with progress.  [default: wait]")
@click.option("--yes", is_flag=True, help="Approve without being asked (mode gated).")
def command(plan: Path | None, revision: int | None, wait: bool, yes: bool) -> Finding:
    """Look at Subversion now and converge to its head.

    In mode gated it also approves the head. PLAN is a file of cxm diff --out: it is carried out
    exactly, or not at all (7). Files that are not committed are never applied.
    """
    run = invocation()
    wanted = saved.read(plan) if plan is not None else None
    watch = waiting.watcher(run)
    head = _head(watch)
    _refuse_other(revision, head)
    status = watch.until(lambda status: _read(status, head), _reading)
    if status is None:
        raise failure("timeout", "Timeout", f"r{head} was not read in time")
    waiting.refuse_rejected(run, status, head)
    if wanted is not None:
        _refuse_stale(wanted, saved.plan_of(status))
    digest = wanted.digest if wanted is not None else None
    if gated(status):
        digest = _approved(run, status, yes) or digest
    watch.control.post("apply", AskApply(revision=head, plan=digest, by=""))
    return until(watch, select.ALL, "converged", head) if wait else _begun(watch, head)


def _head(watch: Watcher) -> int:
    head = waiting.newest_head(watch)
    if head is None:
        hint = "what is in force goes on being converged without it; cxm status"
        raise failure("unknown", "NoSource", "Subversion does not tell its head", hint)
    return head


def _refuse_other(revision: int | None, head: int) -> None:
    """Going back must be visible to everybody who reads the log: it is a commit."""
    if revision is not None and revision != head:
        hint = f"to go back, commit: svn merge -r HEAD:{revision} . && svn commit"
        message = f"r{revision} is not the head (r{head}); only the head is applied"
        raise failure("refused", "NotHead", message, hint)


def _read(status: Status, head: int) -> bool:
    """True once the daemon has made up its mind about this head or a newer one, and planned it."""
    revision = status.revision
    if revision.head is None or revision.head < head or revision.state not in _SETTLED:
        return False
    if revision.state in (HeadState.REJECTED, HeadState.DOUBTED):
        return True
    return status.proposed is not None if gated(status) else status.planned == revision.target


def _reading(status: Status) -> str:
    known = status.observation is not None
    return "the head is being read and planned" if known else "the pool is not seen"


def _refuse_stale(wanted: saved.SavedPlan, now: saved.SavedPlan) -> None:
    """In more words than the daemon has, which refuses a plan that changes after this look."""
    told = saved.differences(wanted, now)
    if told:
        message = "the plan has changed since it was saved; nothing was done"
        raise failure("stale", STALE_PLAN, message, "\n".join(told))


def _approved(run: Invocation, status: Status, yes: bool) -> str | None:
    """A person agrees to what they have read, and to nothing else: its digest, unless `yes`."""
    for row in diff_lines(status, asking.moment(run)) if run.text else []:
        run.note(*row)
    if yes:
        return None
    head = status.revision.head
    if not run.may_ask:
        hint = "look at cxm diff, then cxm apply --yes"
        message = f"mode {Mode.GATED}: r{head} waits for approval, and nobody can be asked here"
        raise failure("refused", "NotApproved", message, hint)
    if not click.confirm(f"Apply r{head}?", err=True):
        raise failure("refused", "NotApproved", f"r{head} was not approved")
    return saved.plan_of(status).digest


def _begun(watch: Watcher, head: int) -> Finding:
    """What is being done now, as soon as the daemon has planned the revision."""
    status = watch.until(lambda status: _planned(status, head), _reading)
    if status is None:
        raise failure("timeout", "Timeout", f"r{head} was not planned in time")
    rows = diff_lines(status, asking.moment(watch.run))
    verdict = str(status.verdict)
    return Finding(verdict, diff_data(status), rows, status.cluster, status.observation)


def _planned(status: Status, head: int) -> bool:
    planned = status.planned is not None and status.planned >= head
    return planned or status.verdict is Verdict.UNKNOWN
