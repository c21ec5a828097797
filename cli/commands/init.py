"""`cxm init`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli import pool_access
from cli.envelope import Finding
from cli.node_folder import NodeFolder
from cli.options import cxm_command, invocation
from cli.render.text import line

if TYPE_CHECKING:
    from cli.founding import Steps

_FILE = click.Path(path_type=Path, exists=True, readable=False, dir_okay=False)
_FOLDER = click.Path(path_type=Path, file_okay=False)


@cxm_command("init")
@click.argument("host", required=False)
@click.option("--join", "peer", metavar="PEER[:PORT]", help="Become a peer of one that is there.")
@click.option("--code", help="The one-time code of `cxm node add`.  [default: asked for]")
@click.option(
    "--name",
    help="Name of this node, as in its Node file.  [default: the machine's, or the code's]",
)
@click.option("--new-repo", type=_FOLDER, metavar="DIR", help="Make a repository there.")
@click.option("--source", metavar="URL", help="The directory in Subversion that holds the tree.")
@click.option("--source-user", metavar="NAME", help="Who logs in to Subversion.")
@click.option("--source-password-file", "source_password", type=_FILE, help="With what password.")
@click.option(
    "--dir",
    "folder",
    type=_FOLDER,
    default=Path("/etc/cxm"),
    show_default=True,
    metavar="D",
    help="Where the settings are put.",
)
@click.option("--state-dir", default="/var/lib/cxm", show_default=True, help="As in node.yaml.")
@click.option("--run-dir", default="/run/cxm", show_default=True, help="As in node.yaml.")
@click.option("--yes", "trust", is_flag=True, help="Trust the certificates that are shown.")
@pool_access.options
def command(
    host: str | None,
    peer: str | None,
    code: str | None,
    name: str | None,
    new_repo: Path | None,
    source: str | None,
    source_user: str | None,
    source_password: Path | None,
    folder: Path,
    state_dir: str,
    run_dir: str,
    trust: bool,
    user: str,
    password_file: Path | None,
    fingerprints: tuple[str, ...],
    ca_file: Path | None,
) -> Finding:
    """From a pool's address to a node whose daemons can be started.

    HOST is any server of the pool. With --new-repo or --source: asks for the password, has its
    certificates compared, writes settings and secrets, and commits the pool as it is, observed and not
    managed. With --join PEER this machine becomes a peer instead. Each step is shown; a run that
    broke off is gone on with by the same command.
    """
    run = invocation()
    if (host is None) == (peer is None):
        raise click.UsageError("give either HOST or --join PEER")
    from cli import founding  # noqa: PLC0415 - loads the XenAPI client

    steps = founding.Steps(run)
    if peer is not None:
        from cli import joining  # noqa: PLC0415 - loads TLS and HTTP

        own = joining.Own(name=name, state_dir=state_dir, run_dir=run_dir)
        joining.join(steps, NodeFolder(folder), peer, joining.code_of(run, code), own)
        commands = founding.starting(NodeFolder(folder), founding.AMONG_PEERS)
        anew = founding.starting(NodeFolder(folder), founding.AMONG_PEERS[:1], "restart")
        return _ready(
            steps,
            commands,
            "",
            "Where this machine was a peer before and lost its state, cxm members may say rollback of it,",
            "for the shared disk remembers an earlier start. Then, once or more, until it takes part:",
            *(f"  {row}" for row in anew),
        )
    pool = founding.Pool(host or "", user, password_file, fingerprints, ca_file, trust)
    source_ = founding.Source(new_repo, source, source_user, source_password)
    wish = founding.Wish(pool, source_, folder, name, state_dir, run_dir)
    url = founding.Founding(run, wish, steps).go().source.url
    return _ready(
        steps,
        founding.starting(NodeFolder(folder), founding.ALONE),
        "",
        "The tree is changed in a working copy, where you like:",
        f"  svn checkout {url}",
    )


def _ready(steps: Steps, commands: Sequence[str], *more: str) -> Finding:
    """Nothing is started here: a person has seen the steps first."""
    rows = [line(), line("Now start:"), *(line(f"  {row}") for row in commands)]
    rows += map(line, more)
    return Finding("converged", {"steps": steps.taken, "start": list(commands)}, rows)
