"""`cxm fence-drill`."""

from __future__ import annotations

import time

import click

from cli import asking, granting, live_drill, pledging
from cli.client import Control
from cli.envelope import Finding, failure
from cli.options import Invocation, cxm_command, invocation
from cli.render.recovery import device_lines, devices_data
from cli.waiting import Watcher
from membership.proofs import Tie
from reconciler.messages import AskReadDevices
from reconciler.status import DeviceStatus, Status

WAIT_S = 45.0


@cxm_command("fence-drill")
@click.argument("node", required=False)
@click.option("--live", is_flag=True, help="Switch the node off and on, to see who falls silent.")
@click.option("--reason", help="Why it is switched off; kept with the drill.")
@click.option("--device", help="Try the devices that are switched with this one.")
@click.option("--yes", is_flag=True, help="Do not ask for the node's name again.")
def command(
    node: str | None, live: bool, reason: str | None, device: str | None, yes: bool
) -> Finding:
    """Read the fence devices: do they answer, and for whom?

    Switches nothing without --live. Exit 0: all can prove a death; 4: one is another server's, and both
    names are told; 5: one does not answer, or is not bound to its node; 8: not in time.

    With --live a node in maintenance, on which nothing runs, is switched off and on again: devices that do
    not say which server they switch are bound by that. Exit 0: they are bound; 4: refused, or another one
    fell silent; 5: nothing is bound; 8: not over in time, and it goes on.
    """
    run = invocation()
    if live:
        if node is None or reason is None:
            raise click.UsageError("--live needs NODE and --reason")
        return live_drill.tried(run, granting.node_named(run, node), reason, device or "", yes=yes)
    if reason or device or yes:
        raise click.UsageError("--reason, --device and --yes go with --live")
    return _read(run, node)


def _read(run: Invocation, node: str | None) -> Finding:
    names = () if node is None else (granting.node_named(run, node),)
    before = {row.key: row.trial for row in pledging.current(run).devices}
    ask = AskReadDevices(nodes=names, by="")
    asking.need_daemon(run, lambda control: control.post("read-devices", ask))
    deadline_s = time.monotonic() + (run.timeout_s or WAIT_S)
    watch = Watcher(run, Control(asking.control(run).path), deadline_s)

    def chosen(status: Status) -> tuple[DeviceStatus, ...]:
        return tuple(row for row in status.devices if not names or row.node in names)

    def left(status: Status) -> list[DeviceStatus]:
        rows = chosen(status)
        return [row for row in rows if not row.by_hand and row.trial == before.get(row.key)]

    status = watch.until(
        lambda status: not left(status),
        lambda status: ", ".join(row.device for row in left(status)),
    )
    if status is None:
        message = "not all fence devices were read in time"
        raise failure("timeout", "Timeout", message, "cxm status --bounds shows what is known")
    rows = chosen(status)
    data = {"devices": devices_data(rows)}
    return Finding(_verdict(rows), data, device_lines(rows), status.cluster)


def _verdict(rows: tuple[DeviceStatus, ...]) -> str:
    if any(row.tie is Tie.OTHER for row in rows):
        return "refused"
    return "converged" if rows and all(row.usable for row in rows) else "partial"
