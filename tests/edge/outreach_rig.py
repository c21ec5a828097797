"""What effects reach out to, as a test plays it: pool, Subversion, peers, people."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from membership.ledger import Fact, Target, TermClaim
from membership.roster import Roster
from reconciler.actions import Answer, Call, Done, Retry, StartOn
from reconciler.edge.converge import Converge, Spawn
from reconciler.edge.mastering import Mastering
from reconciler.edge.outreach import Outreach
from reconciler.edge.switching import Switching
from reconciler.messages import (
    Effect,
    Event,
    FetchFailed,
    Head,
    Perform,
    PoolLost,
    PoolObserved,
    Share,
    SourceFailed,
    SourceSeen,
    Staged,
    TermClaimed,
    TreeLoaded,
)
from reconciler.paging import Page, Severity
from reconciler.records import Record
from tests.edge.lonely import Lonely
from tests.edge.unarmed import Unarmed

TARGET = Target(repository="r", revision=3, digest="ab")
HEAD = Head(repository="r", path="", revision=3, author=None, message="")
TREE = TreeLoaded(head=HEAD, digest="ab", desired=None)
PAGE = Page(key="k", severity=Severity.CRITICAL, title="held", text="t")


class Notes:
    """What was asked of pool, source, peers and people, in its order."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def note(self, what: str) -> None:
        self.done.append(what)


class FakePool:
    """`ref` of a new session, `revoked`, `answers` of a probe: what the pool says. `claimed` likewise."""

    def __init__(self, notes: Notes) -> None:
        self._note = notes.note
        self.claimed = TermClaimed(term=4, result="won")
        self.ref = "OpaqueRef:new"
        self.revoked = True
        self.answers: bool | None = True
        self.probe_s = 0.0
        self.untold = ""

    async def run(self, publish: Callable[[PoolObserved | PoolLost], None]) -> None:
        del publish

    async def perform(
        self, txn: str, call: Call, timeout_s: float, permitted: Callable[[], bool]
    ) -> Answer:
        del call, timeout_s
        if not permitted():
            return Retry(reason="LeaseOver")
        self._note(f"perform {txn}")
        return Done()

    async def claim(self, term: int, alone: int, mark: str, within_s: float) -> TermClaimed:
        self._note(f"claim {term}.{alone} for {mark} within {within_s:g}")
        return self.claimed

    async def revoke(self, ref: str, within_s: float) -> bool:
        self._note(f"revoke {ref} within {within_s:g}")
        return self.revoked

    async def open_acting(self, within_s: float) -> str:
        self._note(f"open within {within_s:g}")
        return self.ref

    async def close_acting(self) -> None:
        self._note("close")

    async def probe(self, address: str, within_s: float) -> bool | None:
        self._note(f"probe {address} within {within_s:g}")
        await asyncio.sleep(self.probe_s)
        return self.answers

    async def tell(self, page: Page, within_s: float) -> str:
        del within_s
        self._note(f"pool told of {page.key}")
        return self.untold

    def refresh(self) -> None:
        self._note("refresh")

    async def close(self) -> None:
        return


class FakeSource:
    def __init__(self, notes: Notes) -> None:
        self._note = notes.note
        self.staged = Staged(target=TARGET, message="Subversion is away")

    async def look(self, timeout_s: float) -> SourceSeen | SourceFailed:
        del timeout_s
        return SourceSeen(head=HEAD)

    async def fetch(self, head: Head, since: int, timeout_s: float) -> TreeLoaded | FetchFailed:
        del since, timeout_s
        return FetchFailed(head=head, reason="missing", message="gone")

    async def stage(self, target: Target, since: int, timeout_s: float) -> Staged:
        self._note(f"source r{target.revision} since {since} within {timeout_s:g}")
        return self.staged

    def keep(self, revision: int, digest: str) -> None:
        self._note(f"keep {revision}-{digest}")


