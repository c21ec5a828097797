"""`cxm node`: which nodes are peers, one commit at a time."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import click
from msgspec import Struct

from cli import asking, founding, peering, splicing
from cli.cluster_key import KEY, new_key
from cli.envelope import Finding, failure
from cli.node_folder import NodeFolder
from cli.options import GLOBAL, CxmCommand, Invocation, invocation
from cli.render.text import Line, line
from cli.repository import LOCAL
from cli.settings import config_path, node_settings
from membership.view import PeerState
from reconciler.messages import AskInvite
from reconciler.status import PeerStatus, Status
from schema.model import Node
from schema.settings import Settings

_SINGLE = "single"
_HEARD = (PeerState.ALIVE, PeerState.LEFT)


class Invitation(Struct, frozen=True, kw_only=True):
    """A one-time code, and for how many seconds it is good."""

    code: str
    expires_s: float


@click.group(
    "node",
    params=list(GLOBAL),
    subcommand_metavar="add|remove|replace NAME",
    no_args_is_help=False,
)
def command() -> None:
    """Which nodes are peers: add one, remove one, replace its server.

    Each is one commit of one Node file, from the working copy in --wc. Members of the cluster change one
    at a time.
    """


def _verb(name: str) -> Callable[[Callable[..., Finding]], click.Command]:
    """Declare a verb; its envelope's format is `cxm.node.NAME`."""

    def declare(function: Callable[..., Finding]) -> click.Command:
        made = click.command(f"node.{name}", cls=CxmCommand)(function)
        made = _WC(_MESSAGE(_DRY(made)))
        command.add_command(made, name)
        return made

    return declare


_WC = click.option(
    "--wc", "folder", type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path(), metavar="DIR", help="Working copy of the tree.  [default: here]",
)  # fmt: skip
_MESSAGE = click.option("-m", "--message", help="What the log will say.")
_DRY = click.option("--dry-run", is_flag=True, help="Show the change, commit nothing.")


# --- add ------------------------------------------------------------------------------------------


@_verb("add")
@click.argument("name")
@click.option(
    "--address", "addresses", multiple=True, metavar="ADDRESS[:PORT]",
    help="Where it is heard; one for each network.",
)  # fmt: skip
@click.option("--disk", metavar="PATH", help="The shared disk, as it sees it.")
@click.option("--witness", is_flag=True, help="It is no server: write its Node file.")
@click.option("--again", is_flag=True, help="It is a peer already: only give another code.")
@click.option(
    "--move", is_flag=True, help="It is a peer already: be heard where this says, no code."
)
def _add(
    name: str,
    addresses: tuple[str, ...],
    disk: str | None,
    witness: bool,
    again: bool,
    move: bool,
    folder: Path,
    message: str | None,
    dry_run: bool,
) -> Finding:
    """Make a node a peer, and get the code with which its machine joins.

    NAME is a node of the tree or, with --witness, a new one: a peer without VMs. A node that was the
    only one makes itself a peer first: its settings change from `single` to `builtin`. The code is for
    NAME alone. A node that is a peer already is left as it is, but for --again and --move. What this did
    is undone by `cxm node remove NAME`.
    """
    run = invocation()
    settings = node_settings(run)
    tree = peering.Tree(run, folder)
    itself = name == settings.node
    if not itself:
        _member(settings, tree)
    place = peering.Place(addresses, disk)
    edit = _edit(tree, name, place, _Way(witness, again, move, itself))
    if dry_run:
        return _shown(tree, edit) if edit is not None else _is_peer(name)
    if edit is not None:
        tree.would_be(edit)
    # The code before the commit: without one nothing is to be committed.
    found = None if itself or move else _invitation(run, settings, name)
    rows, revision = [], None
    if edit is not None:
        text = message or (f"{name} is heard elsewhere" if move else f"{name} becomes a peer")
        revision = _committed(run, tree, edit, text)
        rows.append(line(f"committed r{revision}: {text}"))
    data: dict[str, object] = {"node": name, "committed": revision}
    if move:
        return Finding("converged", data, rows or [line(f"{name} is heard there already")])
    if found is None:
        return Finding("converged", data, [*rows, *_own_engine(run, settings)])
    told, invited = _invited(found, settings, tree, name)
    return Finding("converged", {**data, **told}, [*rows, *invited])


class _Way(NamedTuple):
    """How a node is to become a peer. `itself`: it is the one that the command runs on."""

    witness: bool
    again: bool
    move: bool
    itself: bool


