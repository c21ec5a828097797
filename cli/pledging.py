"""What a person has to write again before a server is switched off, or sworn to be off."""

from __future__ import annotations

import click

from cli import asking
from cli.envelope import failure
from cli.options import Invocation
from reconciler.status import NodeStatus, Status


def retyped(run: Invocation, node: str, what: str, *, yes: bool) -> None:
    """Have the name written again. Raises Failure (4) where that is refused, or nobody is there."""
    if yes:
        return
    if not run.may_ask:
        message = f"nobody is there to confirm that {node} {what}"
        raise failure("refused", "NotConfirmed", message, "say --yes where you are sure")
    said = click.prompt(f"{node} {what}. Write its name to go on", err=True)
    if said.strip() != node:
        raise failure("refused", "NotConfirmed", f'"{said}" is not "{node}": nothing is done')


def current(run: Invocation) -> Status:
    return asking.of_cluster(run, asking.need_daemon(run, lambda control: control.status()))


def node_in(status: Status, name: str) -> NodeStatus:
    """Raises Failure (1) where it is gone from tree or pool."""
    found = next((node for node in status.nodes if node.name == name), None)
    if found is None:
        raise failure(
            "error", "NoSuchObject", f"node/{name} is not in the tree, or not in the pool"
        )
    return found
