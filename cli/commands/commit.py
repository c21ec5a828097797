"""`cxm commit`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import click

from cli import asking, supposing, tree
from cli.envelope import Failure, Fault, Finding
from cli.options import Invocation, cxm_command, invocation
from cli.render.data import diff_data
from cli.render.diff import diff_lines
from cli.render.text import Line, line
from cli.working_copy import WorkingCopy
from reconciler.status import Status, Verdict
from schema import consent
from schema.model import Desired
from schema.tree import load

_COMMITTED = re.compile(r"Committed revision (\d+)")


@cxm_command("commit")
@click.argument("folder", default=".", metavar="[DIR]", type=click.Path(path_type=Path))
@click.option("-m", "--message", required=True, help="What the log will say.")
@click.option("--accept", is_flag=True, help="Add the Cxm-Accept lines that the limits ask for.")
@click.option("--dry-run", is_flag=True, help="Show everything, commit nothing.")
def command(folder: Path, message: str, accept: bool, dry_run: bool) -> Finding:
    """Validate, show the diff and commit a working copy.

    In the caller's own name, by svn. New files are added, missing ones removed. --dry-run exits 2
    where the commit would change something.
    """
    run = invocation()
    root = tree.root_of(folder)
    files = tree.read(root)
    loaded, finding = tree.checked(files)
    if loaded.desired is None:
        raise Failure(finding)
    copy = WorkingCopy(root, may_ask=run.may_ask)
    message = _consented(copy, loaded.desired, message, accept=accept)
    status = supposing.folder(run, root)
    changes = copy.changes()
    if dry_run or not changes:
        return _shown(run, status, changes, message)
    for row in diff_lines(status, asking.moment(run), of=f"working copy {root}"):
        run.note(*row)
    copy.schedule(changes)
    return _committed(copy.commit(message), message)


def _consented(copy: WorkingCopy, new: Desired, message: str, *, accept: bool) -> str:
    """The message, with the trailers it lacks where `accept` lets us. Raises Failure (4)."""
    old = load(copy.committed()).desired
    if old is None:
        return message
    limits = (old.cluster.limits, new.cluster.limits)
    missing = consent.missing_consent(consent.changes(old, new), limits, message)
    if missing and not accept:
        faults = [
            Fault(
                "ConsentMissing",
                item.reason,
                f"add this line to -m, or --accept:\n{item.trailer_line}",
            )
            for item in missing
        ]
        raise Failure(Finding("refused", errors=tuple(faults)))
    trailers = "\n".join(item.trailer_line for item in missing)
    return f"{message.rstrip()}\n\n{trailers}" if trailers else message


def _shown(
    run: Invocation, status: Status, changes: Sequence[tuple[str, str]], message: str
) -> Finding:
    moment = asking.moment(run)
    rows: list[Line] = [line(f"{letter} {path}") for letter, path in changes]
    rows += diff_lines(status, moment, of="the working copy")
    differs = bool(changes) or status.verdict is Verdict.DIFFERS
    verdict = status.verdict
    if verdict in (Verdict.CONVERGED, Verdict.DIFFERS):
        verdict = Verdict.DIFFERS if differs else Verdict.CONVERGED
    data = {
        **diff_data(status),
        "files": [path for _, path in changes],
        "message": message,
        "committed": None,
    }
    return Finding(str(verdict), data, rows, status.cluster, status.observation)


def _committed(told: str, message: str) -> Finding:
    found = _COMMITTED.search(told)
    revision = int(found[1]) if found is not None else None
    text = f"committed r{revision}" if revision is not None else "nothing was committed"
    data = {"committed": revision, "message": message}
    rows = [line(text), line(f"  cxm wait all -r {revision} waits for it")]
    return Finding("converged", data, rows if revision is not None else rows[:1])
