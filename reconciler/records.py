"""The records of the journal: what this node meant, heard and noticed.

A record is made durable before the effect that it announces. Times are seconds of the daemon's
clock, which starts at wall time and never runs backwards. Records are also the events that people
read (`cxm events`), so their names and fields are an interface.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import field as struct_field

from membership.ledger import FactValue
from reconciler.actions import Action, Answer, Outcome
from reconciler.observed import PowerState
from schema.model import Frozen

Aspect = Literal["power", "placement", "memory", "vcpus", "nameLabel", "tags"]
"""One thing about a VM that a tree can wish for. Drift is noticed, dated and healed per aspect."""


class Sighting(Frozen, frozen=True, kw_only=True):
    """What is remembered of one VM.

    `met` holds, per aspect, the wish that was last seen fulfilled: a wish that was met and no longer
    is, is drift; one that was never met is intent. `unmet` dates drift by the moment it was first
    seen. `crashed`: the guest crashed, so that nobody meant its stop; `crashes` are the moments
    of the last such. `foreign` are the moments of the
    last changes made by others, `moved_s` and `moved_by` tell of the last move by one of them, and
    `doing` names the foreign task that was last seen at work on the VM.
    """

    power: PowerState
    node: str | None
    met: Mapping[str, str] = struct_field(default_factory=dict)
    unmet: Mapping[str, float] = struct_field(default_factory=dict)
    crashed: bool = False
    crashes: tuple[float, ...] = ()
    foreign: tuple[float, ...] = ()
    moved_s: float | None = None
    moved_by: str = ""
    doing: str = ""


class Entry(Frozen, tag_field="entry", frozen=True, kw_only=True):
    """Base of what a record can say."""


class DaemonStarted(Entry, tag="started", frozen=True, kw_only=True):
    """Everything in flight before this record has lost its caller: only observation can settle it."""

    version: str
    node: str
    term: int


class Intended(Entry, tag="intended", frozen=True, kw_only=True):
    """A call is about to be made. Durable before the call; `txn` tags its task in the pool."""

    txn: str
    action: Action
    subject: str
    """uuid of the VM or host that the call acts on."""
    by: str = ""
    """The leader whose call this is; "" for our own."""
    term: int = 0
    """In which that leader began it."""


class Answered(Entry, tag="answered", frozen=True, kw_only=True):
    """The call returned, or was given up. Proves nothing."""

    txn: str
    answer: Answer


class Settled(Entry, tag="settled", frozen=True, kw_only=True):
    """An observation newer than the answer told what became of the call."""

    txn: str
    object: str
    subject: str
    outcome: Outcome
    backoff_s: float = 0.0
    failures: int = 0
    refused: tuple[str, ...] = ()
    """uuids of the hosts that have refused the VM for what they are: another one may take it."""


class Sighted(Entry, tag="sighted", frozen=True, kw_only=True):
    """What was seen of one VM changed: `Sighting` says what is remembered."""

    vm: str
    sighting: Sighting


class ForeignChange(Entry, tag="foreign", frozen=True, kw_only=True):
    """Somebody else changed an object: `what` is stopped, started, paused, moved, crashed or changed.

    `evidence` is as much as XenAPI tells of who it was: usually the name of a task.
    """

    object: str
    subject: str
    what: str
    message: str
    evidence: str = ""


class SourceLost(Entry, tag="source-lost", frozen=True, kw_only=True):
    """Subversion does not answer or contradicts itself; `reason` is a class of error."""

    reason: str
    message: str


class SourceBack(Entry, tag="source-back", frozen=True, kw_only=True):
    pass


class HeadSeen(Entry, tag="head", frozen=True, kw_only=True):
    revision: int
    author: str
    summary: str


class Rejected(Entry, tag="rejected", frozen=True, kw_only=True):
    revision: int
    author: str
    reason: str
    message: str


class Targeted(Entry, tag="target", frozen=True, kw_only=True):
    revision: int
    author: str
    summary: str
    digest: str


class Converged(Entry, tag="converged", frozen=True, kw_only=True):
    """A complete observation newer than the last action found nothing to do at this revision."""

    revision: int


class Diverged(Entry, tag="diverged", frozen=True, kw_only=True):
    """The first difference since the last `Converged`."""

    revision: int


class Noticed(Entry, tag="noticed", frozen=True, kw_only=True):
    """Something became blocked, stalled or worth telling."""

    object: str
    reason: str
    message: str


class Cleared(Entry, tag="cleared", frozen=True, kw_only=True):
    object: str
    reason: str


class Retried(Entry, tag="retried", frozen=True, kw_only=True):
    """Somebody asked to try again now: back-off and the mark of contention are forgotten."""

    object: str
    subject: str
    by: str


class FoundOpen(Entry, tag="found-open", frozen=True, kw_only=True):
    """A node that we had closed was seen open with nothing of ours in flight: its boot, or somebody,
    opened it, and we owe it nothing any more."""

    node: str


class Excepted(Entry, tag="exception", frozen=True, kw_only=True):
    """A fact about exceptions entered the ledger (freeze, drain, approval or their end)."""

    object: str
    message: str
    fact: FactValue


class Foretold(Entry, tag="foretold", frozen=True, kw_only=True):
    """The latest call on `subject` of which the ledger tells is known here: it is ours, or was taken in."""

    txn: str
    subject: str


class Forgotten(Entry, tag="forgotten", frozen=True, kw_only=True):
    """The ledger says nothing more of calls on `subject`: they are settled for long."""

    subject: str


class LeaderChanged(Entry, tag="leader", frozen=True, kw_only=True):
    """Another node leads, or the same one in another term; `leader` None: nobody. Calls of the one that
    was may still come to the pool: nobody has ended its session yet."""

    leader: str | None
    term: int
    reason: str = ""


class TookOver(Entry, tag="took-over", frozen=True, kw_only=True):
    """From here on this node acts. Whatever its predecessors had begun has ended, or shows in the pool."""

    term: int


class Succeeded(Entry, tag="succeeded", frozen=True, kw_only=True):
    """`node` has taken over in `term`, as its facts show: the session of every earlier leader is ended,
    and their calls are answered by nobody any more."""

    node: str
    term: int


class Fenced(Entry, tag="fenced", frozen=True, kw_only=True):
    """A step of fencing `node`: `stage` is begun (it is about to be switched off), failed (nothing
    proved its death), proven, or void (a certificate is not to be trusted after all)."""

    node: str
    stage: str
    message: str


class Drilled(Entry, tag="drilled", frozen=True, kw_only=True):
    """A step of a live drill of `node`: `stage` is asked, begun (it is about to be switched off), what was
    found (it is about to be switched on again), or over."""

    node: str
    stage: str
    message: str


class Promoted(Entry, tag="promoted", frozen=True, kw_only=True):
    """A step of making `node` the pool's master in place of a dead one: `stage` is begun (it is about to
    be told), master (the pool is seen there), over or called-off."""

    node: str
    stage: str
    message: str


class Recovered(Entry, tag="recovered", frozen=True, kw_only=True):
    """A VM (uuid) that died with a node runs again."""

    vm: str
    node: str
    died_with: str


class Paged(Entry, tag="paged", frozen=True, kw_only=True):
    """People were told by this node that an alarm began."""

    key: str
    severity: str
    title: str
    text: str = ""


class PageEnded(Entry, tag="page-ended", frozen=True, kw_only=True):
    """People were told by this node that the alarm of this key is over."""

    key: str


AnyEntry = (
    DaemonStarted
    | Intended
    | Answered
    | Settled
    | Sighted
    | ForeignChange
    | SourceLost
    | SourceBack
    | HeadSeen
    | Rejected
    | Targeted
    | Converged
    | Diverged
    | Noticed
    | Cleared
    | Retried
    | FoundOpen
    | Excepted
    | Foretold
    | Forgotten
    | LeaderChanged
    | TookOver
    | Succeeded
    | Fenced
    | Drilled
    | Promoted
    | Recovered
    | Paged
    | PageEnded
)


class Record(Frozen, frozen=True, kw_only=True):
    """`seq` counts from 1 and never repeats on a node; `at_s` is when the entry was decided."""

    seq: int
    at_s: float
    entry: AnyEntry
