"""One node's part in the contest for a key that only one can hold: the engine `etcd`, without its wire.

The store must be linearizable, and that is all that safety rests on. Of a holder it is known at every
look that the key is still its own; it leads for a lease from when it *sent* the renewal that came
before that look. Who takes the key next took it after that look, and waits a lease and an effect
longer. So the store's own clock, which ends the lease of a dead holder, decides how soon the next one
leads, and never whether two of them do: a member of the store that was frozen and still grants renewals
does no harm.

A term is `base` + the revision at which the key was made. Revisions only grow, so terms do, as long as
the store is the same one. Where they would not be above what the pool and the ledger know (the store
was rebuilt, or restored from a backup), whoever takes the key raises `base` in the same transaction.

Every answer but that of a look is a hint: what was done is what the next look shows. Times are seconds
of CLOCK_BOOTTIME.
"""

from __future__ import annotations

import math

from membership.roster import DRIFT, EFFECT_S, Timing
from membership.view import Standing
from schema.model import Frozen


class Holder(Frozen, frozen=True, kw_only=True):
    """Who holds the key: `revision` is the one at which it was made, `lease` the one it hangs on.

    `nonce` is of one run of a daemon: what an earlier run took belongs to somebody else.
    """

    node: str
    nonce: str
    lease: int
    revision: int


class Heir(Frozen, frozen=True, kw_only=True):
    """Who is to take the key next: `node`, or where that is "" anybody but `by`, who gave it away."""

    node: str
    by: str

    def lets(self, name: str) -> bool:
        return self.node == name if self.node else self.by != name


class Base(Frozen, frozen=True, kw_only=True):
    """What outlives the holders: what is added to revisions, and how long the last one's lease is."""

    base: int = 0
    lease_s: float = 0.0


class Seen(Frozen, frozen=True, kw_only=True):
    """The cluster's keys at `revision` of the store. `base_changed` and `heir_changed` are the
    revisions of their last change, 0 where there is no such key."""

    revision: int
    base: Base = Base()
    base_changed: int = 0
    holder: Holder | None = None
    heir: Heir | None = None
    heir_changed: int = 0

    @property
    def term(self) -> int:
        return self.base.base + self.holder.revision if self.holder is not None else 0


class Opened(Frozen, frozen=True, kw_only=True):
    lease: int


class Renewed(Frozen, frozen=True, kw_only=True):
    """`lives`: False where the store knows no such lease any more."""

    lives: bool


class Done(Frozen, frozen=True, kw_only=True):
    """Answered; whether it had an effect is for the next look to show."""


Answer = Seen | Opened | Renewed | Done


class Look(Frozen, frozen=True, kw_only=True):
    """Read all keys of the cluster at once, linearizably. Answer: Seen."""


class Open(Frozen, frozen=True, kw_only=True):
    """Begin a lease of at least `ttl_s` whole seconds. Answer: Opened."""

    ttl_s: int


class Seize(Frozen, frozen=True, kw_only=True):
    """Make the key, hanging on `lease`, write `base`, remove the heir; all of it only where there is
    no such key and base and heir are still as in `seen`. Answer: Done."""

    lease: int
    base: Base
    seen: Seen


class Renew(Frozen, frozen=True, kw_only=True):
    """Answer: Renewed."""

    lease: int


class LetGo(Frozen, frozen=True, kw_only=True):
    """Remove the key where it is still the one made at `revision`; write `heir`, hanging on `lease`,
    so that it vanishes by itself. Answer: Done."""

    revision: int
    lease: int
    heir: Heir | None = None


class Revoke(Frozen, frozen=True, kw_only=True):
    """End a lease. Answer: Done."""

    lease: int


Request = Look | Open | Seize | Renew | LetGo | Revoke


class Reign(Frozen, frozen=True, kw_only=True):
    """This node's leadership: from taking the key until it lapses or is let go, in one term."""

    term: int
    revision: int
    acts_from_s: float
    lead_until_s: float


