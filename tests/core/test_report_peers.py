"""What a node tells of leadership and of its peers."""

from __future__ import annotations

import pytest

from membership.clock import Now
from membership.roster import Voters
from membership.view import Health, Peer, PeerState, View, single
from reconciler.report_peers import leadership, peers
from reconciler.status import LeaderState, PeerStatus
from reconciler.takeover import Stage

NOW = Now(mono_s=100.0, epoch_s=0.0)


def view(leader: str | None, *, acts_from_s: float = 0.0, mute: str = "") -> View:
    bert = Peer(
        state=PeerState.SUSPECT,
        channels={"net1": PeerState.DEAD, "disk": PeerState.ALIVE},
        last_heard_s=6.5,
        sees=("anna",),
        notes={"staged": "8-dddddddddddd"},
        problem="version",
    )
    return View(
        me="anna",
        term=4,
        leader=leader,
        lead_until_s=1e9,
        acts_from_s=acts_from_s,
        peers={"bert": bert, "anna": Peer(state=PeerState.ALIVE)},
        engine="builtin",
        voters=Voters(epoch=2, names=("anna", "bert")),
        health=Health(mute=mute),
        reason="" if leader else "no quorum",
    )


@pytest.mark.parametrize(
    ("leader", "stage", "acts_from_s", "state", "waits_s"),
    [
        (None, Stage.IDLE, 0.0, LeaderState.NOBODY, None),
        ("bert", Stage.IDLE, 0.0, LeaderState.FOLLOWING, None),
        ("anna", Stage.GATHER, 106.04, LeaderState.WAITING, 6.0),
        ("anna", Stage.WAIT, 90.0, LeaderState.WAITING, 0.0),
        ("anna", Stage.LOST, 90.0, LeaderState.WAITING, 0.0),
        ("anna", Stage.ACTING, 90.0, LeaderState.ACTING, None),
        ("anna", Stage.IDLE, 106.0, LeaderState.WAITING, 6.0),
        ("anna", Stage.IDLE, 90.0, LeaderState.ACTING, None),
    ],
)
def test_how_far_a_node_is_with_leading(
    leader: str | None,
    stage: Stage,
    acts_from_s: float,
    state: LeaderState,
    waits_s: float | None,
) -> None:
    told = leadership(view(leader, acts_from_s=acts_from_s), stage, NOW)
    assert (told.state, told.waits_s, told.stage) == (state, waits_s, stage.value)
    assert (told.leader, told.term, told.epoch, told.voters) == (leader, 4, 2, ("anna", "bert"))


def test_why_nobody_leads_is_told_and_muteness_before_it() -> None:
    assert leadership(view(None), Stage.IDLE, NOW).reason == "no quorum"
    muted = leadership(view(None, mute="twin"), Stage.IDLE, NOW)
    assert (muted.reason, muted.fault) == ("no quorum", "twin")


def test_what_keeps_a_leader_from_acting_is_told_by_the_leader_alone() -> None:
    why = "the pool did not answer"
    assert leadership(view("anna"), Stage.CLAIM, NOW, why).reason == why
    assert leadership(view("bert"), Stage.IDLE, NOW, why).reason == ""


def test_a_daemon_that_is_alone_acts_and_has_no_peers() -> None:
    told = leadership(single("here", 1), Stage.IDLE, NOW)
    assert (told.state, told.stage) == (LeaderState.ACTING, "")
    assert peers(single("here", 1)) == ()


def test_each_peer_is_told_of_by_name() -> None:
    anna, bert = peers(view("anna"))
    assert anna == PeerStatus(name="anna", state="alive", channels={})
    assert bert == PeerStatus(
        name="bert",
        state="suspect",
        channels={"net1": "dead", "disk": "alive"},
        last_heard_s=6.5,
        sees=("anna",),
        staged="8-dddddddddddd",
        problem="version",
    )
