"""Revisions: from a head that was seen to a target that is acted on, or to the reason why not.

A revision that cannot be read, does not validate, belongs to another cluster or goes beyond the limits
without consent never becomes the target: the last good one stays in force. A repository that is
another one, or went back, or changed what a revision says, is not believed at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from membership.ledger import Approval, Target
from reconciler.messages import Fetch, Head, Keep, TreeLoaded
from reconciler.records import AnyEntry, HeadSeen, Rejected, SourceLost, Targeted
from schema.consent import changes, missing_consent, trailers
from schema.errors import ConfigError
from schema.model import Desired, Mode


class HeadState(StrEnum):
    """Where the newest revision that was seen stands."""

    NONE = "none"
    FETCHING = "fetching"
    STAGED = "staged"
    TARGET = "target"
    GATED = "gated"
    REJECTED = "rejected"
    DOUBTED = "doubted"


class HeadEvent(StrEnum):
    SEEN = "seen"
    GOOD = "good"
    NEEDS_APPROVAL = "needs-approval"
    BAD = "bad"
    FAILED = "failed"
    DOUBT = "doubt"
    APPROVED = "approved"
    LEFT_TO_LEADER = "left-to-leader"
    AGREED = "agreed"


_HANDS_OFF = (Mode.OBSERVE, Mode.RECOVER)

DOUBTS = ("OtherRepository", "WentBack", "DigestDiffers")
"""Reasons for which a repository that answers is not believed."""

TABLE: Mapping[tuple[HeadState, HeadEvent], HeadState] = {
    (HeadState.NONE, HeadEvent.SEEN): HeadState.FETCHING,
    (HeadState.TARGET, HeadEvent.SEEN): HeadState.FETCHING,
    (HeadState.GATED, HeadEvent.SEEN): HeadState.FETCHING,
    (HeadState.REJECTED, HeadEvent.SEEN): HeadState.FETCHING,
    (HeadState.DOUBTED, HeadEvent.SEEN): HeadState.FETCHING,
    (HeadState.FETCHING, HeadEvent.SEEN): HeadState.FETCHING,
    (HeadState.STAGED, HeadEvent.SEEN): HeadState.FETCHING,
    (HeadState.FETCHING, HeadEvent.GOOD): HeadState.TARGET,
    (HeadState.FETCHING, HeadEvent.LEFT_TO_LEADER): HeadState.STAGED,
    (HeadState.NONE, HeadEvent.AGREED): HeadState.TARGET,
    (HeadState.FETCHING, HeadEvent.AGREED): HeadState.TARGET,
    (HeadState.STAGED, HeadEvent.AGREED): HeadState.TARGET,
    (HeadState.STAGED, HeadEvent.NEEDS_APPROVAL): HeadState.GATED,
    (HeadState.STAGED, HeadEvent.DOUBT): HeadState.DOUBTED,
    (HeadState.GATED, HeadEvent.AGREED): HeadState.TARGET,
    (HeadState.REJECTED, HeadEvent.AGREED): HeadState.TARGET,
    (HeadState.FETCHING, HeadEvent.NEEDS_APPROVAL): HeadState.GATED,
    (HeadState.FETCHING, HeadEvent.BAD): HeadState.REJECTED,
    (HeadState.FETCHING, HeadEvent.FAILED): HeadState.NONE,
    (HeadState.GATED, HeadEvent.APPROVED): HeadState.TARGET,
    (HeadState.NONE, HeadEvent.DOUBT): HeadState.DOUBTED,
    (HeadState.TARGET, HeadEvent.DOUBT): HeadState.DOUBTED,
    (HeadState.GATED, HeadEvent.DOUBT): HeadState.DOUBTED,
    (HeadState.REJECTED, HeadEvent.DOUBT): HeadState.DOUBTED,
    (HeadState.DOUBTED, HeadEvent.DOUBT): HeadState.DOUBTED,
    (HeadState.FETCHING, HeadEvent.DOUBT): HeadState.DOUBTED,
}
"""The life of the head. What is not listed changes nothing."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of an event: entries for the journal, and the effects that follow them."""

    entries: tuple[AnyEntry, ...] = ()
    fetch: Fetch | None = None
    keep: Keep | None = None
    target: Target | None = None


NOTHING = Verdict()