class FakePeers:
    """`holding`: shares wait until it is set. `broken`: they fail."""

    def __init__(self, notes: Notes) -> None:
        self._note = notes.note
        self.holding = asyncio.Event()
        self.holding.set()
        self.broken = False
        self.acknowledging: tuple[str, ...] = ("xen2", "xen3")
        self.staged = Staged(target=TARGET, message="no peer has it")

    async def share(self, facts: Sequence[Fact]) -> tuple[str, ...]:
        names = ",".join(fact.key for fact in facts)
        await self.holding.wait()
        if self.broken:
            raise AssertionError("a broken invariant")
        self._note(f"acknowledged {names}")
        return self.acknowledging

    async def gather(self, within_s: float) -> tuple[str, ...]:
        self._note(f"gather within {within_s:g}")
        return ("xen2", "xen3")

    async def stage(self, target: Target, since: int, timeout_s: float) -> Staged:
        self._note(f"peers r{target.revision} since {since} within {timeout_s:g}")
        return self.staged

    def muster(self, roster: Roster) -> None:
        self._note(f"muster {','.join(roster.names)}")

    def hand_over(self, to: str) -> None:
        self._note(f"hand over to {to or 'anybody'}")

    def seal(self, text: str) -> str:
        return f"sealed {text}"

    def unseal(self, sealed: str) -> str:
        return sealed.removeprefix("sealed ") if sealed.startswith("sealed ") else ""


class People:
    def __init__(self, notes: Notes) -> None:
        self._note = notes.note
        self.lines: tuple[str, ...] = ("exec /a: told",)

    async def tell(self, page: Page) -> tuple[str, ...]:
        self._note(f"people told of {page.key}")
        return self.lines


class Durable:
    def __init__(self, notes: Notes, name: str) -> None:
        self._note, self._name = notes.note, name

    def append(self, items: Sequence[Record] | Sequence[Fact]) -> None:
        self._note(f"{self._name} {len(items)}")


class FakeGuests:
    """`answers_now`: whether every guest does."""

    def __init__(self, notes: Notes) -> None:
        self._note = notes.note
        self.answers_now = True

    async def answers(self, addresses: Sequence[str], port: int | None, within_s: float) -> bool:
        self._note(f"knock at {' '.join(addresses)} port {port} within {within_s:g}")
        return self.answers_now


class Rig:
    def __init__(self) -> None:
        self.notes = Notes()
        self.pool = FakePool(self.notes)
        self.source = FakeSource(self.notes)
        self.peers = FakePeers(self.notes)
        self.people = People(self.notes)
        self.guests = FakeGuests(self.notes)
        self.now_s = 100.0
        self.permitted = True
        self.least = 0
        self.outreach = Outreach(
            self.peers, self.pool, self.source, self.people, self.guests, lambda: self.now_s
        )
        self.events: list[Event] = []

    @property
    def done(self) -> list[str]:
        return self.notes.done

    def hands(self, spawn: Spawn) -> Converge:
        return Converge(
            self.pool,
            self.source,
            Durable(self.notes, "journal"),
            Durable(self.notes, "ledger"),
            self.outreach,
            Switching(Unarmed(), lambda: self.permitted, lambda: self.permitted),
            Mastering(Lonely(), lambda: self.permitted, lambda: self.permitted),
            lambda: self.permitted,
            lambda told: "" if len(told) >= self.least else "too few",
            self.events.append,
            spawn,
        )

    async def carried_out(self, *effects: Effect) -> list[Event]:
        async with asyncio.TaskGroup() as tasks:
            self.hands(tasks.create_task).carry_out(effects)
        return self.events


def share(key: str) -> Share:
    claim = TermClaim(node="n")
    return Share(fact=Fact(key=key, term=1, seq=1, at_epoch_s=0.0, value=claim))


def perform(txn: str) -> Perform:
    return Perform(txn=txn, call=StartOn(vm="v", node="n"), timeout_s=1.0)
