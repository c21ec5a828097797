"""From a one-time code to a peer that can be started: what the cluster shares, put into place."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from cli import repository
from cli.envelope import failure
from cli.founding import Steps, node_yaml
from cli.node_folder import NodeFolder
from cli.options import Invocation
from cli.repository import LOCAL
from membership.edge import invitation
from membership.edge.bundle import Bundle, BundleError, unpacked
from schema.forms import FORMS, LAST_PORT
from schema.writing import name_to_label

PEER_PORT = 9851


@dataclass(frozen=True, slots=True)
class Own:
    """What a joining node has for itself. `name` None: the code's."""

    name: str | None
    state_dir: str
    run_dir: str


def code_of(run: Invocation, given: str | None) -> str:
    """The code, from the command line, a question or standard input. Raises Failure (4)."""
    if given is not None:
        return given
    if run.may_ask:
        return str(click.prompt("One-time code", hide_input=True, err=True))
    code = sys.stdin.readline().strip()
    if not code:
        hint = "cxm node add NAME on a member gives one; give it by --code or on standard input"
        raise failure("refused", "NoCode", "a one-time code is needed", hint)
    return code


def join(steps: Steps, folder: NodeFolder, peer: str, code: str, own: Own) -> None:
    """Ask `peer`, and write what it gives. Raises Failure; nothing that is there is written over."""
    if folder.settings() is not None:
        message = f"{folder.config} is there already: this machine belongs to a cluster"
        raise failure("refused", "Settled", message, "move it away first, or give another --dir")
    given = _received(peer, code, _checked(own.name))
    bundle = _unpacked(peer, given)
    _reachable_here(peer, bundle)
    steps.did(f"{peer} is the peer that gave the code, and took it")
    for name, secret in bundle.secrets.items():
        if folder.read_secret(name) not in (None, secret):
            message = f"{folder.secret(name)} holds another secret than the cluster's"
            raise failure("refused", "OtherSecret", message, "move it away first")
        folder.write_secret(name, secret)
        steps.did(f"secret {name} in {folder.secret(name).parent}")
    settings = dict(bundle.settings)
    for number, (path, text) in enumerate(sorted(bundle.files.items()), 1):
        kept = folder.write_file(f"authority-{number}.pem", f"{text}\n")
        settings = _renamed(settings, path, str(kept))
        steps.did(f"certificates that are trusted in {kept}")
    folder.write_settings(
        node_yaml(
            {"node": given.name, **settings, "stateDir": own.state_dir, "runDir": own.run_dir}
        )
    )
    steps.did(f"settings in {folder.config}: this node is {given.name}")


def _checked(name: str | None) -> str:
    """The name that was asked for, "" where none was; wrong ones spend no code."""
    if name and name_to_label(name) != name:
        raise click.UsageError(f"--name {name}: {FORMS['label'].example}")
    return name or ""


def _received(peer: str, code: str, name: str) -> invitation.Joined:
    host, port = peer_place(peer)
    try:
        return asyncio.run(invitation.accept(host, port, code, name))
    except invitation.Unreachable as error:
        message = f"nobody answers at {host}, TCP port {port}: {error}"
        hint = f"is cxmd running there, and does a firewall let this machine reach port {port}?"
        raise failure("unknown", "Unreachable", message, hint) from None
    except invitation.OfAnother as other:
        hint = f"leave --name out, or have a code for {name}: cxm node add {name} on a member"
        raise failure("refused", "OtherName", f"{peer}: {other}", hint) from None
    except invitation.JoinError as error:
        hint = "a code is good for ten minutes and once; cxm node add NAME --again gives a new one"
        raise failure("refused", "NotJoined", f"{peer}: {error}", hint) from None


def _unpacked(peer: str, given: invitation.Joined) -> Bundle:
    try:
        return unpacked(given.bundle)
    except BundleError as error:
        raise failure("error", "Protocol", f"{peer}: {error}") from None


def _reachable_here(peer: str, bundle: Bundle) -> None:
    """A repository in a folder is on one machine alone. Raises Failure (4) where that is another one."""
    url = str(bundle.settings.get("source", {}).get("url", ""))
    if not url.startswith(LOCAL) or repository.here(url):
        return
    message = f"the tree is in {url}, a folder of {peer}, which this machine has not"
    hint = (
        "serve it (svn:// or https://), write that as source.url in that peer's node.yaml, and restart"
        " its cxmd; then cxm node add NAME --again there"
    )
    raise failure("refused", "SourceElsewhere", message, hint)


def peer_place(peer: str) -> tuple[str, int]:
    """ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT."""
    host, colon, port = peer.rpartition(":")
    if not colon or (":" in host and not host.startswith("[")):
        return peer.strip("[]"), PEER_PORT
    if not port.isdecimal() or not 0 < int(port) <= LAST_PORT:
        raise click.UsageError(f"{peer}: {port} is no port")
    return host.strip("[]"), int(port)


def _renamed(settings: Mapping[str, Any], path: str, kept: str) -> dict[str, Any]:
    """`settings` with another path in every `caFile` that names this one."""
    return {
        key: _renamed(value, path, kept)
        if isinstance(value, dict)
        else (kept if key == "caFile" and value == path else value)
        for key, value in settings.items()
    }