class Revisions:
    """The head, the candidate and the target of one daemon."""

    def __init__(self, cluster_id: str, kept: TreeLoaded | None) -> None:
        self.state = HeadState.NONE
        self.head: Head | None = None
        self.target = kept
        self.candidate: TreeLoaded | None = None
        self.errors: tuple[ConfigError, ...] = ()
        self.reason = ""
        self.message = ""
        self._cluster_id = cluster_id

    def _go(self, event: HeadEvent) -> bool:
        after = TABLE.get((self.state, event))
        if after is None:
            return False
        self.state = after
        return True

    # --- the head was seen ---------------------------------------------------------------------

    def seen(self, head: Head, agreed: Target | None, timeout_s: float) -> Verdict:
        """Subversion named its head. `agreed`: the target of the ledger, which nothing may undercut."""
        doubt = _doubt(head, self._floor(agreed))
        if doubt is not None:
            self._go(HeadEvent.DOUBT)
            self.head, self.reason, self.message = head, doubt.reason, doubt.message
            return Verdict(entries=(doubt,))
        if self._known(head):
            return NOTHING
        fresh = self.head is None or head.revision != self.head.revision
        self._go(HeadEvent.SEEN)
        self.head = head
        since = self.target.head.revision if self.target is not None else 0
        entry = HeadSeen(
            revision=head.revision, author=head.author or "", summary=summary(head.message)
        )
        entries: tuple[AnyEntry, ...] = (entry,) if fresh else ()
        return Verdict(entries=entries, fetch=Fetch(head=head, since=since, timeout_s=timeout_s))

    def _known(self, head: Head) -> bool:
        """Whether this head was already fetched, or is being."""
        if self.head is None or self.state in (HeadState.NONE, HeadState.DOUBTED):
            return False
        return (self.head.repository, self.head.path, self.head.revision) == (
            head.repository,
            head.path,
            head.revision,
        )

    @property
    def settled(self) -> bool:
        """Whether the head that Subversion shows is here, accepted or not."""
        return self.state in (
            HeadState.STAGED,
            HeadState.TARGET,
            HeadState.GATED,
            HeadState.REJECTED,
        )

    def failed(self) -> bool:
        """The head could not be fetched: the next look begins anew. False if none was being fetched."""
        return self._go(HeadEvent.FAILED)

    # --- its tree was loaded -------------------------------------------------------------------

    def loaded(
        self, tree: TreeLoaded, agreed: Target | None, approved: Approval | None, *, decides: bool
    ) -> Verdict:
        """The tree of a head came. One that was superseded meanwhile is dropped.

        `decides`: this node leads. Another one keeps the tree ready and waits for the leader's word.
        """
        if self.state is not HeadState.FETCHING or self.head is None:
            return NOTHING
        if tree.head.revision != self.head.revision:
            return NOTHING
        same = agreed if _same_revision(tree.head, agreed) else None
        if same is not None and tree.digest != same.digest:
            return self._doubt_digest(tree, same)
        refusal = self._refusal(tree)
        if refusal is not None:
            return self._reject(tree, *refusal)
        assert tree.desired is not None
        self.errors, self.reason, self.message = (), "", ""
        if (not decides and same is None) or self._undercuts(tree, agreed):
            self._go(HeadEvent.LEFT_TO_LEADER)
            self.candidate = tree
            return NOTHING
        if self._gate(tree) and same is None and not _approves(approved, tree):
            self._go(HeadEvent.NEEDS_APPROVAL)
            self.candidate = tree
            return NOTHING
        self._go(HeadEvent.GOOD)
        return self._accept(tree, agreed)

    # --- what the leader says, and what a new one decides ----------------------------------------

    def agree(self, agreed: Target | None, approved: Approval | None, *, decides: bool) -> Verdict:
        """Take in what the ledger says of the tree that is ready here; or decide about it."""
        tree = self.candidate
        if tree is None or self.state not in (HeadState.STAGED, HeadState.GATED):
            return NOTHING
        if self._undercuts(tree, agreed):
            return NOTHING
        if _target(tree) == agreed:
            self._go(HeadEvent.AGREED)
            return self._accept(tree, agreed)
        if agreed is not None and _same_revision(tree.head, agreed):
            return self._doubt_digest(tree, agreed)
        if not decides:
            return NOTHING
        if self._gate(tree) and not _approves(approved, tree):
            self._go(HeadEvent.NEEDS_APPROVAL)
            return NOTHING
        self._go(HeadEvent.AGREED)
        return self._accept(tree, agreed)

    def follows(self, agreed: Target | None) -> bool:
        """Whether what is in force here is what was agreed."""
        if agreed is None:
            return True
        return self.target is not None and _target(self.target) == agreed

    def goes_back(self, agreed: Target) -> bool:
        """Whether the agreed target is older than what is in force here: nobody follows that."""
        mine = self.target.head if self.target is not None else None
        return (
            mine is not None
            and (mine.repository, mine.path) == (agreed.repository, agreed.path)
            and mine.revision > agreed.revision
        )

    def _floor(self, agreed: Target | None) -> Target | None:
        """What nothing may undercut: what was agreed, or what is in force here where that is newer."""
        if self.target is not None and (agreed is None or self.goes_back(agreed)):
            return _target(self.target)
        return agreed

    def _undercuts(self, tree: TreeLoaded, agreed: Target | None) -> bool:
        """Whether to accept this tree would be to go back. It may come later than what is newer."""
        floor, head = self._floor(agreed), tree.head
        return (
            floor is not None
            and (head.repository, head.path) == (floor.repository, floor.path)
            and head.revision < floor.revision
        )

    def outdated(self, agreed: Target | None) -> bool:
        """Whether the tree that is ready here is older than what was acted on since."""
        return self.candidate is not None and self._undercuts(self.candidate, agreed)

    def name_of(self, tree: TreeLoaded) -> Target:
        """How the ledger names this tree."""
        return _target(tree)

    def follow(self, tree: TreeLoaded, agreed: Target | None) -> Verdict:
        """The agreed tree came, by whatever way."""
        refusal = self._refusal_of_any(tree)
        if refusal is not None or _target(tree) != agreed or self.goes_back(agreed):
            return NOTHING
        if not self._ahead_of(tree) and self._go(HeadEvent.AGREED):
            self.head = tree.head
            self.candidate = None
            self.errors, self.reason, self.message = (), "", ""
        return self._put_in_force(tree, agreed)

    def _ahead_of(self, tree: TreeLoaded) -> bool:
        """Whether the head is newer than this tree, or is this very one and still to be compared with
        what Subversion says."""
        head = self.head
        if head is None:
            return False
        if self.state is HeadState.FETCHING:
            return head.revision >= tree.head.revision
        return head.revision > tree.head.revision

    def _doubt_digest(self, tree: TreeLoaded, agreed: Target) -> Verdict:
        self._go(HeadEvent.DOUBT)
        self.reason = "DigestDiffers"
        self.message = (
            f"r{tree.head.revision} is not what it was when it became the target"
            f" (digest {tree.digest[:12]}, was {agreed.digest[:12]})"
        )
        return Verdict(entries=(SourceLost(reason=self.reason, message=self.message),))

    def _refusal(self, tree: TreeLoaded) -> tuple[str, str] | None:
        refusal = self._refusal_of_any(tree)
        if refusal is not None or tree.desired is None:
            return refusal
        return self._unconsented(tree.desired, tree.messages or (tree.head.message,))

    def _refusal_of_any(self, tree: TreeLoaded) -> tuple[str, str] | None:
        """What refuses a tree whoever decided for it. Consent is judged once, where it is decided."""
        desired = tree.desired
        if desired is None:
            reason = "NeedsUpgrade" if tree.needs_upgrade else "Invalid"
            first = tree.errors[0] if tree.errors else None
            where = f"{first.path}:{first.line}: {first.message}" if first is not None else ""
            more = f" and {len(tree.errors) - 1} more" if len(tree.errors) > 1 else ""
            return reason, where + more
        if desired.cluster.id != self._cluster_id:
            return (
                "WrongCluster",
                f"the tree is of cluster {desired.cluster.id}, this node of {self._cluster_id}",
            )
        return None

    def _unconsented(self, desired: Desired, messages: tuple[str, ...]) -> tuple[str, str] | None:
        """Consent counts in any revision since the one in force: two commits may come as one head."""
        old = self.target.desired if self.target is not None else None
        if old is None:
            return None
        limits = (old.cluster.limits, desired.cluster.limits)
        missing = missing_consent(changes(old, desired), limits, "\n".join(messages))
        if not missing:
            return None
        lines = "; ".join(f"{item.reason}: {item.trailer_line}" for item in missing)
        return "ConsentMissing", f"beyond the limits without consent in the log: {lines}"

    def _reject(self, tree: TreeLoaded, reason: str, message: str) -> Verdict:
        self._go(HeadEvent.BAD)
        self.candidate = None
        self.errors, self.reason, self.message = tree.errors, reason, message
        author = tree.head.author or ""
        entry = Rejected(revision=tree.head.revision, author=author, reason=reason, message=message)
        return Verdict(entries=(entry,))

    def _gate(self, tree: TreeLoaded) -> bool:
        """The mode in force decides, so that leaving `gated` upwards needs an approval too.

        Trust that is taken back is taken back at once: nobody is to wait for leave to stop cxm.
        """
        old = self.target.desired if self.target is not None else tree.desired
        lowered = tree.desired is not None and tree.desired.cluster.mode in _HANDS_OFF
        return old is not None and old.cluster.mode is Mode.GATED and not lowered

    def approve(self, revision: int, agreed: Target | None) -> Verdict:
        """`cxm apply` of the gated head, unless something newer was acted on meanwhile."""
        tree = self.candidate
        if tree is None or tree.head.revision != revision or self._undercuts(tree, agreed):
            return NOTHING
        if not self._go(HeadEvent.APPROVED):
            return NOTHING
        return self._accept(tree, agreed)

    def _accept(self, tree: TreeLoaded, agreed: Target | None) -> Verdict:
        self.candidate = None
        return self._put_in_force(tree, agreed)

    def _put_in_force(self, tree: TreeLoaded, agreed: Target | None) -> Verdict:
        known = self.target is not None and self.target.digest == tree.digest
        self.target = tree
        if known and _target(tree) == agreed:
            return NOTHING
        head = tree.head
        entry = Targeted(
            revision=head.revision,
            author=head.author or "",
            summary=summary(head.message),
            digest=tree.digest,
        )
        keep = Keep(revision=head.revision, digest=tree.digest)
        fresh = _target(tree) if _target(tree) != agreed else None
        return Verdict(entries=(entry,), keep=keep, target=fresh)


