"""Sharing: how many voters must know what an effect rests on, and whose ledgers a successor must read.

What a quorum of voters has made durable is known to every successor that has read the ledgers of a
quorum: any two quorums share a voter. Where a shared disk is the third beside two voters, or an engine
of its own decides, one of the two leads though the other is dead. It is alone then, which the pool is
told before anything rests on it: so the other one, when it leads next, knows that it has missed something.
"""

from __future__ import annotations

from collections.abc import Iterable

from membership.ledger import Ledger
from membership.view import DISK_CHANNEL, LEDGER, PeerState, View

_HERE = (PeerState.ALIVE, PeerState.SUSPECT)


def others(view: View) -> tuple[str, ...]:
    """The voters apart from this node."""
    return tuple(name for name in view.voters.names if name != view.me)


def by_itself(view: View) -> bool:
    """Whether this node leads without the one that could lead in its place: there is nobody to be told."""
    voters = view.voters
    others_decide = voters.disk or view.engine != "builtin"
    two = len(voters.names) == 2 and others_decide
    return two and not any(within_reach(name, view) for name in others(view))


def within_reach(name: str, view: View) -> bool:
    """Whether this peer is there to be told. One that is heard on the shared disk alone has lost every
    cable by which it could be."""
    peer = view.peers.get(name)
    if peer is None or peer.state not in _HERE:
        return False
    cables = [state for channel, state in peer.channels.items() if channel != DISK_CHANNEL]
    return not cables or any(state in _HERE for state in cables)


def least(view: View) -> int:
    """How many of `others` must know a fact before an effect may rest on it."""
    names = view.voters.names
    if len(names) < 2 or by_itself(view):
        return 0
    return len(names) // 2 + 1 - (view.me in names)


def lacking(view: View, names: Iterable[str]) -> str:
    """How much is missing where of the peers only `names` count; "" where nothing is."""
    heard = {*names} & {*others(view)}
    wanted = least(view)
    if len(heard) >= wanted:
        return ""
    own = int(view.me in view.voters.names)
    missing = ", ".join(name for name in others(view) if name not in heard)
    return (
        f"{len(heard) + own} of {len(view.voters.names)} voters, a quorum of {wanted + own} is needed;"
        f" not yet of {missing}"
    )


def silent(view: View, names: Iterable[str]) -> tuple[str, ...]:
    """The other voters that are alive, within reach, and not among `names`."""
    heard = {*names}
    return tuple(
        name
        for name in others(view)
        if name not in heard and _state(name, view) is PeerState.ALIVE and within_reach(name, view)
    )


def level(view: View, ledger: Ledger) -> tuple[str, ...]:
    """The peers whose ledger says what ours does."""
    return tuple(
        name for name, peer in view.peers.items() if peer.notes.get(LEDGER) == ledger.digest
    )


def unread(view: View, names: Iterable[str]) -> tuple[str, ...]:
    """The other voters that may know of what no ledger among `names` and ours does. What a quorum of
    three or more knew, a quorum has told."""
    return (
        ()
        if len(view.voters.names) > 2
        else tuple(name for name in others(view) if name not in {*names})
    )


def _state(name: str, view: View) -> PeerState:
    peer = view.peers.get(name)
    return peer.state if peer is not None else PeerState.UNKNOWN


def accompanied(view: View) -> bool:
    """Whether another voter is alive, which might lead in our place: out of our reach, too. By the disk
    it hears that we stand aside, and is chosen."""
    return any(_state(name, view) is PeerState.ALIVE for name in others(view))
