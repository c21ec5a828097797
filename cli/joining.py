"""From a one-time code to a peer that can be started: what the cluster shares, put into place."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from cli.envelope import failure
from cli.founding import Steps, node_yaml, own_name
from cli.node_folder import NodeFolder
from cli.options import Invocation
from membership.edge import invitation
from membership.edge.bundle import Bundle, BundleError, unpacked

PEER_PORT = 9851


@dataclass(frozen=True, slots=True)
class Own:
    """What a joining node has for itself. `name` None: the machine's."""

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
    bundle = _received(peer, code)
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
    name = own.name or own_name()
    folder.write_settings(
        node_yaml({"node": name, **settings, "stateDir": own.state_dir, "runDir": own.run_dir})
    )
    steps.did(f"settings in {folder.config}: this node is {name}")


def _received(peer: str, code: str) -> Bundle:
    host, port = peer_place(peer)
    try:
        return unpacked(asyncio.run(invitation.accept(host, port, code)))
    except invitation.JoinError as error:
        hint = "a code is good for ten minutes and once; cxm node add NAME gives a new one"
        raise failure("refused", "NotJoined", f"{peer}: {error}", hint) from None
    except BundleError as error:
        raise failure("error", "Protocol", f"{peer}: {error}") from None


def peer_place(peer: str) -> tuple[str, int]:
    """ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT."""
    host, colon, port = peer.rpartition(":")
    if not colon or (":" in host and not host.startswith("[")):
        return peer.strip("[]"), PEER_PORT
    if not port.isdecimal():
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
