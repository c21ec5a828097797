"""A reconciler on a stage: the test plays Subversion, the pool and the people, and keeps the journal."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from membership.clock import Now
from membership.ledger import Ledger
from membership.view import View, single
from reconciler.journal import replay
from reconciler.messages import (
    Ask,
    Effect,
    Event,
    Fetch,
    Head,
    Look,
    Perform,
    PoolObserved,
    Reply,
    Share,
    SourceSeen,
    TreeLoaded,
    Write,
)
from reconciler.observed import Observed
from reconciler.reconciler import Reconciler
from reconciler.records import AnyEntry, Record
from reconciler.status import Status
from schema import tree
from schema.errors import ConfigError
from schema.model import Desired
from tests.plan.cases import DesiredForm, ObservedForm
from tests.plan.expansion import ME, MONO_S, REPOSITORY, documents, identity, observed

EPOCH_S = 1_800_000_000.0
E = TypeVar("E", bound=Effect)


def head(revision: int, message: str = "", *, repository: str = REPOSITORY) -> Head:
    return Head(repository=repository, path="/", revision=revision, author="alice", message=message)


def digest(revision: int) -> str:
    return f"{revision:064d}"


def desired(**forms: object) -> Desired:
    """A tree, as in plan cases: `cluster`, `nodes`, `vms` by name."""
    loaded = tree.load(documents(msgspec.convert(forms, DesiredForm)))
    assert loaded.desired is not None, loaded.errors
    return loaded.desired


def loaded(
    revision: int,
    wanted: Desired | None,
    message: str = "",
    *,
    errors: tuple[ConfigError, ...] = (),
) -> TreeLoaded:
    seen = head(revision, message)
    return TreeLoaded(head=seen, digest=digest(revision), desired=wanted, errors=errors)


@dataclass
class Stage:
    """One daemon's core. Every event comes two seconds after the one before, unless told otherwise."""

    view: View = field(default_factory=lambda: single(ME, 1))
    ledger: Ledger = field(default_factory=Ledger)
    records: list[Record] = field(default_factory=list)
    kept: TreeLoaded | None = None
    now_s: float = MONO_S
    effects: list[Effect] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.core = Reconciler(
            me=ME,
            version="1.0.0",
            cluster_id=identity("cluster", "test"),
            journal=replay(self.records),
            ledger=self.ledger,
            view=self.view,
            kept=self.kept,
            random=random.Random(1),
        )
        self._take(self.core.start(self.now))

    @property
    def now(self) -> Now:
        return Now(mono_s=self.now_s, epoch_s=EPOCH_S + self.now_s - MONO_S)

    @property
    def status(self) -> Status:
        return self.core.status(self.now)

    @property
    def entries(self) -> list[AnyEntry]:
        return [record.entry for record in self.records]

    def _take(self, effects: list[Effect]) -> list[Effect]:
        self.effects = effects
        self.records += [effect.record for effect in effects if isinstance(effect, Write)]
        shared = [effect.fact for effect in effects if isinstance(effect, Share)]
        self.ledger = self.ledger.merge(shared)
        return effects

    def tell(self, event: Event, *, after_s: float = 2.0) -> list[Effect]:
        self.now_s += after_s
        return self._take(self.core.handle(event, self.now))

    def ask(self, ask: Ask, *, after_s: float = 2.0) -> Reply:
        self.now_s += after_s
        reply, effects = self.core.ask(ask, self.now)
        self._take(effects)
        return reply

    def of(self, kind: type[E]) -> list[E]:
        """The last effects of this kind."""
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def commit(
        self,
        revision: int,
        wanted: Desired | None,
        message: str = "",
        *,
        errors: tuple[ConfigError, ...] = (),
    ) -> list[Effect]:
        """Subversion shows a head; it is fetched and loaded."""
        self.tell(SourceSeen(head=head(revision, message)))
        assert [fetch.head.revision for fetch in self.of(Fetch)] == [revision]
        return self.tell(loaded(revision, wanted, message, errors=errors))

    def see(self, pool: Observed, *, after_s: float = 2.0, age_s: float = 0.0) -> list[Effect]:
        self.now_s += after_s
        picture = replace(pool, as_of_s=self.now_s - age_s, epoch_s=self.now.epoch_s)
        return self._take(self.core.handle(PoolObserved(observed=picture), self.now))

    @property
    def calls(self) -> list[str]:
        """The calls among the last effects, as `start_on`."""
        return [str(type(effect.call).__name__) for effect in self.of(Perform)]

    @property
    def looks(self) -> int:
        return len(self.of(Look))


def pool(wanted: Desired, **forms: object) -> Observed:
    """A pool, as in plan cases: `nodes`, `vms` by name."""
    return observed(msgspec.convert(forms, ObservedForm), wanted, EPOCH_S)
