"""The view: who is alive and who may act, as one node sees it at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from msgspec import field
from msgspec.structs import replace

from membership.roster import Voters
from schema.model import Frozen

SOCKET = "heartbeatd.sock"
"""Where `cxm-heartbeatd` tells its view, one line of JSON each, in the run directory."""

LEDGER = "ledger"
"""Note of a peer: the digest of its ledger. One that says nothing of it is not known to have ours."""

DISK_CHANNEL = "disk"
"""The channel by which a peer is heard, and cannot be told anything."""


class PeerState(StrEnum):
    """What is believed of a peer. `dead` is a belief; proof is a certificate's business."""

    ALIVE = "alive"
    SUSPECT = "suspect"
    BLIND = "blind"
    DEAD = "dead"
    LEFT = "left"
    UNKNOWN = "unknown"


class Peer(Frozen, frozen=True, kw_only=True):
    """One peer. `channels` by name (`net1`, `net2`, `DISK_CHANNEL`); `last_heard_s` is the age of its last
    fresh message in seconds, None where it was never heard.

    `sees` are the peers that it says it hears; `notes` are what its `cxmd` tells of itself (`ledger`,
    `staged`, `holds`), `boot` is the boot of the machine that it runs on; `problem` is what is wrong with it
    beyond silence (`twin`, `version`, ...).
    `voters` is the rank of those that it goes by, durably, in its `term`; (0, 0): it knows of none.
    """

    state: PeerState
    channels: Mapping[str, PeerState] = field(default_factory=dict)
    last_heard_s: float | None = None
    sees: tuple[str, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)
    boot: str = ""
    problem: str = ""
    term: int = 0
    voters: tuple[int, int] = (0, 0)


class Standing(Frozen, frozen=True, kw_only=True):
    """What an engine says of leadership: `leader` (None: nobody is known to lead) in `term`.

    Where the leader is this node it may act from `acts_from_s` until `lead_until_s`. Both are on the
    clock of whoever holds the standing, and mean nothing for another node's leadership.
    """

    term: int = 0
    leader: str | None = None
    acts_from_s: float = 0.0
    lead_until_s: float = 0.0


class Health(Frozen, frozen=True, kw_only=True):
    """The listener's own state: `lag_s` of its loop, `mute` says why it keeps silent ("" if it does
    not), `disk` what is wrong with the shared disk ("" if nothing, or there is none)."""

    lag_s: float = 0.0
    mute: str = ""
    disk: str = ""


class View(Frozen, frozen=True, kw_only=True):
    """Pushed by the leadership engine. `acts_from_s` and `lead_until_s` are monotonic; outside of
    them nobody acts on this view. `reason` says why nobody leads, where nobody does. `on_disk` is the
    rank of the last voters that the shared disk, as a voter, came to know while this node led."""

    me: str
    term: int
    leader: str | None
    lead_until_s: float
    acts_from_s: float = 0.0
    peers: Mapping[str, Peer] = field(default_factory=dict)
    engine: str = "single"
    voters: Voters = Voters()
    health: Health = Health()
    reason: str = ""
    on_disk: tuple[int, int] = (0, 0)

    def leads(self, mono_s: float) -> bool:
        """True inside the lease of this very node, though it may still have to wait before acting."""
        return self.leader == self.me and mono_s < self.lead_until_s

    def may_act(self, mono_s: float) -> bool:
        """True only inside the lease of this very node, once its predecessor's has surely ended."""
        return self.leads(mono_s) and self.acts_from_s <= mono_s

    def same(self, other: View) -> bool:
        """Whether both say the same, but for how long ago it was heard and how long it holds."""
        return _timeless(self) == _timeless(other)

    @property
    def alone(self) -> bool:
        """No peers by design: nobody has to be told what is begun."""
        return self.engine == "single"


def _timeless(view: View) -> View:
    peers = {name: replace(peer, last_heard_s=None) for name, peer in view.peers.items()}
    health = replace(view.health, lag_s=0.0)
    return replace(view, peers=peers, health=health, lead_until_s=0.0, acts_from_s=0.0)


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


def unknown(me: str, engine: str, term: int, reason: str) -> View:
    """No view: nobody leads as far as this node knows, and nothing is known of any peer."""
    return View(me=me, term=term, leader=None, lead_until_s=0.0, engine=engine, reason=reason)
