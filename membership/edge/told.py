"""What the log tells of a view: what people would want to be woken for, and each of it once."""

from __future__ import annotations

from membership.edge import log
from membership.view import Peer, PeerState, View


def tell_changes(before: View | None, after: View) -> None:
    """Leaders, peers, and this node's own health, where they are not as they were."""
    if before is None or (before.leader, before.term) != (after.leader, after.term):
        if after.leader is not None:
            log.info("leader", leader=after.leader, term=after.term)
        elif before is not None:
            log.warning("no-leader", term=after.term, message=after.reason)
    for name, peer in after.peers.items():
        if name != after.me:
            _tell_peer(name, before.peers.get(name) if before is not None else None, peer)
    if after.health.mute and (before is None or before.health.mute != after.health.mute):
        log.error("mute", message=after.health.mute)
    if after.health.disk != (before.health.disk if before is not None else ""):
        if after.health.disk:
            log.warning("disk-lost", message=after.health.disk)
        else:
            log.info("disk-back")


def _tell_peer(name: str, before: Peer | None, after: Peer) -> None:
    was = before.state if before is not None else PeerState.UNKNOWN
    if after.state != was:
        say = log.info if after.state is PeerState.ALIVE else log.warning
        say("peer", peer=name, state=after.state, was=was)
    for channel, state in after.channels.items():
        known = before.channels.get(channel, PeerState.UNKNOWN) if before is not None else state
        # Where the whole peer changed, its channels are no news.
        if state != known and after.state == was:
            say = log.info if state is PeerState.ALIVE else log.warning
            say("channel", peer=name, channel=channel, state=state, was=known)
    if after.problem and (before is None or before.problem != after.problem):
        log.warning("peer-problem", peer=name, message=after.problem)
