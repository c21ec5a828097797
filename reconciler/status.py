"""Status: what a daemon tells about the cluster, one model for text, JSON, SNMP and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from msgspec import field

from membership.proofs import Tie
from reconciler.actions import Plan
from schema.errors import ConfigError
from schema.model import Frozen


class Verdict(StrEnum):
    """What a command found; each has one exit status (`EXIT`)."""

    CONVERGED = "converged"
    ERROR = "error"
    DIFFERS = "differs"
    INVALID = "invalid"
    REFUSED = "refused"
    PARTIAL = "partial"
    UNKNOWN = "unknown"
    STALE = "stale"
    TIMEOUT = "timeout"
    HELD = "held"


EXIT: Mapping[Verdict, int] = {
    Verdict.CONVERGED: 0,
    Verdict.ERROR: 1,
    Verdict.DIFFERS: 2,
    Verdict.INVALID: 3,
    Verdict.REFUSED: 4,
    Verdict.PARTIAL: 5,
    Verdict.UNKNOWN: 6,
    Verdict.STALE: 7,
    Verdict.TIMEOUT: 8,
    Verdict.HELD: 4,
}


class Condition(StrEnum):
    """Public health of an object or of the cluster, worst last but for `unknown`."""

    READY = "Ready"
    PROGRESSING = "Progressing"
    DEGRADED = "Degraded"
    STALLED = "Stalled"
    UNKNOWN = "Unknown"


Health = tuple[Condition, str, str]
"""Condition, reason and message of one object."""


class Observation(Frozen, frozen=True, kw_only=True):
    """What the answer rests on. `at` is RFC 3339 in UTC, `age_s` its age when the answer was made.

    `heard_age_s`: for so long, at most, nothing was heard of some node that is believed alive; None: it
    is not known. The pool tells of a dead one for minutes as if it lived.
    """

    at: str
    by: str
    age_s: float
    complete: bool
    missing: tuple[str, ...] = ()
    heard_age_s: float | None = 0.0


class RevisionStatus(Frozen, frozen=True, kw_only=True):
    """Where revisions stand. None: there is no such revision yet.

    `state` is that of the head: converged, target, gated or rejected. `author` and `summary` are the
    head's; `errors` say why it was rejected.
    """

    head: int | None = None
    target: int | None = None
    staged: int | None = None
    converged: int | None = None
    state: str = "none"
    author: str | None = None
    summary: str = ""
    target_author: str | None = None
    target_summary: str = ""
    reason: str = ""
    message: str = ""
    errors: tuple[ConfigError, ...] = ()


class SourceStatus(Frozen, frozen=True, kw_only=True):
    """`reachable` is None before the first answer. `age_s`: since Subversion last answered."""

    reachable: bool | None = None
    age_s: float | None = None
    failures: int = 0
    looks: int = 0
    """How many looks at Subversion were completed, answered or not, since the daemon started."""
    using_last_known_good: bool = False
    reason: str = ""
    message: str = ""


class NodeStatus(Frozen, frozen=True, kw_only=True):
    """`memory_used` counts what XenAPI would: reservations and control domain included. Bytes.

    `state` is alive, or what is believed of a node that is not heard: silent, blind, away, refused,
    fencing, held, dead, or unknown. `certificate` is the id of the one that proves it dead; `remedy` is
    what a person can do about one that is held or refused.
    """

    name: str
    uuid: str
    condition: Condition
    state: str
    vms_running: int = 0
    memory_total: int = 0
    memory_used: int = 0
    schedulable: bool = True
    draining: bool = False
    reason: str = ""
    message: str = ""
    certificate: str = ""
    remedy: str = ""


class VmStatus(Frozen, frozen=True, kw_only=True):
    name: str
    uuid: str | None
    condition: Condition
    desired: str | None
    observed: str | None
    node: str | None
    manage: str
    reason: str = ""
    message: str = ""


class FlightStatus(Frozen, frozen=True, kw_only=True):
    """A call in flight. `progress` is 0..1 where the pool tells; `phase` is running or settling."""

    txn: str
    object: str
    verb: str
    message: str
    running_s: float
    phase: str
    progress: float | None = None
    node: str | None = None


class ExceptionStatus(Frozen, frozen=True, kw_only=True):
    """A freeze, drain, maintenance, live drill or hold. `seconds_left` is None where it does not expire."""

    kind: str
    object: str
    scopes: tuple[str, ...] = ()
    owner: str = ""
    reason: str = ""
    seconds_left: float | None = None


class PeerStatus(Frozen, frozen=True, kw_only=True):
    """A peer as this node sees it; states are alive, suspect, blind, dead, left and unknown.

    `channels` are by name (`net1`, `net2`, `disk`), `sees` are the peers that it hears itself,
    `staged` is the revision that it has ready ("" where it does not say), `problem` is what is wrong
    with it beyond silence.
    """

    name: str
    state: str
    channels: Mapping[str, str] = field(default_factory=dict)
    last_heard_s: float | None = None
    sees: tuple[str, ...] = ()
    staged: str = ""
    problem: str = ""


class LeaderState(StrEnum):
    """Where leadership stands, as this node sees it.

    `waiting`: this node leads, and waits until whatever its predecessor began has surely ended, or is
    taking over. `nobody`: nothing is begun by anyone until somebody leads.
    """

    ACTING = "acting"
    WAITING = "waiting"
    FOLLOWING = "following"
    NOBODY = "nobody"


class Leadership(Frozen, frozen=True, kw_only=True):
    """`waits_s` is how long this node, which leads, has still to wait; None where it does not wait.

    `stage` is what taking over is at (claim, revoke, ...), `reason` says why nobody leads, or what this
    node, which leads, still lacks. `fault` is why this node takes no part (its own heartbeats cannot be
    told from another's), "" where it does. Beside `voters` the shared disk may have a vote.
    """

    engine: str = "single"
    state: LeaderState = LeaderState.ACTING
    leader: str | None = None
    term: int = 0
    waits_s: float | None = None
    stage: str = ""
    reason: str = ""
    fault: str = ""
    voters: tuple[str, ...] = ()
    disk_votes: bool = False
    epoch: int = 0


class DeviceStatus(Frozen, frozen=True, kw_only=True):
    """A fence device for one node, as it was last read by whoever leads.

    `power` is on, off or unknown; `tie` what ties it to the node; `usable` whether it could prove the
    node's death. `trial` names the reading ("" before the first); `passed_age_s` is None where it has
    never said on while the node was well.
    """

    node: str
    device: str
    agent: str
    by_hand: bool = False
    power: str = "unknown"
    tie: Tie = Tie.NONE
    usable: bool = False
    trial: str = ""
    passed_age_s: float | None = None
    message: str = ""

    @property
    def key(self) -> tuple[str, str]:
        return (self.node, self.device)


class DrillStatus(Frozen, frozen=True, kw_only=True):
    """The last live drill. `stage` is asked, off, on or over; `found` what it showed, "" as yet: bound, lies,
    crossed, failed, interrupted or refused. `message` says it for people."""

    id: str
    node: str
    devices: tuple[str, ...]
    stage: str
    by: str
    reason: str
    found: str = ""
    message: str = ""


class LockStatus(Frozen, frozen=True, kw_only=True):
    """A disk (uuid) of `vm`, a name for people, that bears the mark of `node`, on which it does not run.
    `state` is that node's."""

    vm: str
    disk: str
    node: str
    state: str
    remedy: str


class BoundStatus(Frozen, frozen=True, kw_only=True):
    """What would prove the death of `node`, within how many seconds from its last sign of life to the
    certificate (None: when a human says so), and what holds where that fails. `without_power` are the
    devices by which a loss of its power would be proven; none: it would be held, unless its controller
    lives on another supply."""

    node: str
    by: str
    within_s: float | None
    otherwise: str
    without_power: tuple[str, ...] = ()


class Caveat(Frozen, frozen=True, kw_only=True):
    """What would weaken cxm, or be in its way, at the moment when it is needed; and how to end that.
    `object` is a name for people, `reason` a word for machines."""

    object: str
    reason: str
    message: str
    remedy: str


class UnmanagedVm(Frozen, frozen=True, kw_only=True):
    name: str
    uuid: str
    node: str | None
    power: str


class Lack(Frozen, frozen=True, kw_only=True):
    """Nodes whose loss at once would not be survived: how many VMs would stay down, and why the first of
    them would."""

    nodes: tuple[str, ...]
    vms: int
    object: str
    reason: str
    message: str


class Survives(Frozen, frozen=True, kw_only=True):
    """Any `losses` nodes may be lost at once. `tolerates`: how many the tree wants to be survivable, None
    where it does not say. `lacks` are losses of one more, the ones with most VMs first."""

    losses: int
    tolerates: int | None = None
    lacks: tuple[Lack, ...] = ()

    @property
    def falls_short(self) -> str:
        """Why less is survivable than the tree wants; "" where it is not."""
        if self.tolerates is None or self.losses >= self.tolerates or not self.lacks:
            return ""
        worst = self.lacks[0]
        wants = f"{self.tolerates} {'loss' if self.tolerates == 1 else 'losses'}"
        return (
            f"the tree wants {wants} survived, and {self.losses} would be: without"
            f" {', '.join(worst.nodes)} {worst.object} would stay down ({worst.reason})"
        )


class Status(Frozen, frozen=True, kw_only=True):
    """Everything `cxm status` and `cxm diff` show. Both come from one step of the reconciler."""

    cluster: str | None
    cluster_id: str | None
    node: str
    version: str
    daemon: bool = True
    """False: no daemon answers on `node`, and a command has looked by itself."""
    mode: str | None
    verdict: Verdict
    condition: Condition
    reason: str = ""
    message: str = ""
    leader: str | None = None
    term: int = 0
    leadership: Leadership = Leadership()
    peers: tuple[PeerStatus, ...] = ()
    armed: tuple[str, ...] = ()
    survives: Survives | None = None
    """None where nobody recovers, or before all of it was worked out."""
    observation: Observation | None = None
    revision: RevisionStatus = RevisionStatus()
    source: SourceStatus = SourceStatus()
    nodes: tuple[NodeStatus, ...] = ()
    vms: tuple[VmStatus, ...] = ()
    plan: Plan = Plan()
    planned: int | None = None
    """The revision that `plan` is of. It follows a new target within a second."""
    proposed: Plan | None = None
    """What the head that waits for approval would do; None where none waits."""
    in_flight: tuple[FlightStatus, ...] = ()
    exceptions: tuple[ExceptionStatus, ...] = ()
    unmanaged: tuple[UnmanagedVm, ...] = ()
    devices: tuple[DeviceStatus, ...] = ()
    drill: DrillStatus | None = None
    """None where there never was one."""
    locks: tuple[LockStatus, ...] = ()
    bounds: tuple[BoundStatus, ...] = ()
    caveats: tuple[Caveat, ...] = ()
    copies: Mapping[str, int] = field(default_factory=dict)
    converged_age_s: float | None = None
    sequence: int = 0
    """`seq` of the newest record of the journal that this status knows of."""
