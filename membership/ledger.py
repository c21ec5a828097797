"""The ledger: facts that peers share, and how two copies of it become one.

A fact is a small record under a key. Per key the higher (term, seq) wins; a hold is ended by its own
release alone, whatever the terms say, and voters go by their epoch. So merging is commutative,
associative and idempotent, and a copy that was lost and rebuilt can only be behind. Losing facts may
cost time (an exception asked for again), never safety.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec
from msgspec import field

from membership.clock import Now
from schema.model import Frozen

SCOPES = ("intent", "drift", "rebalance", "recovery", "fencing")
DEFAULT_SCOPES = ("intent", "drift", "rebalance")
HOLD = "hold/"


class Value(Frozen, tag_field="fact", frozen=True, kw_only=True):
    """Base of what a fact can say."""


class TermClaim(Value, tag="term", frozen=True, kw_only=True):
    """`node` may act for the term that this fact carries."""

    node: str


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
    """Who grants leadership; `slots` are their places on a shared disk. Higher `epoch` wins."""

    epoch: int
    revision: int
    names: tuple[str, ...]
    slots: Mapping[str, int] = field(default_factory=dict)


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
)


class Fact(Frozen, frozen=True, kw_only=True):
    key: str
    term: int
    seq: int
    at_epoch_s: float
    value: FactValue


V = TypeVar("V", bound=Value)


def _rank(fact: Fact) -> tuple[int, int, int, bytes]:
    """Two writers of one (term, seq) must not exist; if they do, every peer picks the same of them.

    A release ends its hold even where the hold was raised, or told again, in a later term: holds are
    united, never outvoted, and their ids are never used twice.
    """
    first = 0
    if fact.key.startswith(HOLD):
        first = 1 if isinstance(fact.value, Withdrawn) else 0
    elif isinstance(fact.value, FoundedVoters):
        first = fact.value.epoch
    return (first, fact.term, fact.seq, msgspec.json.encode(fact))


def _stamp(fact: Fact) -> int:
    """A number that is another one for every other fact."""
    return int.from_bytes(hashlib.sha256(msgspec.json.encode(fact)).digest()[:8], "big")


class Ledger(Frozen, frozen=True, kw_only=True):
    """An immutable set of facts, one per key, made by merging. `facts` iterates in the order of the
    keys; `stamp` sums up all of them."""

    facts: Mapping[str, Fact] = field(default_factory=dict)
    stamp: int = 0

    def merge(self, facts: Iterable[Fact]) -> Ledger:
        """This ledger and `facts` together: per key the higher (term, seq)."""
        merged = dict(self.facts)
        stamp = self.stamp
        for fact in facts:
            known = merged.get(fact.key)
            if known is None or _rank(fact) > _rank(known):
                stamp ^= _stamp(fact) if known is None else _stamp(fact) ^ _stamp(known)
                merged[fact.key] = fact
        ordered = {key: merged[key] for key in sorted(merged)}
        return Ledger(facts=ordered, stamp=stamp)

    @property
    def digest(self) -> str:
        """Equal for equal ledgers, in whatever order their facts came."""
        return f"{self.stamp:016x}"

    def news_for(self, known: Mapping[str, str]) -> tuple[Fact, ...]:
        """The facts that a copy lacks which is described by `known`: the stamp of each of its keys."""
        return tuple(
            fact for key, fact in self.facts.items() if known.get(key) != f"{_stamp(fact):016x}"
        )

    def described(self) -> dict[str, str]:
        """The stamp of each fact by its key: enough for another copy to know what this one lacks."""
        return {key: f"{_stamp(fact):016x}" for key, fact in self.facts.items()}

    @property
    def term(self) -> int:
        """The highest term that any fact carries; 0 in an empty ledger."""
        return max((fact.term for fact in self.facts.values()), default=0)

    @property
    def next_seq(self) -> int:
        return 1 + max((fact.seq for fact in self.facts.values()), default=0)

    def values(self, kind: type[V]) -> tuple[V, ...]:
        return tuple(f.value for f in self.facts.values() if isinstance(f.value, kind))

    def get(self, key: str, kind: type[V]) -> V | None:
        fact = self.facts.get(key)
        return fact.value if fact is not None and isinstance(fact.value, kind) else None

    @property
    def target(self) -> Target | None:
        return self.get("target", Target)

    @property
    def holds(self) -> tuple[Hold, ...]:
        return self.values(Hold)

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
