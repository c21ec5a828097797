"""What goes into the reconciler and what comes out: events in, ordered effects out.

The edge turns the world into events and performs effects in the order given. It decides nothing, not
even when to look: `Look` and the deadline say so.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import field

from membership.ledger import NO_REIGN, Fact, Reign, Target
from membership.roster import Roster
from membership.view import View
from reconciler.actions import Answer, Call
from reconciler.members import MemberEffect, MemberEvent
from reconciler.observed import Observed
from reconciler.paging import Page
from reconciler.power import LookAtPower, PowerLooked, PowerOff, PowerOn, PowerSwitched
from reconciler.records import Record
from schema.errors import ConfigError
from schema.model import Desired, Frozen

# --- events ---------------------------------------------------------------------------------------


class Head(Frozen, frozen=True, kw_only=True):
    """The newest revision that touched our path. `committed_epoch_s` is Subversion's date of it."""

    repository: str
    path: str
    revision: int
    author: str | None
    message: str
    committed_epoch_s: float = 0.0


class PoolObserved(Frozen, frozen=True, kw_only=True):
    observed: Observed


class PoolLost(Frozen, frozen=True, kw_only=True):
    """The pool cannot be observed; repeated while that lasts. `reason` is XenAPI's code or our word."""

    reason: str
    message: str


class SourceSeen(Frozen, frozen=True, kw_only=True):
    """Subversion answered: this is its head."""

    head: Head


class SourceFailed(Frozen, frozen=True, kw_only=True):
    """`reason` is a class: unreachable, refused (credentials), missing, changed, broken."""

    reason: str
    message: str


class Authorship(Frozen, frozen=True, kw_only=True):
    """Who last touched an object, in which revision, with what first line of log."""

    revision: int
    author: str | None
    summary: str


class TreeLoaded(Frozen, frozen=True, kw_only=True):
    """The tree of `head` was exported, made durable and validated.

    `desired` is None where `errors` say why not. `needs_upgrade`: written for a newer cxm.
    `authors` tells who last touched each object, by its name for people (`vm/web1`).
    """

    head: Head
    digest: str
    desired: Desired | None
    errors: tuple[ConfigError, ...] = ()
    needs_upgrade: bool = False
    authors: Mapping[str, Authorship] = field(default_factory=dict)
    messages: tuple[str, ...] = ()
    """The log of every revision since the one in force, newest first: consent may be in any of them."""


class FetchFailed(Frozen, frozen=True, kw_only=True):
    """The tree of `head` could not be brought here; `reason` as in `SourceFailed`."""

    head: Head
    reason: str
    message: str


class CallReturned(Frozen, frozen=True, kw_only=True):
    txn: str
    answer: Answer


class ViewPushed(Frozen, frozen=True, kw_only=True):
    view: View


class FactsMerged(Frozen, frozen=True, kw_only=True):
    """Facts that came from elsewhere and are durable here."""

    facts: tuple[Fact, ...]


class Gathered(Frozen, frozen=True, kw_only=True):
    """The ledgers of the peers `names` are in ours, as far as they could be reached."""

    term: int
    names: tuple[str, ...] = ()
    message: str = ""


class Announced(Frozen, frozen=True, kw_only=True):
    """The peers `names` have made durable whatever was shared before."""

    term: int
    names: tuple[str, ...] = ()
    message: str = ""


class TermClaimed(Frozen, frozen=True, kw_only=True):
    """What the pool says of our claim: `won`, `lost` (to `holder`, or to the term `highest`), `unsure`.

    `before` is the last reign that the pool knew apart from those of this term, and `before_by` the mark
    of who said that it led alone in it, "" for nobody; `alone` as in `ClaimTerm`.
    """

    term: int
    result: str
    holder: str = ""
    highest: int = 0
    before: Reign = NO_REIGN
    before_by: str = ""
    alone: int = 0
    message: str = ""


class SessionRevoked(Frozen, frozen=True, kw_only=True):
    """`done`: the predecessor's session is surely over, or there was none that could be known."""

    term: int
    done: bool
    message: str = ""


class SessionOpened(Frozen, frozen=True, kw_only=True):
    """`sealed` is the reference of the session in which this node acts, for the voters' eyes; "" where
    none could be opened."""

    term: int
    sealed: str = ""
    message: str = ""


class Probed(Frozen, frozen=True, kw_only=True):
    """Whether the server of the silent peer `name` answered as its own toolstack; None: not to be told.

    `at_s` is when it was asked.
    """

    name: str
    answers: bool | None
    at_s: float


class GuestProbed(Frozen, frozen=True, kw_only=True):
    """Whether a guest answered; the rest as in `ProbeGuest`."""

    vm: str
    started_epoch_s: float
    by: str
    answers: bool


class SessionEnded(Frozen, frozen=True, kw_only=True):
    """The session in which this node acted was ended by somebody else."""


class Staged(Frozen, frozen=True, kw_only=True):
    """What came of `Stage`: the tree of the agreed target, or why it could not be had."""

    target: Target
    tree: TreeLoaded | None = None
    message: str = ""