def _approves(approval: Approval | None, tree: TreeLoaded) -> bool:
    """An approval outlives the daemon that took it: it may have been killed before it acted on it."""
    return approval is not None and (approval.revision, approval.digest) == (
        tree.head.revision,
        tree.digest,
    )


def _target(tree: TreeLoaded) -> Target:
    return _of(tree.head, tree.digest)


def _of(head: Head, digest: str) -> Target:
    return Target(repository=head.repository, path=head.path, revision=head.revision, digest=digest)


def trusted(kept: TreeLoaded | None, agreed: Target | None) -> TreeLoaded | None:
    """The tree that a daemon may start from: what was agreed, or what it was about to agree on.

    A kept tree older than the target was superseded already, and acting on it would go back.
    """
    if kept is None or agreed is None:
        return kept
    if kept.head.revision > agreed.revision or kept.digest == agreed.digest:
        return kept
    return None


def _doubt(head: Head, agreed: Target | None) -> SourceLost | None:
    """Why this repository cannot be the one that the target came from."""
    if agreed is None:
        return None
    other = (head.repository, head.path) != (agreed.repository, agreed.path)
    if other and "source-changed" not in trailers(head.message):
        return SourceLost(
            reason="OtherRepository",
            message=f"repository {head.repository}{head.path}, but the target r{agreed.revision}"
            f" is of {agreed.repository}{agreed.path}; consent is Cxm-Accept: source-changed",
        )
    if not other and head.revision < agreed.revision:
        return SourceLost(
            reason="WentBack",
            message=f"head is r{head.revision}, but r{agreed.revision} was acted on already:"
            " was the repository restored from a backup?",
        )
    return None


def _same_revision(head: Head, agreed: Target | None) -> bool:
    return agreed is not None and (head.repository, head.path, head.revision) == (
        agreed.repository,
        agreed.path,
        agreed.revision,
    )


def summary(message: str) -> str:
    """The first line of a log message that says anything."""
    return next((line.strip() for line in message.splitlines() if line.strip()), "")
