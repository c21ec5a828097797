"""`cxm apply`."""

from __future__ import annotations

from pathlib import Path

import click

from cli import asking, saved, select, waiting
from cli.commands.wait import until
from cli.envelope import Finding, failure
from cli.options import Invocation, cxm_command, invocation
from cli.render.data import diff_data
from cli.render.diff import diff_lines
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
    status = watch.until(lambda status: _read(status, head), head)
    if status is None:
        raise failure("timeout", "Timeout", f"r{head} was not read in time")
    waiting.refuse_rejected(run, status, head)
    if wanted is not None:
        _refuse_stale(wanted, status)
    if status.revision.state == HeadState.GATED:
        _approved(run, status, head, yes)
    watch.control.post("apply", AskApply(revision=head, by=""))
    if wait:
        return until(watch, select.ALL, "converged", head)
    return _begun(run, status)


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
    """True once the daemon has made up its mind about this head or a newer one."""
    revision = status.revision
    known = revision.head is not None and revision.head >= head
    return known and revision.state in _SETTLED and status.observation is not None


def _refuse_stale(wanted: saved.SavedPlan, proposed: Status) -> None:
    told = saved.differences(wanted, saved.plan_of(proposed))
    if told:
        message = "the plan has changed since it was saved; nothing was done"
        raise failure("stale", "StalePlan", message, "\n".join(told))


def _approved(run: Invocation, proposed: Status, head: int, yes: bool) -> None:
    """In mode gated a person agrees to what they have seen."""
    rows = diff_lines(proposed, asking.moment(run), of=f"r{head}")
    for row in rows if run.text else []:
        run.note(*row)
    if yes:
        return
    if not run.may_ask:
        hint = "look at cxm diff, then cxm apply --yes"
        message = f"mode {Mode.GATED}: r{head} waits for approval, and nobody can be asked here"
        raise failure("refused", "NotApproved", message, hint)
    if not click.confirm(f"Apply r{head}?", err=True):
        raise failure("refused", "NotApproved", f"r{head} was not approved")


def _begun(run: Invocation, status: Status) -> Finding:
    moment = asking.moment(run)
    verdict = Verdict.CONVERGED if status.plan.empty else Verdict.DIFFERS
    return Finding(
        str(verdict),
        diff_data(status),
        diff_lines(status, moment),
        status.cluster,
        status.observation,
    )
