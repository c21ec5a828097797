"""The canned cluster as one of three peers, well and in each kind of trouble."""

from __future__ import annotations

from msgspec.structs import replace

from reconciler.status import ExceptionStatus, Leadership, LeaderState, PeerStatus, Status
from tests.cli import canned

NAMES = ("xen1", "xen2", "xen3")


def peer(name: str, state: str = "alive", **more: object) -> PeerStatus:
    base = PeerStatus(
        name=name,
        state=state,
        channels=dict.fromkeys(("net1", "net2", "disk"), state),
        last_heard_s=0.0 if state == "alive" else 12.0,
        sees=tuple(other for other in NAMES if other != name),
        staged="145-35c23c77710b",
    )
    return replace(base, **more)


LEADERSHIP = Leadership(
    engine="builtin",
    state=LeaderState.FOLLOWING,
    leader="xen2",
    term=7,
    stage="idle",
    voters=NAMES,
    epoch=1,
)


def status(leadership: Leadership = LEADERSHIP, *peers: PeerStatus, **more: object) -> Status:
    """As xen1 tells it. Without `peers` all three are well."""
    told = peers or tuple(peer(name) for name in NAMES)
    return replace(canned.CALM, leadership=leadership, peers=told, **more)


def led(**more: object) -> Leadership:
    return replace(LEADERSHIP, **more)


WELL = status()
WAITING = status(led(state=LeaderState.WAITING, leader="xen1", waits_s=4.2))
TAKING_OVER = status(led(state=LeaderState.WAITING, leader="xen1", waits_s=4.2, stage="revoke"))
HANDING_OVER = status(
    led(
        state=LeaderState.WAITING,
        leader="xen1",
        stage="gather",
        reason="the pool was not observed since this node was elected",
    )
)
NOBODY = status(
    led(state=LeaderState.NOBODY, leader=None, reason="xen1 hears 1 of 3 voters"),
    peer("xen1", sees=()),
    peer("xen2", "dead"),
    peer("xen3", "suspect"),
)
UNSEEN = replace(
    canned.CALM,
    leadership=led(
        state=LeaderState.NOBODY, leader=None, reason="cxm-heartbeatd of this node does not answer"
    ),
)
TROUBLED = status(
    LEADERSHIP,
    peer("xen1", channels={"net1": "alive", "net2": "alive", "disk": "unknown"}),
    peer("xen2", channels={"net1": "alive", "net2": "dead", "disk": "alive"}, sees=("xen3",)),
    peer("xen3", problem="twin: two daemons send in its name"),
    peer("xen4", "blind", staged="144-77", sees=()),
    peer("xen5", "unknown", last_heard_s=None, staged="", sees=()),
    peer("xen6", "left", sees=()),
)
MUTE = status(led(fault="another daemon sends in the name of xen1"))
PAIR = status(
    led(voters=("xen1", "xen2"), disk_votes=True),
    peer("xen1", sees=("xen2",)),
    peer("xen2", sees=("xen1",)),
)
VOTELESS = replace(PAIR, leadership=led(voters=("xen1", "xen2")))
HOLD = ExceptionStatus(kind="hold", object="H-xen1-5f", owner="bob", reason="UPS on battery")
HELD = replace(WELL, armed=(), exceptions=(HOLD,))
"""Held by a person: nothing else is wrong."""
