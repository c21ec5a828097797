"""`cxm diff`."""

from __future__ import annotations

from pathlib import Path

import click

from cli import asking, saved, select, supposing
from cli.envelope import Finding, failure
from cli.narrowing import of_cause
from cli.options import Invocation, cxm_command, invocation
from cli.render.data import diff_data
from cli.render.diff import diff_lines
from reconciler.actions import Cause
from reconciler.status import Status


@cxm_command("diff")
@click.argument("sel", default=select.ALL)
@click.option("-r", "--revision", type=int, metavar="N", help="Against revision N of the tree.")
@click.option(
    "--wc", type=click.Path(path_type=Path), metavar="DIR", help="Against this working copy."
)
@click.option("--url", help="Against the head of another tree.")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE", help="Save the plan for cxm apply."
)
@click.option(
    "--cause",
    type=click.Choice([cause.value for cause in Cause]),
    help="Only rows with this cause.",
)
def command(
    sel: str,
    revision: int | None,
    wc: Path | None,
    url: str | None,
    out: Path | None,
    cause: str | None,
) -> Finding:
    """What would change, why, and what refuses the rest.

    Without -r, --wc or --url it is about the revision in force and, in mode gated, about the head
    that waits for cxm apply. Exit 0: nothing; 2: something.
    """
    run = invocation()
    if sum(given is not None for given in (revision, wc, url)) > 1:
        raise click.UsageError("-r, --wc and --url exclude each other")
    status, of = _status(run, revision, wc, url)
    if out is not None:
        _save(run, out, status, of, committed=wc is None and url is None)
    status = asking.narrowed(run, status, sel)
    if cause is not None:
        status = of_cause(status, Cause(cause))
    moment = asking.moment(run)
    return Finding(
        str(status.verdict),
        diff_data(status),
        diff_lines(status, moment, of=of),
        status.cluster,
        status.observation,
    )


def _status(
    run: Invocation, revision: int | None, wc: Path | None, url: str | None
) -> tuple[Status, str]:
    """The status to show, and the name of the tree it is about where that is not the target."""
    if wc is not None:
        return supposing.folder(run, wc), f"working copy {wc}"
    if url is not None:
        return supposing.revision(run, url, None), url
    if revision is not None:
        return supposing.revision(run, None, revision), f"r{revision}"
    return asking.current_status(run), ""


def _save(run: Invocation, file: Path, status: Status, of: str, *, committed: bool) -> None:
    if not committed:
        message = f"a plan of {of} cannot be applied: only what is committed can"
        raise failure("refused", "Uncommitted", message, "commit it, then cxm diff -r N --out FILE")
    saved.write(file, status)
    run.note(f"plan saved: cxm apply {file}")
