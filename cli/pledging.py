"""What a person has to write again before a server is switched off, or sworn to be off; and the asking
of what rests on fence devices, which are read first."""

from __future__ import annotations

import time

import click
import msgspec

from cli import asking
from cli.envelope import Failure, failure
from cli.options import Invocation
from cli.render.recovery import foreseen_lines
from reconciler.messages import READING, Reply
from reconciler.status import NodeStatus, Status
from reconciler.why import Why

_AGAIN_S = 1.0
_READ_WITHIN_S = 45.0
"""Agents that do not answer are given up by then."""


def asked(run: Invocation, verb: str, ask: msgspec.Struct) -> Reply:
    """The answer, asked for again while devices are being read for it. Raises Failure."""
    until_s = time.monotonic() + (run.timeout_s or _READ_WITHIN_S)
    said = False
    while True:
        try:
            return asking.need_daemon(run, lambda control: control.post(verb, ask))
        except Failure as stop:
            fault = stop.finding.errors[0]
            if fault.code != READING or time.monotonic() > until_s:
                raise
            if not said:
                run.note(fault.message)
            said = True
        time.sleep(_AGAIN_S)


def foretold(run: Invocation, node: str, *, dies: bool = False) -> None:
    """Say what would become of the VMs of this node. Raises Failure (1) without a daemon."""
    why = asking.need_daemon(run, lambda control: control.why(f"node/{node}", Why))
    for row in foreseen_lines(node, why.recovery, dies=dies):
        run.note(*row)


def retyped(run: Invocation, node: str, what: str, *, yes: bool) -> None:
    """Have the name (or several, as they are told) written again. Raises Failure (4) where that is
    refused, or nobody is there."""
    if yes:
        return
    if not run.may_ask:
        message = f"nobody is there to confirm that {node} {what}"
        raise failure("refused", "NotConfirmed", message, "say --yes where you are sure")
    said = click.prompt(f"{node} {what}. Write {_as(node)} to go on", err=True)
    if said.split() != node.split():
        raise failure("refused", "NotConfirmed", f'"{said}" is not "{node}": nothing is done')


def _as(names: str) -> str:
    return "its name" if len(names.split()) == 1 else "their names"


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