def _edit(tree: peering.Tree, name: str, place: peering.Place, way: _Way) -> peering.Edit | None:
    """What has to be committed; None where the node is a peer already, and stays where it is."""
    if way.again and (way.move or place.addresses or place.disk):
        raise click.UsageError("--again gives another code, and changes nothing")
    known = tree.node(name)
    # Without an address it is a peer by default alone, which nobody has heard yet.
    named = known is not None and peering.is_peer(known)
    if known is not None and named and (known.heartbeat.addresses or way.again or way.move):
        return _changed(tree, known, place, way)
    if way.again or way.move:
        raise failure(
            "refused", "NoPeer", f"{name} is no peer of the tree yet", "leave that option out"
        )
    if not place.addresses:
        raise click.UsageError("give --address for each network that it is heard on")
    if way.witness:
        return peering.witness(tree, name, place)
    return peering.added(tree, name, place)


def _changed(
    tree: peering.Tree, node: Node, place: peering.Place, way: _Way
) -> peering.Edit | None:
    """Raises Failure (4) where a peer would be changed, or asked in again, though nobody said so."""
    stays = peering.stays(node, place)
    if way.move:
        return None if stays else peering.added(tree, node.name, place)
    if way.again or (way.itself and stays):
        return None
    heard = ", ".join(filter(None, (*node.heartbeat.addresses, node.heartbeat.disk)))
    hint = "another code for it: --again; to be heard elsewhere: --move with what changes"
    raise failure("refused", "IsPeer", f"{node.name} is a peer already, heard at {heard}", hint)


def _is_peer(name: str) -> Finding:
    return Finding("converged", {"node": name}, [line(f"{name} is a peer in the tree already")])


def _member(settings: Settings, tree: peering.Tree) -> None:
    """Only a peer can ask others in."""
    own = settings.node
    if settings.engine.kind == _SINGLE or not peering.is_peer(tree.node(own)):
        message = f"this node, {own}, is no peer yet, so there is nobody to join"
        hint = f"first: cxm node add {own} --address ADDRESS"
        raise failure("refused", "NoPeer", message, hint)


def _own_engine(run: Invocation, settings: Settings) -> list[Line]:
    """node.yaml from `single` to `builtin`, and what has to be started anew."""
    path = config_path(run)
    folder = NodeFolder(path.parent, path.name)
    if settings.engine.kind != _SINGLE:
        return [line(f"{path} says {settings.engine.kind} already")]
    key = settings.cluster_key_ref or KEY
    if folder.read_secret(key) is None:
        folder.write_secret(key, new_key())
    changes = {"engine": "{kind: builtin}", "clusterKeyRef": key}
    text = path.read_text(encoding="utf-8")
    folder.write_settings(splicing.with_fields(str(path), text, changes))
    commands = [
        *founding.starting(folder, ("cxm-heartbeatd",)),
        *founding.starting(folder, ("cxmd",), "restart"),
    ]
    return [
        line(f"{path}: engine {{kind: builtin}}"),
        line("Now start anew, as soon as cxmd has the revision (cxm wait all):"),
        *(line(f"  {row}") for row in commands),
    ]


def _invitation(run: Invocation, settings: Settings, name: str) -> Invitation:
    if settings.source.url.startswith(LOCAL):
        run.note(
            f"{settings.source.url} is a folder of this machine: only a node on this machine can join."
            " For others serve it (svn:// or https://) and write that as source.url in node.yaml"
        )
    ask = AskInvite(name=name)
    return asking.need_daemon(run, lambda control: control.ask_for("invite", ask, Invitation))


def _invited(
    found: Invitation, settings: Settings, tree: peering.Tree, name: str
) -> tuple[dict[str, object], list[Line]]:
    """The command for the new machine: it calls this node, where it listens for its peers."""
    own = tree.desired.nodes[settings.node].heartbeat.addresses
    host = settings.listen.peer.address or (_host_of(own[0]) if own else settings.node)
    bare = f"[{host}]" if ":" in host else host
    join = f"cxm init --join {bare}:{settings.listen.peer.port} --name {name} --code {found.code}"
    minutes = f"{found.expires_s / 60:.0f} minutes"
    rows = [line(f"On the machine of {name}, within {minutes} and once:"), line(f"  {join}")]
    return {"join": join, "code": found.code, "expires_s": found.expires_s}, rows


