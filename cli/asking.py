"""Where an answer comes from: the daemon on this machine or, where none answers, a look of our own."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from cli import select
from cli.client import SOCKET, Control, NoDaemon, Silent
from cli.envelope import Failure, failure
from cli.narrowing import of_objects
from cli.options import Invocation
from cli.render.units import Moment
from cli.settings import node_settings
from reconciler.status import Status

T = TypeVar("T")


def moment(run: Invocation) -> Moment:
    """Now, in the zone that was asked for."""
    zone = UTC if run.utc else datetime.now().astimezone().tzinfo
    assert zone is not None
    return Moment(epoch_s=time.time(), zone=zone)


def control(run: Invocation) -> Control:
    settings = node_settings(run)
    return Control(Path(settings.run_dir) / SOCKET, run.timeout_s)


def need_daemon(run: Invocation, ask: Callable[[Control], T]) -> T:
    """What only a daemon can do. Raises Failure (exit 1) where none answers."""
    try:
        return ask(control(run))
    except NoDaemon as absent:
        raise no_daemon(absent) from None


def no_daemon(absent: NoDaemon) -> Failure:
    if isinstance(absent, Silent):
        hint = "it is frozen or overloaded (journalctl -u cxmd): ask on another node meanwhile"
        return failure("error", "Silent", str(absent), hint)
    hint = "start it (systemctl start cxmd), or see its log (journalctl -u cxmd)"
    return failure("error", "NoDaemon", str(absent), hint)


def current_status(run: Invocation) -> Status:
    """The daemon's status, or one composed here, which is said on stderr."""
    try:
        status = control(run).status()
    except NoDaemon as absent:
        elsewhere = "; another node's may (cxm status there)" if isinstance(absent, Silent) else ""
        run.note(f"{absent}{elsewhere}; asking Subversion and XenAPI directly")
        from cli import compose  # noqa: PLC0415 - loads the XenAPI client: a third of a second

        status = compose.look(run, node_settings(run)).status
    return of_cluster(run, status)


def of_cluster(run: Invocation, status: Status) -> Status:
    """`status`, unless `--cluster` names another one."""
    if run.cluster is not None and run.cluster not in (status.cluster, status.cluster_id):
        message = f"this node belongs to {status.cluster or 'no cluster yet'}, not to {run.cluster}"
        raise failure("refused", "OtherCluster", message)
    run.cluster_name = status.cluster
    return status


def objects_in(run: Invocation, status: Status, sel: str) -> select.Objects:
    """What `sel` can mean. Labels stand in the tree, not in a status: it is read where they count."""
    if "=" in sel:
        from cli import compose  # noqa: PLC0415 - as above

        return select.objects_of(compose.target_tree(run, node_settings(run)))
    names = [f"node/{node.name}" for node in status.nodes] + [f"vm/{vm.name}" for vm in status.vms]
    if status.proposed is not None:  # A head that waits may add objects.
        proposed = status.proposed
        names += [row.object for rows in (proposed.actions, proposed.blocked) for row in rows]
    return {name: {} for name in names}


def chosen(run: Invocation, status: Status, sel: str) -> frozenset[str] | None:
    """The objects of `sel`; None for everything, whatever there is. Raises Failure (1)."""
    if select.whole(sel):
        return None
    return frozenset(select.selected(sel, objects_in(run, status, sel)))


def narrowed(run: Invocation, status: Status, sel: str) -> Status:
    """`status` with the rows of `sel` alone; its verdict is theirs, where it can be told at all."""
    return of_objects(status, chosen(run, status, sel))
