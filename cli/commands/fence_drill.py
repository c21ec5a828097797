"""`cxm fence-drill`."""

from __future__ import annotations

import time

import click

from cli import asking, granting, pledging
from cli.client import Control
from cli.envelope import Finding, failure
from cli.options import cxm_command, invocation
from cli.render.recovery import device_lines, devices_data
from cli.waiting import Watcher
from membership.proofs import Tie
from reconciler.messages import AskReadDevices
from reconciler.status import DeviceStatus, Status

WAIT_S = 45.0


@cxm_command("fence-drill")
@click.argument("node", required=False)
def command(node: str | None) -> Finding:
    """Read the fence devices: do they answer, and for whom?

    Switches nothing. Exit 0: all can prove a death; 4: one is another server's, and both names are
    told; 5: one does not answer, or is not bound to its node; 8: not in time.
    """
    run = invocation()
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
