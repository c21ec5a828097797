"""The roster: what `cxm-heartbeatd` has to know of the cluster, compiled by `cxmd` from the target.

It is the content of `membership.json`, the one file that carries anything from Subversion to the
daemon that must never wait for Subversion. Durations are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import field

from schema.model import Frozen

EFFECT_S = 3.0
"""A request begun within the lease has reached the pool by then, or never will: connecting and
writing are given up sooner."""

DRIFT = 1.01
"""Two clocks that count seconds differ by at most this factor."""


Door = tuple[str, int]
"""Address and port at which the `cxmd` of a peer listens."""


class Timing(Frozen, frozen=True, kw_only=True):
    """`interval_s` between heartbeats, and what follows from the cluster's three numbers."""

    interval_s: float = 1.0
    suspect_after_s: float = 5.0
    dead_after_s: float = 10.0

    @property
    def lease_s(self) -> float:
        """How long a leader may act on one acknowledged renewal, from when that was sent."""
        return self.suspect_after_s

    @property
    def promise_s(self) -> float:
        """How long a voter votes for nobody else, from when it acknowledged a renewal."""
        return self.lease_s * DRIFT

    @property
    def wait_s(self) -> float:
        """From its election until a new leader may act: what the old one began has ended by then."""
        return self.lease_s * DRIFT + EFFECT_S

    @property
    def candidacy_s(self) -> float:
        """How long one sign of life of `cxmd` is good for."""
        return self.suspect_after_s

    @property
    def view_s(self) -> float:
        """A view that is older than this says nothing."""
        return max(3.0 * self.interval_s, 2.0)


class Member(Frozen, frozen=True, kw_only=True):
    """A peer as configured. `addresses` are (host, port) of its heartbeats, one per channel `net1`,
    `net2`, ...; `doors` are where its `cxmd` listens, on the same cables; `slot` is its place on a shared
    disk (0, 1, ...); beyond its end: it has none."""

    name: str
    addresses: tuple[tuple[str, int], ...] = ()
    doors: tuple[Door, ...] = ()
    slot: int = 0


class Voters(Frozen, frozen=True, kw_only=True):
    """Who grants leadership: `names` and, where it says so, a shared `disk` beside them.

    They were made, or stated again, by the leader of `term` (0: by founding). `epoch` grows by one with
    each change, which adds or removes one voter; 0: not founded yet. `revision` is the one of the tree
    that asked for the change.
    """

    epoch: int = 0
    revision: int = 0
    names: tuple[str, ...] = ()
    term: int = 0
    disk: bool = False

    @property
    def rank(self) -> tuple[int, int]:
        """Later voters have the higher one. The term goes first: two leaders may each have made voters
        of one epoch, and those of the later one are what was agreed."""
        return (self.term, self.epoch)

    @property
    def quorum(self) -> int:
        """The least number of voters of which any two sets of that size share one."""
        return (len(self.names) + self.disk) // 2 + 1

    @property
    def blocking(self) -> int:
        """The least number of voters without any of whom nobody can lead. Of two, a shared disk may
        stand in for one."""
        count = len(self.names)
        return count if count <= 2 else count - count // 2


class Roster(Frozen, frozen=True, kw_only=True):
    """`disk` is the shared file or block device as this node sees it. `engine` is builtin or etcd.

    `members` includes `me` and is sorted by name; `former` are those that voted once and are members no
    more: they may not know it, and write their slots. `revision` and `digest` name the tree it is from.
    """

    cluster_id: str
    me: str
    members: tuple[Member, ...]
    voters: Voters = Voters()
    timing: Timing = Timing()
    disk: str | None = None
    engine: str = "builtin"
    revision: int = 0
    digest: str = ""
    former: tuple[Member, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(member.name for member in self.members)

    def member(self, name: str) -> Member | None:
        return next((member for member in self.members if member.name == name), None)


class Candidacy(Frozen, frozen=True, kw_only=True):
    """A sign of life of `cxmd`, without which its node does not stay leader.

    `floor`: the next term must be above it. `notes` are told to the peers. Not `healthy`: lives, but
    must not lead.
    """

    floor: int = 0
    notes: Mapping[str, str] = field(default_factory=dict)
    healthy: bool = True
