"""Sharing: how many voters must know what an effect rests on, and whose ledgers a successor must read.

What a quorum of three or more voters has made durable is known to every successor that has read the
ledgers of a quorum: any two quorums share a voter. Of two voters one may be dead and the other goes
on, so nothing is asked of them here: what a successor could not read shows in the pool's terms alone.
"""

from __future__ import annotations

from collections.abc import Iterable

from membership.ledger import Ledger
from membership.view import PeerState, View

FEWEST = 3
"""With fewer voters a quorum would be all of them."""

LEDGER = "ledger"
"""Note of a peer: the digest of its ledger."""


def others(view: View) -> tuple[str, ...]:
    """The voters apart from this node."""
    return tuple(name for name in view.voters.names if name != view.me)


def least(view: View) -> int:
    """How many of `others` must know a fact before an effect may rest on it."""
    names = view.voters.names
    if len(names) < FEWEST:
        return 0
    return view.voters.quorum - (view.me in names)


def lacking(view: View, names: Iterable[str]) -> str:
    """How much is missing where of the peers only `names` count; "" where nothing is."""
    count = len({*names} & {*others(view)})
    if count >= least(view):
        return ""
    voters, own = view.voters, int(view.me in view.voters.names)
    return f"{count + own} of {len(voters.names)} voters, a quorum of {voters.quorum} is needed"


def silent(view: View, names: Iterable[str]) -> tuple[str, ...]:
    """The other voters that are alive and not among `names`."""
    heard = {*names}
    return tuple(name for name in others(view) if name not in heard and _alive(name, view))


def level(view: View, ledger: Ledger) -> tuple[str, ...]:
    """The peers whose ledger says what ours does."""
    return tuple(
        name for name, peer in view.peers.items() if peer.notes.get(LEDGER) == ledger.digest
    )


def unread(view: View, names: Iterable[str]) -> tuple[str, ...]:
    """The other voters that may know of what no ledger among `names` and ours does. What a quorum of
    three or more knew, a quorum has told."""
    return () if len(view.voters.names) >= FEWEST else tuple({*others(view)} - {*names})


def _alive(name: str, view: View) -> bool:
    peer = view.peers.get(name)
    return peer is not None and peer.state is PeerState.ALIVE


def accompanied(view: View) -> bool:
    """Whether another voter is alive, which might lead in our place."""
    return bool(silent(view, ()))
