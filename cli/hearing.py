"""What this node knows of its peers: from `cxmd`, or from the neighbour that hears them for it."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import msgspec
from msgspec.structs import replace

from cli import asking
from cli.client import NoDaemon, Silent
from cli.envelope import Failure, Fault, Finding, failure
from cli.options import Invocation
from cli.render.peers import unseen
from cli.settings import node_settings
from membership.clock import Now
from membership.view import SOCKET, View
from reconciler.report_peers import leadership, peers
from reconciler.status import Condition, LeaderState, Status, Verdict
from reconciler.takeover import Stage
from schema.settings import Settings

_WITHIN_S = 3.0
_LONGEST_VIEW = 1024 * 1024
_HINT = "start it (systemctl start cxm-heartbeatd), or see its log (journalctl -u cxm-heartbeatd)"


def of_peers(run: Invocation) -> Status:
    """A status that tells of leadership and peers. Raises Failure (6) where neither daemon can."""
    try:
        status = asking.of_cluster(run, asking.control(run).status())
    except NoDaemon as absent:
        return _by_the_neighbour(run, absent)
    return _seeing(status)


def _seeing(status: Status) -> Status:
    """Raises Failure (6) where it tells of no peer, though there may be some."""
    if not unseen(status):
        return status
    why = status.leadership.reason or "cxm-heartbeatd of this node tells nothing"
    fault = Fault("NoView", f"nothing is known of any peer: {why}", _HINT)
    raise Failure(Finding("unknown", cluster=status.cluster, errors=(fault,)))


def _by_the_neighbour(run: Invocation, absent: NoDaemon) -> Status:
    settings = node_settings(run)
    if run.cluster not in (None, settings.cluster_id):
        message = f"no cxmd answers that would know this cluster as {run.cluster}"
        raise failure("unknown", "OtherCluster", message, f"its id is {settings.cluster_id}")
    view = _view(settings, absent)
    run.note(f"{absent}; this is how cxm-heartbeatd sees it")
    return _seeing(_told_by(view, settings.cluster_id))


def _view(settings: Settings, absent: NoDaemon) -> View:
    """The first line that the heartbeats' own socket gives. Raises Failure (6)."""
    path = Path(settings.run_dir) / SOCKET
    row = b""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.settimeout(_WITHIN_S)
            link.connect(str(path))
            with link.makefile("rb") as rows:
                row = rows.readline(_LONGEST_VIEW)
        return msgspec.json.decode(row, type=View)
    except (OSError, msgspec.DecodeError):
        raise _neither(absent, settings) from None


def _neither(absent: NoDaemon, settings: Settings) -> Failure:
    one = settings.engine.kind == "single"
    if isinstance(absent, Silent):
        hint = "cxmd is frozen or overloaded (journalctl -u cxmd): ask on another node meanwhile"
        return failure("unknown", "Silent", str(absent), hint)
    names = "cxmd" if one else "cxmd cxm-heartbeatd"
    hint = f"start it (systemctl start {names}), or see its log (journalctl -u cxmd)"
    rest = "" if one else ", nor does cxm-heartbeatd"
    return failure("unknown", "NoDaemon", f"{absent}{rest}", hint)


def _told_by(view: View, identity: str) -> Status:
    """Times of a view are CLOCK_BOOTTIME. Whoever is named leader does not act without its cxmd."""
    now = Now(mono_s=time.clock_gettime(time.CLOCK_BOOTTIME), epoch_s=time.time())
    led = leadership(view, Stage.IDLE, now)
    if view.leader == view.me:
        led = replace(led, state=LeaderState.WAITING, stage="without its cxmd", waits_s=None)
    return Status(
        cluster=None,
        cluster_id=identity,
        node=view.me,
        version="",
        mode=None,
        verdict=Verdict.UNKNOWN,
        condition=Condition.UNKNOWN,
        leader=view.leader,
        term=view.term,
        leadership=led,
        peers=peers(view),
    )
