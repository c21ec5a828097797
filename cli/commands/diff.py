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
    "--what-if",
    metavar="down=NODE[+NODE]",
    help="What would become of these nodes and their VMs, if they fell silent now.",
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
    what_if: str | None,
) -> Finding:
    """What would change, why, and what refuses the rest.

    Without -r, --wc or --url it is about the revision in force and, in mode gated, about the head
    that waits for cxm apply. Exit 0: nothing; 2: something.

    With --what-if, exit 0: all that is to come back would; 2: some VMs would stay down; 4: nothing
    would be done, for want of a proof.
    """
    run = invocation()
    if what_if is not None:
        return _what_if(
            run, what_if, alone=select.whole(sel) and not any((revision, wc, url, out, cause))
        )
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


def _what_if(run: Invocation, text: str, *, alone: bool) -> Finding:
    if not alone:
        raise click.UsageError("--what-if is about what is in force now, and stands alone")
    from cli import foreseeing  # noqa: PLC0415 - loads the whole of the planning

    return foreseeing.finding(run, foreseeing.asked(text))


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
