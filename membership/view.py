"""The view: who is alive and who may act, as one node sees it at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from msgspec import field

from schema.model import Frozen


class PeerState(StrEnum):
    """What is believed of a peer. `dead` is a belief; proof is a certificate's business."""

    ALIVE = "alive"
    SUSPECT = "suspect"
    BLIND = "blind"
    DEAD = "dead"
    LEFT = "left"


class Peer(Frozen, frozen=True, kw_only=True):
    state: PeerState
    channels: Mapping[str, PeerState] = field(default_factory=dict)
    last_heard_s: float | None = None


class View(Frozen, frozen=True, kw_only=True):
    """Pushed by the leadership engine. `lead_until_s` is monotonic; beyond it nobody acts on this view."""

    me: str
    term: int
    leader: str | None
    lead_until_s: float
    peers: Mapping[str, Peer] = field(default_factory=dict)

    def may_act(self, mono_s: float) -> bool:
        """True only inside the lease of this very node."""
        return self.leader == self.me and mono_s < self.lead_until_s


def single(me: str, term: int) -> View:
    """The view of the engine `single`: one daemon, no peers, a lease without end.

    The lock on the state directory, held for the life of the process, is what makes it true.
    """
    return View(
        me=me,
        term=term,
        leader=me,
        lead_until_s=float("inf"),
        peers={me: Peer(state=PeerState.ALIVE)},
    )
