"""The ledger: facts that peers share, and how two copies of it become one.

A fact is a small record under a key. Per key the higher (term, seq) wins; a hold is ended by its own
release alone, whatever the terms say, and voters go by the term and epoch of their own. So merging is
commutative, associative and idempotent, and a copy that was lost and rebuilt can only be behind. Losing
facts may cost time (an exception asked for again), never safety.

A fact of a newer version of cxm is kept, merged and passed on as it was written, though not all of it
is understood here: peers are upgraded one after the other, and must agree all the while.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, TypeVar, get_args

import msgspec
from msgspec import field
from msgspec.structs import replace

from membership.clock import Now
from membership.proofs import (
    Attempt,
    Boots,
    Certificate,
    ColdStart,
    Drill,
    FenceOrder,
    LiveDrill,
    Lost,
    MayRun,
    Promotion,
    Synced,
    Unproven,
    Unread,
)
from membership.values import Value
from schema.model import Frozen

SCOPES = ("intent", "drift", "rebalance", "recovery", "fencing")
DEFAULT_SCOPES = ("intent", "drift", "rebalance")
HOLD = "hold/"
INTENT = "intent/"
ALARM = "alarm/"
LOST = "lost/"

TOMBSTONES: Mapping[str, int] = {HOLD: 100, INTENT: 1000, ALARM: 200, LOST: 1000}
"""How many withdrawn facts under a prefix are kept: the newest. A copy that was away for so long that
more than those were withdrawn meanwhile brings back what it still knows. An intent is withdrawn again
by the leader, as is the loss of a VM that runs; the end of an alarm is told twice; a hold stands again until
somebody looks: with 100 releases in between that is no accident. Below these numbers nothing that was
withdrawn comes back. Other keys name nodes, VMs and devices of the tree, of which there are so many."""

Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""What would not fit elsewhere (an index, a file of another tool) is no term and no number of a fact."""


Reign = tuple[int, int]
"""A term, and how often its leader has led alone in it: what is said in one of them is known, or is not
known, to who was away."""

NO_REIGN: Reign = (0, 0)


class TermClaim(Value, tag="term", frozen=True, kw_only=True):
    """`node` may act for the term that this fact carries.

    `alone` is how often it has led alone in it by now: whoever knows this fact knows what was said until
    then. `unheard` is the last reign of which no ledger knew that it had read, as far as no person has
    said since that it does not matter; NO_REIGN where there is none.
    """

    node: str
    alone: int = 0
    unheard: Reign = NO_REIGN


class Target(Value, tag="target", frozen=True, kw_only=True):
    """The revision that is acted on: compared by all three, never by number alone."""

    repository: str
    revision: int
    digest: str
    path: str = ""


class Approval(Value, tag="approval", frozen=True, kw_only=True):
    """`cxm apply` of one revision in gated mode."""

    revision: int
    digest: str
    by: str


class Freeze(Value, tag="freeze", frozen=True, kw_only=True):
    """Leave `object` (`vm/web1`, `node/xen2`, or `all`) alone, within `scopes`, until it expires."""

    object: str
    scopes: tuple[str, ...]
    until_epoch_s: float | None
    reason: str
    by: str


class Drain(Value, tag="drain", frozen=True, kw_only=True):
    """Empty a node. `until_epoch_s` is a reminder, not an end."""

    node: str
    until_epoch_s: float | None
    reason: str
    by: str


class Hold(Value, tag="hold", frozen=True, kw_only=True):
    """Nothing destructive is initiated until a human releases this id."""

    id: str
    reason: str
    by: str


class Withdrawn(Value, tag="withdrawn", frozen=True, kw_only=True):
    """What this key said no longer holds (thawed, undrained). A tombstone, so that it can win."""

    by: str


class Intent(Value, tag="intent", frozen=True, kw_only=True):
    """`node` is about to make a call of XenAPI on `subject` (uuid), tagged `txn`; or has made it.

    `action` is the reconciler's action and `answer` what the call returned, both as JSON text that only
    the reconciler reads; `answer` is "" while none came.
    """

    txn: str
    node: str
    subject: str
    action: str
    answer: str = ""


class SealedSession(Value, tag="session", frozen=True, kw_only=True):
    """The XenAPI session by which `node` acts in its term, readable with the cluster key alone."""

    node: str
    sealed: str


class FoundedVoters(Value, tag="voters", frozen=True, kw_only=True):
    """Who grants leadership: `names`, and a shared `disk` where it is a voter. The higher (`term`,
    `epoch`) wins; the leader of `term` made them, or stated them again (0: they were founded).

    `slots` are the places on a shared disk of all who ever voted: who is removed may not know it yet.
    `addresses` are those of the names, as their tree has them: a tree may drop who still votes, and whose
    agreement is needed to be dropped. `disks` likewise: the paths by which the names reach a disk that votes,
    whatever their tree says by now.
    """

    epoch: int
    revision: int
    names: tuple[str, ...]
    slots: Mapping[str, int] = field(default_factory=dict)
    term: int = 0
    disk: bool = False
    addresses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    disks: Mapping[str, str] = field(default_factory=dict)


