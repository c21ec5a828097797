"""What a node tells of its peers and of leadership: the view, in the words of `Status`."""

from __future__ import annotations

from membership.clock import Now
from membership.view import View
from reconciler.mustering import STAGED
from reconciler.status import Leadership, LeaderState, PeerStatus
from reconciler.takeover import Stage


def leadership(view: View, stage: Stage, now: Now, hindrance: str = "") -> Leadership:
    """Who leads, and how far this node is with it if it does; `hindrance` keeps it from acting."""
    state, waits_s = _state(view, stage, now)
    return Leadership(
        engine=view.engine,
        state=state,
        leader=view.leader,
        term=view.term,
        waits_s=waits_s,
        stage="" if view.alone else stage.value,
        reason=view.reason or (hindrance if view.leader == view.me else ""),
        fault=view.health.mute,
        voters=view.voters.names,
        disk_votes=view.voters.disk,
        epoch=view.voters.epoch,
    )


def _state(view: View, stage: Stage, now: Now) -> tuple[LeaderState, float | None]:
    if view.leader is None:
        return LeaderState.NOBODY, None
    if view.leader != view.me:
        return LeaderState.FOLLOWING, None
    if view.alone or stage is Stage.ACTING:
        return LeaderState.ACTING, None
    left_s = max(0.0, view.acts_from_s - now.mono_s)
    if stage is Stage.IDLE and left_s == 0.0:
        # Where cxm only observes there is nothing to take over.
        return LeaderState.ACTING, None
    return LeaderState.WAITING, round(left_s, 1)


def peers(view: View) -> tuple[PeerStatus, ...]:
    """Every peer of the view; none where one daemon is the whole cluster."""
    if view.alone:
        return ()
    return tuple(
        PeerStatus(
            name=name,
            state=peer.state.value,
            channels={channel: state.value for channel, state in peer.channels.items()},
            last_heard_s=peer.last_heard_s,
            sees=peer.sees,
            staged=peer.notes.get(STAGED, ""),
            problem=peer.problem,
        )
        for name, peer in sorted(view.peers.items())
    )
