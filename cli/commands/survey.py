"""`cxm survey`."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from cli import pool_access
from cli.envelope import Finding
from cli.options import cxm_command, invocation
from cli.render.survey import survey_lines


@cxm_command("survey")
@click.argument("host")
@pool_access.options
@click.option("--calls", is_flag=True, help="Show each call of XenAPI on stderr.")
def command(
    host: str,
    user: str,
    password_file: Path | None,
    fingerprints: tuple[str, ...],
    ca_file: Path | None,
    calls: bool,
) -> Finding:
    """Look at a pool: needs its address and a password, changes nothing.

    HOST is any server of the pool. A certificate that is not known is refused, with the exact
    --fingerprint to add. It tells what cannot be drained and why, names that several VMs have, and
    what import would leave out.
    """
    run = invocation()
    access = pool_access.asked_for(run, host, user, password_file, fingerprints, ca_file)
    from cli import compose, surveying  # noqa: PLC0415 - loads the XenAPI client

    observed, now = compose.snapshot(access, run.note if calls else None)
    found = surveying.survey(observed, now)
    return Finding(
        "converged",
        msgspec.to_builtins(found),
        survey_lines(found),
        found.pool or None,
    )