class PageTold(Frozen, frozen=True, kw_only=True):
    """Every way of telling people has been tried with this page."""

    page: Page


class Tick(Frozen, frozen=True, kw_only=True):
    """The deadline has come."""


Event = (
    Gathered
    | Announced
    | TermClaimed
    | SessionRevoked
    | SessionOpened
    | SessionEnded
    | Probed
    | GuestProbed
    | PowerLooked
    | PowerSwitched
    | MemberEvent
    | Staged
    | PageTold
    | PoolObserved
    | PoolLost
    | SourceSeen
    | SourceFailed
    | TreeLoaded
    | FetchFailed
    | CallReturned
    | ViewPushed
    | FactsMerged
    | Tick
)

# --- requests of people ---------------------------------------------------------------------------


class AskLook(Frozen, tag_field="ask", tag="look", frozen=True, kw_only=True):
    """Look at Subversion and the pool now (the post-commit hook, `cxm apply`, `cxm wait`)."""


class AskApply(Frozen, tag_field="ask", tag="apply", frozen=True, kw_only=True):
    """Approve `revision` in gated mode; in any mode try again at once what waits for back-off.

    `plan`, where given, is the `plan_digest` of what was read: anything else is refused as stale.
    """

    revision: int
    plan: str | None = None
    by: str


class AskFreeze(Frozen, tag_field="ask", tag="freeze", frozen=True, kw_only=True):
    """`objects` are names for people (`vm/web1`, `node/xen2`, `all`)."""

    objects: tuple[str, ...]
    scopes: tuple[str, ...]
    for_s: float | None
    reason: str
    by: str


class AskThaw(Frozen, tag_field="ask", tag="thaw", frozen=True, kw_only=True):
    objects: tuple[str, ...]
    by: str


class AskDrain(Frozen, tag_field="ask", tag="drain", frozen=True, kw_only=True):
    node: str
    for_s: float | None
    reason: str
    by: str


class AskUndrain(Frozen, tag_field="ask", tag="undrain", frozen=True, kw_only=True):
    node: str
    by: str


class AskRetry(Frozen, tag_field="ask", tag="retry", frozen=True, kw_only=True):
    objects: tuple[str, ...]
    by: str


class AskHold(Frozen, tag_field="ask", tag="hold", frozen=True, kw_only=True):
    """Begin nothing any more, on any node, until this hold is released."""

    reason: str
    by: str


class AskRelease(Frozen, tag_field="ask", tag="release", frozen=True, kw_only=True):
    """End the hold of this id."""

    id: str
    reason: str = ""
    by: str


class AskHandOver(Frozen, tag_field="ask", tag="hand-over", frozen=True, kw_only=True):
    """Let another node lead: `to`, or whichever the engine finds."""

    to: str | None = None
    by: str


class AskInvite(Frozen, frozen=True, kw_only=True):
    """A one-time code by which the node of this name joins. It is asked of the very node that gives it."""

    name: str


READING = "Reading"
"""Reason of a refusal that the next try overcomes: what it rests on is being looked at."""


class AskConfirmOff(Frozen, tag_field="ask", tag="confirm-off", frozen=True, kw_only=True):
    """Swear that `node` is off, so that what ran there may run elsewhere. `against_evidence`: though a
    device says otherwise, or cannot be read; never though it shows a sign of life."""

    node: str
    reason: str
    against_evidence: bool = False
    by: str


class AskFence(Frozen, tag_field="ask", tag="fence", frozen=True, kw_only=True):
    """Power `node` off, though nobody accuses it."""

    node: str
    reason: str
    by: str


class AskReadDevices(Frozen, tag_field="ask", tag="read-devices", frozen=True, kw_only=True):
    """Read the fence devices of these nodes now; of all nodes where none is named."""

    nodes: tuple[str, ...] = ()
    by: str


class AskLiveDrill(Frozen, tag_field="ask", tag="live-drill", frozen=True, kw_only=True):
    """Switch `node`, which is in maintenance, off and on again, to see that these devices are its own:
    those of the level of `device`, or of the first level that is not bound yet ("")."""

    node: str
    reason: str
    device: str = ""
    by: str


class AskBootstrap(Frozen, tag_field="ask", tag="bootstrap", frozen=True, kw_only=True):
    """Swear, after a blackout, that all nodes that everything waits for are off. `absent` has to name
    each of them; `against_evidence` as in `AskConfirmOff`."""

    absent: tuple[str, ...]
    reason: str
    against_evidence: bool = False
    by: str


class AskNotify(Frozen, tag_field="ask", tag="notify", frozen=True, kw_only=True):
    """Send a test through every way of telling people that node.yaml names."""

    by: str


Ask = (
    AskLook
    | AskApply
    | AskFreeze
    | AskThaw
    | AskDrain
    | AskUndrain
    | AskRetry
    | AskHold
    | AskRelease
    | AskHandOver
    | AskConfirmOff
    | AskFence
    | AskReadDevices
    | AskLiveDrill
    | AskBootstrap
)
Request = Ask | AskNotify
"""What the control socket takes: an `Ask` is for the reconciler, a test of `notify` is not."""