class AlarmTold(Value, tag="alarm", frozen=True, kw_only=True):
    """People were told that this alarm began, and how bad it is; withdrawn once they hear that it is over."""

    severity: str
    title: str


class GuestReady(Value, tag="ready", frozen=True, kw_only=True):
    """The guest of `vm` (uuid) has answered `by` ping or tcp:PORT since this start of it. Key `ready/VM`."""

    vm: str
    started_epoch_s: float
    by: str


class Opaque(Value, tag="opaque", frozen=True, kw_only=True):
    """What only a newer version of cxm understands; `kind` is what that one calls it."""

    kind: str


FactValue = (
    TermClaim
    | Target
    | Approval
    | Freeze
    | Drain
    | Hold
    | Withdrawn
    | Intent
    | SealedSession
    | FoundedVoters
    | MayRun
    | Unread
    | Attempt
    | Boots
    | ColdStart
    | Certificate
    | Unproven
    | FenceOrder
    | Lost
    | Drill
    | LiveDrill
    | Synced
    | Promotion
    | AlarmTold
    | GuestReady
    | Opaque
)

_KINDS = frozenset(kind.__struct_config__.tag for kind in get_args(FactValue))


class Fact(Frozen, frozen=True, kw_only=True, omit_defaults=True):
    """`at_epoch_s` is for people. `whole` is the fact as it was written, where there is more in it than
    this version understands, and "" for every other: `read` and `written` see to it."""

    key: str
    term: Count
    seq: Count
    at_epoch_s: float
    value: FactValue
    whole: str = ""


class _Kind(Frozen, frozen=True, kw_only=True):
    """All that is read of a value that is not known: its name."""

    fact: str


class _Envelope(Frozen, frozen=True, kw_only=True):
    """What facts of all versions have in common."""

    key: str
    term: Count
    seq: Count
    at_epoch_s: float
    value: _Kind


_FACT: msgspec.json.Decoder[Fact] = msgspec.json.Decoder(Fact)
_ENVELOPE: msgspec.json.Decoder[_Envelope] = msgspec.json.Decoder(_Envelope)


def written(fact: Fact) -> bytes:
    """The fact as JSON on one line: alike on every peer, whatever its version."""
    return fact.whole.encode() if fact.whole else msgspec.json.encode(fact)


def read(text: bytes) -> Fact:
    """The fact that this JSON says. Raises msgspec.DecodeError for everything that is none."""
    try:
        fact = _understood(text)
        if written(fact) == text:
            return fact
        return replace(fact, whole=msgspec.json.format(text, indent=-1).decode())
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(f"not a fact: {error}") from None


def _understood(text: bytes) -> Fact:
    try:
        # A peer has no say in what is kept as `whole`.
        return replace(_FACT.decode(text), whole="")
    except msgspec.ValidationError:
        known = _ENVELOPE.decode(text)
        if known.value.fact in _KINDS:
            raise
    return Fact(
        key=known.key,
        term=known.term,
        seq=known.seq,
        at_epoch_s=known.at_epoch_s,
        value=Opaque(kind=known.value.fact),
    )


V = TypeVar("V", bound=Value)


def _rank(fact: Fact) -> tuple[tuple[int, int], int, int, bytes]:
    """Two writers of one (term, seq) must not exist; if they do, every peer picks the same of them.

    A release ends its hold even where the hold was raised, or told again, in a later term: holds are
    united, never outvoted, and their ids are never used twice.
    """
    first = (0, 0)
    if fact.key.startswith(HOLD):
        first = (1, 0) if isinstance(fact.value, Withdrawn) else (0, 0)
    elif isinstance(fact.value, FoundedVoters):
        first = (fact.value.term, fact.value.epoch)
    return (first, fact.term, fact.seq, written(fact))


def as_said(facts: Iterable[Fact]) -> tuple[Fact, ...]:
    """In the order in which they can have rested on each other: each has a higher number than all that its
    sayer knew. So who has taken only the first of them knows of nothing whose ground it lacks."""
    return tuple(sorted(facts, key=lambda fact: fact.seq))


def _stamp(fact: Fact) -> int:
    """A number that is another one for every other fact."""
    return int.from_bytes(hashlib.sha256(written(fact)).digest()[:8], "big")


def _too_many(merged: Mapping[str, Fact], news: Iterable[Fact]) -> Iterator[Fact]:
    """The oldest of too many withdrawn facts, of the kinds that `news` adds to."""
    for prefix, most in TOMBSTONES.items():
        if not any(f.key.startswith(prefix) and isinstance(f.value, Withdrawn) for f in news):
            continue
        gone = [
            fact
            for key, fact in merged.items()
            if key.startswith(prefix) and isinstance(fact.value, Withdrawn)
        ]
        yield from sorted(gone, key=_rank, reverse=True)[most:]