def _host_of(endpoint: str) -> str:
    """An address without its port."""
    return re.sub(r"(?<=[^:]):\d+$|(?<=\]):\d+$", "", endpoint).strip("[]")


# --- remove, replace ------------------------------------------------------------------------------


@_verb("remove")
@click.argument("name")
def _remove(name: str, folder: Path, message: str | None, dry_run: bool) -> Finding:
    """Make a node no peer any more; its VMs stay where they are.

    Refused for the leader, for the node that this runs on, and for a node that may be dead while VMs are
    on it: they are to be recovered first. It undoes `cxm node add`, too.
    """
    run = invocation()
    settings = node_settings(run)
    tree = peering.Tree(run, folder)
    edit = peering.removed(tree, name)
    if not peering.is_peer(tree.node(name)):
        return Finding("converged", {"node": name}, [line(f"{name} is no peer of the tree")])
    if name == settings.node:
        hint = "run this command on another peer"
        raise failure("refused", "Itself", f"{name} is the node that this runs on", hint)
    status = asking.need_daemon(run, lambda control: control.status())
    notes = _dispensable(asking.of_cluster(run, status), name)
    if dry_run:
        return _shown(tree, edit)
    text = message or f"{name} is no peer any more"
    revision = _committed(run, tree, edit, text)
    rows = [
        line(f"committed r{revision}: {text}"),
        *(line(note) for note in notes),
        line(f"The voters change by one, then {name} has no voice: cxm members shows it."),
        line(f"On the machine of {name}: systemctl disable --now cxmd cxm-heartbeatd"),
        line("It still knows the cluster key: cxm secret set on each peer changes that."),
    ]
    return Finding("converged", {"node": name, "committed": revision}, rows, status.cluster)


def _dispensable(status: Status, name: str) -> list[str]:
    """What is to be known of it. Raises Failure (4) where something still hangs on the peer."""
    if status.leadership.leader == name:
        hint = "cxm leader --hand-over, then again"
        raise failure("refused", "Leads", f"{name} leads", hint)
    there = [vm.name for vm in status.vms if vm.node == name]
    peer = next((peer for peer in status.peers if peer.name == name), None)
    if not there or (peer is not None and peer.state in _HEARD):
        return []
    names = ", ".join(there[:3]) + (f" and {len(there) - 3} more" if len(there) > 3 else "")
    if peer is not None and peer.state == PeerState.BLIND:
        return [f"Its daemons are silent, its server answers: {names} run on there."]
    if peer is not None and _never_joined(status, peer):
        return [f"It never joined: {names} stay as they are."]
    message = f"{name} is not heard, and {names} would have to be recovered from it"
    raise failure("refused", "ToRecover", message, "recover them first (cxm status)")


def _never_joined(status: Status, peer: PeerStatus) -> bool:
    """Who joined and was heard has a vote, until the tree drops it: where that is told, it tells."""
    voters = status.leadership.voters
    return peer.last_heard_s is None and bool(voters) and peer.name not in voters


@_verb("replace")
@click.argument("name")
@click.option("--uuid", required=True, help="XenAPI's uuid of the new server.")
def _replace(name: str, uuid: str, folder: Path, message: str | None, dry_run: bool) -> Finding:
    """Say that a node is another server now: reinstalled, or new hardware."""
    run = invocation()
    tree = peering.Tree(run, folder)
    if not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", uuid):
        raise click.UsageError(f"{uuid} is no uuid")
    edit = peering.replaced(tree, name, uuid)
    if dry_run:
        return _shown(tree, edit)
    text = f"{message or f'{name} is another server now'}\n\nCxm-Accept: uuid=node/{name}"
    revision = _committed(run, tree, edit, text)
    rows = [line(f"committed r{revision}: node/{name} is the server {uuid}")]
    if peering.is_peer(tree.node(name)):
        rows.append(line(f"Its daemons are new, too: cxm node add {name} --again gives the code."))
    return Finding("converged", {"node": name, "uuid": uuid, "committed": revision}, rows)


def _shown(tree: peering.Tree, edit: peering.Edit) -> Finding:
    """What would be committed, once it has proved valid."""
    tree.would_be(edit)
    rows = tree.shown(edit)
    return Finding("differs", {"file": edit.path, "diff": rows}, [line(row) for row in rows])


def _committed(run: Invocation, tree: peering.Tree, edit: peering.Edit, text: str) -> int | None:
    tree.would_be(edit)
    for row in tree.shown(edit):
        run.note(row)
    return tree.commit(edit, text)