class Reply(Frozen, frozen=True, kw_only=True):
    """The answer to a request: refused with a reason, or accepted with what was noted."""

    accepted: bool
    reason: str = ""
    message: str = ""
    notes: tuple[str, ...] = ()
    look: int = 0
    """The number of the look at Subversion that will have seen everything committed by now."""


class Progress(Frozen, frozen=True, kw_only=True):
    """A line of the answer to `hold` and `release`: the hold's id as soon as it, or its end, is durable here,
    then what it waits for, until the last one has the reply."""

    id: str = ""
    waiting: str = ""
    reply: Reply | None = None


# --- effects --------------------------------------------------------------------------------------


class Write(Frozen, frozen=True, kw_only=True):
    """Append to the journal; durable before the next effect."""

    record: Record


class Share(Frozen, frozen=True, kw_only=True):
    """Put into the ledger; durable (and acknowledged by peers) before the next effect."""

    fact: Fact


class Perform(Frozen, frozen=True, kw_only=True):
    """Make this call, tag its task with `txn`, give up after `timeout_s`, come back with the answer.

    It is not made, and answered by `NotShared`, where too few voters have made durable whatever was shared
    before.
    """

    txn: str
    call: Call
    timeout_s: float


class Look(Frozen, frozen=True, kw_only=True):
    """Ask Subversion for its head and come back with `SourceSeen` or `SourceFailed`."""

    timeout_s: float


class Fetch(Frozen, frozen=True, kw_only=True):
    """Export, make durable and validate the tree of this head; come back with `TreeLoaded`
    or `FetchFailed`. `since` is the revision in force (0: none), after which the log is wanted."""

    head: Head
    since: int
    timeout_s: float


class Keep(Frozen, frozen=True, kw_only=True):
    """Make this exported revision the last known good one (`target`)."""

    revision: int
    digest: str


class Refresh(Frozen, frozen=True, kw_only=True):
    """Ask the pool for a barrier now: an observation as of this moment is wanted soon."""


class Gather(Frozen, frozen=True, kw_only=True):
    """Merge the ledgers of all peers that can be reached, and come back with `Gathered`."""

    term: int
    within_s: float


class Announce(Frozen, frozen=True, kw_only=True):
    """Wait until what was shared before is durable at every peer that can be reached, and come back
    with `Announced`."""

    term: int


class ClaimTerm(Frozen, frozen=True, kw_only=True):
    """Claim the term in the pool and come back with `TermClaimed`. `mark` tells our claim from others;
    `alone` says how often this node has led alone in it, 0 for never."""

    term: int
    alone: int = 0
    mark: str
    within_s: float


class RevokeSession(Frozen, frozen=True, kw_only=True):
    """End the session that is sealed here ("": none is known) and come back with `SessionRevoked`."""

    term: int
    sealed: str
    within_s: float


class OpenSession(Frozen, frozen=True, kw_only=True):
    """Log in anew, to act in that session alone, and come back with `SessionOpened`."""

    term: int
    within_s: float


class CloseSession(Frozen, frozen=True, kw_only=True):
    """Log out of the session in which this node acted: it leads no more."""


class Stage(Frozen, frozen=True, kw_only=True):
    """Get the tree of the agreed target, from this node's disk, Subversion or a peer; come back with
    `Staged`. `since` as in `Fetch`."""

    target: Target
    since: int
    timeout_s: float


class Probe(Frozen, frozen=True, kw_only=True):
    """Ask the toolstack at this address, of the server of peer `name`, and come back with `Probed`."""

    name: str
    address: str
    within_s: float


class ProbeGuest(Frozen, frozen=True, kw_only=True):
    """Ask the guest of `vm` (uuid) at all of these addresses whether it answers `by` ping (no `port`) or on
    this TCP port, and come back with `GuestProbed`. Any of them will do."""

    vm: str
    started_epoch_s: float
    by: str
    addresses: tuple[str, ...]
    port: int | None
    within_s: float


class Muster(Frozen, frozen=True, kw_only=True):
    """Have the heartbeats follow this roster."""

    roster: Roster


class Tell(Frozen, frozen=True, kw_only=True):
    """Tell people, in every way that node.yaml names and in the pool; come back with `PageTold`."""

    page: Page


class HandOver(Frozen, frozen=True, kw_only=True):
    """Ask the engine to let another node lead: `to`, or whichever can ("")."""

    to: str


Effect = (
    Write
    | Share
    | Perform
    | Look
    | Fetch
    | Keep
    | Refresh
    | Gather
    | Announce
    | ClaimTerm
    | RevokeSession
    | OpenSession
    | CloseSession
    | Stage
    | Probe
    | ProbeGuest
    | Muster
    | Tell
    | HandOver
    | LookAtPower
    | PowerOff
    | PowerOn
    | MemberEffect
)