class Contender:
    """Decides what is asked of the store, one request at a time, and what follows from the answers.

    `next` says what to ask now; exactly one of `answered` and `failed` follows before the next `next`.
    """

    def __init__(self, *, me: str, nonce: str, timing: Timing) -> None:
        self._me, self._nonce, self._timing = me, nonce, timing
        self._wants, self._floor = False, 0
        self._request: Request = Look()
        self._due_s = -math.inf
        self._seen: Seen | None = None
        self._seen_s = -math.inf
        self._highest = 0
        self._lease, self._alive_s, self._wait_s = 0, -math.inf, timing.wait_s
        self._reign: Reign | None = None
        self._heir: Heir | None = None
        self._claims = False

    # --- what is wished -------------------------------------------------------------------------

    def stand(self, wants: bool, floor: int, now_s: float) -> None:
        """Whether this node is to lead, in a term above `floor`. A leader whose term is not above
        what is known elsewhere gives it up for a higher one; its own term does not count as that."""
        self._wants, self._floor = wants, max(floor, self._floor)
        reign = self._reign
        if reign is not None and (not wants or self._floor > reign.term):
            self._give_up(reign, now_s)

    def hand_over(self, to: str | None, now_s: float) -> None:
        """Let `to` lead, or anybody else. Nothing where this node does not lead."""
        if self._reign is not None and to != self._me:
            self._heir = Heir(node=to or "", by=self._me)
            self._give_up(self._reign, now_s)

    # --- what is known --------------------------------------------------------------------------

    def standing(self, now_s: float) -> Standing:
        """Whoever holds the key leads, as long as the look that showed it is not older than a lease."""
        reign = self._reign
        if reign is not None and now_s < reign.lead_until_s:
            return Standing(
                term=reign.term,
                leader=self._me,
                acts_from_s=reign.acts_from_s,
                lead_until_s=reign.lead_until_s,
            )
        seen = self._seen
        if seen is None or seen.holder is None or now_s >= self._seen_s + self._timing.lease_s:
            return Standing(term=self._highest)
        other = seen.holder.node not in ("", self._me)
        return Standing(term=self._highest, leader=seen.holder.node if other else None)

    def ends_s(self, now_s: float) -> float:
        """When the standing changes by itself, if nothing is heard of the store until then."""
        ends_s = self._reign.lead_until_s if self._reign is not None else self._stale_s
        return ends_s if ends_s > now_s else math.inf

    def reason(self, now_s: float) -> str:
        """Why nobody is known to lead; "" where somebody is."""
        if self.standing(now_s).leader is not None:
            return ""
        seen = self._seen
        if seen is None or now_s >= self._stale_s:
            return "etcd does not answer"
        if seen.holder is not None:
            return f"the lease of {seen.holder.node or 'a stranger'} has not ended yet"
        if seen.heir is not None and not seen.heir.lets(self._me):
            return f"{seen.heir.by} handed over to {seen.heir.node or 'another'}, who has not begun"
        return "this node is about to stand" if self._wants else "no node that stands is known"

    @property
    def claims(self) -> bool:
        """Whether the key may be this node's, as far as is known."""
        return self._claims

    @property
    def due_s(self) -> float:
        """When the next request is due."""
        return self._due_s

    @property
    def _stale_s(self) -> float:
        return self._seen_s + self._timing.lease_s

    # --- what is asked --------------------------------------------------------------------------

    def next(self, now_s: float) -> Request | None:
        """What to ask of the store now; None before `due_s`."""
        if self._reign is not None and now_s >= self._reign.lead_until_s:
            self._give_up(self._reign, now_s)
        if now_s < self._due_s:
            return None
        self._claims = self._claims or isinstance(self._request, Seize)
        return self._request

    def answered(self, request: Request, answer: Answer, sent_s: float, received_s: float) -> None:
        """`sent_s`: not later than the request left; `received_s`: not earlier than the answer came."""
        match answer:
            case Seen():
                self._saw(answer, sent_s, received_s)
            case Opened():
                self._lease, self._alive_s = answer.lease, sent_s
                self._then(self._seizing(answer.lease), received_s)
            case Renewed():
                self._alive_s = sent_s if answer.lives else self._alive_s
                self._then(Look(), received_s)
            case Done():
                self._done(request, received_s)

    def failed(self, now_s: float) -> None:
        """No answer: the request may have been carried out, or may be yet."""
        renewal = Renew(lease=self._lease) if self._reign is not None else Look()
        self._then(renewal, now_s + 0.5 * self._timing.interval_s)

    def _then(self, request: Request, due_s: float) -> None:
        self._request, self._due_s = request, due_s

    def _rest(self, request: Request, now_s: float) -> None:
        self._then(request, now_s + self._timing.interval_s)

    def _seizing(self, lease: int) -> Request:
        """The wait counts the lease of the last holder: the cluster's timers may have changed."""
        seen = self._seen
        if seen is None or not self._wants:
            return Revoke(lease=lease)
        timing = self._timing
        before_s = max(timing.lease_s, seen.base.lease_s)
        self._wait_s = before_s * DRIFT + EFFECT_S
        floor = max(self._floor, self._highest)
        raised = max(seen.base.base, floor - seen.revision)
        base = Base(base=raised, lease_s=timing.lease_s)
        return Seize(lease=lease, base=base, seen=seen)

    def _done(self, request: Request, now_s: float) -> None:
        match request:
            case LetGo(heir=None):
                self._claims = False
                self._then(Revoke(lease=request.lease), now_s)
            case Seize():
                self._then(Look(), now_s)
            case _:
                self._claims = False
                self._rest(Look(), now_s)

    # --- what was seen --------------------------------------------------------------------------

    def _saw(self, seen: Seen, sent_s: float, received_s: float) -> None:
        known, self._highest = self._highest, max(self._highest, seen.term)
        self._seen, self._seen_s = seen, sent_s
        holder = seen.holder
        if holder is None or (holder.node, holder.nonce) != (self._me, self._nonce):
            self._saw_none_of_ours(seen, received_s)
            return
        reign = self._reign
        if reign is not None and reign.revision == holder.revision:
            acts_from_s = reign.acts_from_s
        elif self._may_begin(holder, seen.term, known):
            acts_from_s = received_s + self._wait_s
        else:
            self._reign = None
            self._then(self._letting_go(holder.revision, holder.lease), received_s)
            return
        self._reign = Reign(
            term=seen.term,
            revision=holder.revision,
            acts_from_s=acts_from_s,
            lead_until_s=self._alive_s + self._timing.lease_s,
        )
        self._rest(Renew(lease=holder.lease), received_s)

    def _saw_none_of_ours(self, seen: Seen, received_s: float) -> None:
        tried, self._claims = self._claims, False
        self._reign, self._heir = None, None
        free = seen.holder is None and (seen.heir is None or seen.heir.lets(self._me))
        if free and self._wants and not tried:
            self._then(Open(ttl_s=math.ceil(self._timing.lease_s)), received_s)
        else:
            self._rest(Look(), received_s)

    def _may_begin(self, holder: Holder, term: int, known: int) -> bool:
        """Only by the last attempt, only once a term: what was given up is never taken up again."""
        latest = holder.lease == self._lease and self._heir is None
        return self._wants and latest and term > max(known, self._floor)

    def _give_up(self, reign: Reign, now_s: float) -> None:
        """From now on this node leads nothing, whatever becomes of the key."""
        self._reign = None
        self._then(self._letting_go(reign.revision, self._lease), now_s)

    def _letting_go(self, revision: int, lease: int) -> LetGo:
        return LetGo(revision=revision, lease=lease, heir=self._heir)
