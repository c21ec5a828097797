"""`cxm heartbeat`: the shared disk over which peers hear each other."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.envelope import Failure, Finding, failure
from cli.options import GLOBAL, CxmCommand, Invocation, invocation
from cli.render.text import Cell, Line, Span, line, table
from cli.settings import config_path, node_settings
from schema.settings import Settings

if TYPE_CHECKING:
    from membership.edge.disk_keeping import Shown, Slot

WATCHED_S = 2.0
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PATH = click.Path(path_type=Path)


@click.group(
    "heartbeat", params=list(GLOBAL), subcommand_metavar="format|show PATH", no_args_is_help=False
)
def command() -> None:
    """The shared disk over which peers hear each other.

    It is a file or a block device that all peers can write, named by heartbeat.disk in their Node
    files. Its 260 KiB hold a header and 64 slots, one for each peer.
    """


def _verb(name: str) -> Callable[[Callable[..., Finding]], click.Command]:
    """Declare a verb; its envelope's format is `cxm.heartbeat.NAME`."""

    def declare(function: Callable[..., Finding]) -> click.Command:
        made = click.command(f"heartbeat.{name}", cls=CxmCommand)(function)
        command.add_command(made, name)
        return made

    return declare


@_verb("format")
@click.argument("path", type=_PATH)
@click.option("--cluster-id", metavar="UUID", help="The cluster's id.  [default: this node's]")
@click.option("--force", is_flag=True, help="Overwrite what lies there.")
def _format(path: Path, cluster_id: str | None, force: bool) -> Finding:
    """Make a file or block device a heartbeat disk.

    What is mounted, swap, part of a volume, or alive (some peer writes to it) is refused; so is
    what holds data, unless --force is given. A file that is not there is made.
    """
    from membership.edge.disk_keeping import Refused, make  # noqa: PLC0415
    from membership.edge.slot_file import TooSmall  # noqa: PLC0415

    identity = cluster_id or node_settings(invocation()).cluster_id
    if not _UUID.fullmatch(identity):
        message = f"--cluster-id {identity}: not a uuid"
        raise failure("usage", "Usage", message, "it is id: in cluster.yaml")
    try:
        header = make(path.absolute(), identity, force=force)
    except Refused as refused:
        raise failure("refused", "InUse", str(refused), refused.hint) from None
    except TooSmall as error:
        raise failure("error", "TooSmall", f"{path}: {error.strerror}") from None
    except OSError as error:
        raise _failed(path, error) from None
    data = {"path": str(path), "cluster_id": header.cluster_id, "disk_id": header.disk_id}
    rows = [line(f"{path}: heartbeat disk {header.disk_id} of cluster {header.cluster_id}")]
    return Finding("converged", data, rows)


@_verb("show")
@click.argument("path", type=_PATH)
def _show(path: Path) -> Finding:
    """What is on a heartbeat disk: who writes to it, and who did.

    Looks twice, 2 s apart: ALIVE says whether a slot was written in between. Whether a slot was
    written by who it says is known only where this node has the cluster's key.
    """
    from membership.edge.disk_keeping import show  # noqa: PLC0415
    from membership.edge.slot_file import TooSmall  # noqa: PLC0415

    keys = _keys(invocation())
    try:
        shown = show(path, keys, WATCHED_S)
    except TooSmall as error:
        raise _unformatted(path, str(error.strerror)) from None
    except OSError as error:
        raise _failed(path, error) from None
    if shown.header is None:
        raise _unformatted(path, "it has no header, or a damaged one")
    return Finding(
        "converged",
        _data(path, shown, known=bool(keys)),
        _rows(shown, known=bool(keys)),
    )


def _unformatted(path: Path, why: str) -> Failure:
    hint = f"cxm heartbeat format {path} makes it one"
    return failure("error", "NotFormatted", f"{path} is no heartbeat disk: {why}", hint)


def _failed(path: Path, error: OSError) -> Failure:
    hint = ""
    if isinstance(error, PermissionError):
        hint = "run it as root, or as a user who may use the disk (group cxm, by a udev rule)"
    elif isinstance(error, FileNotFoundError):
        hint = (
            "heartbeat.disk of this node's Node file names it; is the LUN attached to this machine?"
        )
    return failure("error", "Failed", f"{path}: {error.strerror or error}", hint)


def _keys(run: Invocation) -> tuple[bytes, ...]:
    """The cluster's keys, where there are settings that name them and this user may read them."""
    from membership.edge.key_file import read_keys  # noqa: PLC0415
    from membership.edge.secret_files import SecretError, secret_path  # noqa: PLC0415

    if run.config is None and not config_path(run).exists():
        return ()
    settings: Settings = node_settings(run)
    if settings.cluster_key_ref is None:
        return ()
    try:
        return read_keys(secret_path(config_path(run), settings.cluster_key_ref))
    except SecretError as error:
        run.note(f"{error}; tags are not verified")
        return ()


def _data(path: Path, shown: Shown, *, known: bool) -> dict[str, object]:
    assert shown.header is not None, "asked before"
    return {
        "path": str(path),
        "cluster_id": shown.header.cluster_id,
        "disk_id": shown.header.disk_id,
        "slots": [
            {
                "slot": slot.number,
                "node": slot.beat.sender if slot.beat is not None else None,
                "generation": slot.beat.generation if slot.beat is not None else None,
                "seq": slot.beat.seq if slot.beat is not None else None,
                "alive": slot.changed,
                "verified": slot.verified if known else None,
            }
            for slot in shown.slots
        ],
    }


def _rows(shown: Shown, *, known: bool) -> list[Line]:
    assert shown.header is not None, "asked before"
    header = shown.header
    rows = [line(f"heartbeat disk {header.disk_id} of cluster {header.cluster_id}")]
    if not shown.slots:
        return [*rows, line("no slot was written yet: cxm-heartbeatd of a peer writes its own")]
    head: list[Cell] = ["SLOT", "NODE", "GENERATION", "TERM", "ALIVE", "TAG"]
    return rows + table([head, *(_row(slot, known=known) for slot in shown.slots)])


def _row(slot: Slot, *, known: bool) -> list[Cell]:
    alive = Span("yes", "good") if slot.changed else Span("no", "dim")
    tag: Cell = Span("not checked", "dim")
    if known:
        tag = Span("good", "good") if slot.verified else Span("of no key of ours", "bad")
    if slot.beat is None:
        return [str(slot.number), Span("not readable", "bad"), "", "", alive, tag]
    beat = slot.beat
    return [str(slot.number), beat.sender, str(beat.generation), str(beat.term), alive, tag]
