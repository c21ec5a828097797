"""`cxm hook`: what the hooks of a Subversion repository call, and the scripts that call it."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import click

WITHIN_S = 2.0
"""The daemon is told, not waited for: polling finds the commit in any case."""

_FILE = click.Path(path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group("hook", subcommand_metavar="script|pre-commit|post-commit", no_args_is_help=False)
def command() -> None:
    """The hooks of a Subversion repository.

    `cxm hook script pre-commit > REPOS/hooks/pre-commit` (and chmod 755) puts one in place.
    """


@command.command("pre-commit")
@click.option("--repository", required=True, metavar="REPOS", type=_FOLDER)
@click.option("--transaction", required=True, metavar="TXN")
@click.option(
    "--svn-bin",
    default="/usr/bin",
    show_default=True,
    metavar="DIR",
    type=_FOLDER,
    help="Where svnlook and svn are.",
)
@click.pass_context
def pre_commit(ctx: click.Context, repository: Path, transaction: str, svn_bin: Path) -> None:
    """Refuse a transaction that makes a cluster invalid or goes beyond its limits.

    Validates every folder with a cluster.yaml that the transaction touches. Exit 1 refuses; the
    reason is on stderr, which Subversion hands to the committer.
    """
    from cli.hooks.judging import refusal  # noqa: PLC0415
    from cli.hooks.transaction import HookFailed, Transaction  # noqa: PLC0415

    try:
        text = refusal(Transaction(repository.resolve(), transaction, svn_bin.resolve()))
    except HookFailed as error:
        text = f"cxm could not check this commit, so it is refused: {error}\n"
    if text:
        click.echo(text.encode("ascii", "backslashreplace").decode("ascii"), nl=False, err=True)
        ctx.exit(1)


@command.command("post-commit")
@click.option(
    "--socket",
    "sockets",
    required=True,
    multiple=True,
    metavar="PATH",
    type=_FILE,
    help="cxmd's control socket; again for each further cxmd.",
)
@click.argument("repository", required=False, metavar="[REPOS]")
@click.argument("revision", required=False, metavar="[REV]")
def post_commit(sockets: tuple[Path, ...], repository: str | None, revision: str | None) -> None:
    """Tell the daemons on this machine to look at Subversion now.

    Always succeeds, within 2 s: a daemon that is away is no reason to trouble the committer. What
    Subversion passes about the commit is taken and not needed: the daemon looks for itself.
    """
    from cli.client import Control, NoDaemon  # noqa: PLC0415
    from cli.envelope import Failure  # noqa: PLC0415

    del repository, revision
    _let_go_of_streams()
    for socket in sockets:
        with suppress(NoDaemon, Failure):
            Control(socket, timeout_s=WITHIN_S / len(sockets)).post("look")


@command.command("script")
@click.argument("name", type=click.Choice(["pre-commit", "post-commit"]))
@click.option("--cxm", type=_FILE, help="The program.  [default: this one]")
@click.option(
    "--socket",
    default="/run/cxm/cxmd.sock",
    show_default=True,
    metavar="PATH",
    type=_FILE,
    help="cxmd's control socket.",
)
def script(name: str, cxm: Path | None, socket: Path) -> None:
    """Print a hook for a repository on this machine."""
    from cli.hooks.templates import hook_script, this_program  # noqa: PLC0415

    click.echo(hook_script(name, cxm or this_program(), socket.absolute()), nl=False)


def _let_go_of_streams() -> None:
    """Subversion waits until nobody holds the hook's streams any more. A terminal is kept."""
    if sys.stderr.isatty():
        return
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    os.close(nothing)