def _hold(fact: Fact) -> Hold | None:
    """The hold that a fact is. One that is not understood stops us like every other, until its release."""
    if isinstance(fact.value, Opaque) and fact.key.startswith(HOLD):
        reason = "a newer version of cxm holds, for a reason that this one cannot read"
        return Hold(id=fact.key.removeprefix(HOLD), reason=reason, by="")
    return fact.value if isinstance(fact.value, Hold) else None


def _holds(facts: Mapping[str, Fact]) -> tuple[Hold, ...]:
    found = (_hold(fact) for key, fact in facts.items() if key.startswith(HOLD))
    return tuple(hold for hold in found if hold is not None)


class Ledger(Frozen, frozen=True, kw_only=True):
    """An immutable set of facts, one per key, made by merging. `facts` iterates in the order of the
    keys; `stamp` sums up all of them. `term` is the highest that any fact has carried, 0 in an empty
    ledger, and `last_seq` the highest number of one; `holds` are those that stand. All three are asked
    for at every turn, where there may be tens of thousands of facts."""

    facts: Mapping[str, Fact] = field(default_factory=dict)
    stamp: int = 0
    term: int = 0
    last_seq: int = 0
    holds: tuple[Hold, ...] = ()

    def merge(self, facts: Iterable[Fact]) -> Ledger:
        """This ledger and `facts` together: per key the higher (term, seq)."""
        merged = dict(self.facts)
        stamp = self.stamp
        won: list[Fact] = []
        lost: list[Fact] = []
        for fact in facts:
            known = merged.get(fact.key)
            if known is not None and _rank(fact) <= _rank(known):
                continue
            stamp ^= _stamp(fact) if known is None else _stamp(fact) ^ _stamp(known)
            lost += () if known is None else (known,)
            merged[fact.key] = fact
            won.append(fact)
        if not won:
            return self
        for gone in _too_many(merged, won):
            stamp ^= _stamp(merged.pop(gone.key))
            lost.append(gone)
        if merged.keys() != self.facts.keys():
            merged = {key: merged[key] for key in sorted(merged)}
        term = max(self.term, *(fact.term for fact in won))
        last_seq = max(self.last_seq, *(fact.seq for fact in won))
        if any(fact.term == term or fact.seq == last_seq for fact in lost):
            term = max(fact.term for fact in merged.values())
            last_seq = max(fact.seq for fact in merged.values())
        return Ledger(
            facts=merged,
            stamp=stamp,
            term=term,
            last_seq=last_seq,
            holds=_holds(merged) if any(f.key.startswith(HOLD) for f in won) else self.holds,
        )

    @property
    def digest(self) -> str:
        """Equal for equal ledgers, in whatever order their facts came."""
        return f"{self.stamp:016x}"

    def news_for(self, known: Mapping[str, str]) -> tuple[Fact, ...]:
        """The facts that a copy lacks which is described by `known`, the stamp of each of its keys;
        as they were said."""
        lacking = (
            fact for key, fact in self.facts.items() if known.get(key) != f"{_stamp(fact):016x}"
        )
        return as_said(lacking)

    def described(self) -> dict[str, str]:
        """The stamp of each fact by its key: enough for another copy to know what this one lacks."""
        return {key: f"{_stamp(fact):016x}" for key, fact in self.facts.items()}

    def lacking(self, known: Mapping[str, str]) -> tuple[str, ...]:
        """The keys under which the copy that is described by `known` says what this one does not."""
        ours = self.facts
        return tuple(
            key
            for key, stamp in known.items()
            if key not in ours or f"{_stamp(ours[key]):016x}" != stamp
        )

    @property
    def next_seq(self) -> int:
        return self.last_seq + 1

    def values(self, kind: type[V]) -> tuple[V, ...]:
        return tuple(f.value for f in self.facts.values() if isinstance(f.value, kind))

    def get(self, key: str, kind: type[V]) -> V | None:
        fact = self.facts.get(key)
        return fact.value if fact is not None and isinstance(fact.value, kind) else None

    @property
    def target(self) -> Target | None:
        return self.get("target", Target)

    def freezes(self, now: Now) -> tuple[Freeze, ...]:
        """Freezes that have not expired."""
        return tuple(
            freeze
            for freeze in self.values(Freeze)
            if freeze.until_epoch_s is None or now.epoch_s < freeze.until_epoch_s
        )

    def drains(self) -> Mapping[str, Drain]:
        """Drains asked for by command, by node name."""
        return {drain.node: drain for drain in self.values(Drain)}

    def next_expiry(self, now: Now) -> float | None:
        """Seconds from now until the next freeze expires; None where none does."""
        waits = [
            freeze.until_epoch_s - now.epoch_s
            for freeze in self.freezes(now)
            if freeze.until_epoch_s is not None
        ]
        return min(waits, default=None)
