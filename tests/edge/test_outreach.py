"""Effects that reach out: each brings its event, and nothing that others do is ever raised."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest
from msgspec.structs import replace

from membership.ledger import Fact, Target, TermClaim
from membership.roster import Member, Roster
from reconciler.actions import NOT_SHARED, Answer, Call, Done, Retry, StartOn
from reconciler.edge.converge import Converge, Spawn
from reconciler.edge.outreach import Outreach
from reconciler.edge.switching import Switching
from reconciler.messages import (
    Announce,
    Announced,
    CallReturned,
    ClaimTerm,
    CloseSession,
    Effect,
    Event,
    FetchFailed,
    Gather,
    Gathered,
    HandOver,
    Head,
    Muster,
    OpenSession,
    PageTold,
    Perform,
    PoolLost,
    PoolObserved,
    Probe,
    Probed,
    RevokeSession,
    SessionOpened,
    SessionRevoked,
    Share,
    SourceFailed,
    SourceSeen,
    Stage,
    Staged,
    Tell,
    TermClaimed,
    TreeLoaded,
)
from reconciler.paging import Page, Severity
from reconciler.records import Record
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

    async def claim(self, term: int, mark: str, within_s: float) -> TermClaimed:
        self._note(f"claim {term} for {mark} within {within_s:g}")
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


class Rig:
    def __init__(self) -> None:
        self.notes = Notes()
        self.pool = FakePool(self.notes)
        self.source = FakeSource(self.notes)
        self.peers = FakePeers(self.notes)
        self.people = People(self.notes)
        self.now_s = 100.0
        self.permitted = True
        self.outreach = Outreach(
            self.peers, self.pool, self.source, self.people, lambda: self.now_s
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
            lambda: self.permitted,
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


async def test_an_announcement_is_over_when_all_that_was_said_before_is_acknowledged() -> None:
    rig = Rig()
    rig.peers.acknowledging = ("xen3", "xen2")
    events = await rig.carried_out(share("a"), share("b"), Announce(term=4))
    assert events == [Announced(term=4, names=("xen2", "xen3"))]
    assert rig.done[-1] == "acknowledged a,b"


@pytest.mark.parametrize(("acknowledging", "made"), [(("xen2",), True), (("xen9",), False)])
async def test_a_call_is_made_only_if_enough_voters_know_of_it(
    acknowledging: tuple[str, ...], made: bool
) -> None:
    rig = Rig()
    rig.peers.acknowledging = acknowledging
    call = replace(perform("t1"), among=("xen2", "xen3"), least=1)
    (event,) = await rig.carried_out(share("a"), call)
    assert isinstance(event, CallReturned)
    assert (isinstance(event.answer, Retry) and event.answer.reason == NOT_SHARED) is not made
    assert any("perform" in line for line in rig.done) is made


# --- each effect and its event --------------------------------------------------------------------


async def test_gathering() -> None:
    rig = Rig()
    assert await rig.carried_out(Gather(term=4, within_s=3.0)) == [
        Gathered(term=4, names=("xen2", "xen3"))
    ]
    assert rig.done == ["gather within 3"]


@pytest.mark.parametrize("result", ["won", "lost", "unsure"])
async def test_a_claim_is_answered_by_the_pool(result: str) -> None:
    rig = Rig()
    rig.pool.claimed = TermClaimed(term=4, result=result, holder="xen2", message="m")
    claim = ClaimTerm(term=4, mark="beef", within_s=2.0)
    assert await rig.carried_out(claim) == [rig.pool.claimed]
    assert rig.done == ["claim 4 for beef within 2"]


async def test_the_predecessors_session_is_ended() -> None:
    rig = Rig()
    effect = RevokeSession(term=4, sealed="sealed OpaqueRef:old", within_s=2.0)
    assert await rig.carried_out(effect) == [SessionRevoked(term=4, done=True)]
    assert rig.done == ["revoke OpaqueRef:old within 2"]


async def test_a_session_that_may_still_be_good_is_not_said_to_be_over() -> None:
    rig = Rig()
    rig.pool.revoked = False
    effect = RevokeSession(term=4, sealed="sealed OpaqueRef:old", within_s=2.0)
    (event,) = await rig.carried_out(effect)
    assert isinstance(event, SessionRevoked)
    assert not event.done
    assert event.message


@pytest.mark.parametrize("sealed", ["", "by another key"])
async def test_a_session_that_nobody_can_read_is_left_to_the_wait(sealed: str) -> None:
    rig = Rig()
    rig.pool.revoked = False
    effect = RevokeSession(term=4, sealed=sealed, within_s=2.0)
    assert await rig.carried_out(effect) == [SessionRevoked(term=4, done=True)]
    assert rig.done == []


async def test_a_session_to_act_in_is_sealed_and_never_told_in_clear() -> None:
    rig = Rig()
    assert await rig.carried_out(OpenSession(term=4, within_s=2.0)) == [
        SessionOpened(term=4, sealed="sealed OpaqueRef:new")
    ]
    rig = Rig()
    rig.pool.ref = ""
    (event,) = await rig.carried_out(OpenSession(term=4, within_s=2.0))
    assert isinstance(event, SessionOpened)
    assert (event.term, event.sealed) == (4, "")
    assert event.message


async def test_closing_tells_nothing() -> None:
    rig = Rig()
    assert await rig.carried_out(CloseSession()) == []
    assert rig.done == ["close"]


@pytest.mark.parametrize("answers", [True, False, None])
async def test_a_probe_is_as_old_as_its_question(answers: bool | None) -> None:
    rig = Rig()
    rig.pool.answers, rig.pool.probe_s = answers, 0.05
    probing = asyncio.create_task(
        rig.carried_out(Probe(name="xen2", address="192.0.2.2", within_s=3.0))
    )
    await asyncio.sleep(0.02)
    rig.now_s = 103.0
    assert await probing == [Probed(name="xen2", answers=answers, at_s=100.0)]
    assert rig.done == ["probe 192.0.2.2 within 3"]


async def test_a_tree_is_taken_from_subversion_and_peers_are_not_troubled() -> None:
    rig = Rig()
    rig.source.staged = Staged(target=TARGET, tree=TREE)
    stage = Stage(target=TARGET, since=2, timeout_s=60.0)
    assert await rig.carried_out(stage) == [rig.source.staged]
    assert rig.done == ["source r3 since 2 within 60"]


@pytest.mark.parametrize("tree", [TREE, None])
async def test_where_subversion_is_away_peers_are_asked(tree: TreeLoaded | None) -> None:
    rig = Rig()
    rig.peers.staged = replace(rig.peers.staged, tree=tree)
    stage = Stage(target=TARGET, since=2, timeout_s=60.0)
    assert await rig.carried_out(stage) == [rig.peers.staged]
    assert rig.done == ["source r3 since 2 within 60", "peers r3 since 2 within 60"]


@pytest.mark.parametrize(
    ("lines", "untold", "said"),
    [
        (("exec /a: told", "mail b: exit 1"), "", ["exec /a: told; mail b: exit 1"]),
        ((), "no session", ["no way of telling anybody is set up", "no session"]),
    ],
)
async def test_people_and_the_pool_are_told_and_the_log_says_how(
    caplog: pytest.LogCaptureFixture, lines: tuple[str, ...], untold: str, said: list[str]
) -> None:
    caplog.set_level("INFO", "cxm.outreach")
    rig = Rig()
    rig.people.lines, rig.pool.untold = lines, untold
    assert await rig.carried_out(Tell(page=PAGE)) == [PageTold(page=PAGE)]
    assert sorted(rig.done) == ["people told of k", "pool told of k"]
    assert len(caplog.messages) == len(said)
    assert "held (critical)" in caplog.messages[0]
    for message, part in zip(caplog.messages, said, strict=True):
        assert part in message


async def test_what_needs_no_answer_is_done_in_its_turn() -> None:
    rig = Rig()
    roster = Roster(cluster_id="c", me="xen1", members=(Member(name="xen1"), Member(name="xen2")))
    async with asyncio.TaskGroup() as tasks:
        hands = rig.hands(tasks.create_task)
        hands.carry_out([share("a"), Muster(roster=roster), HandOver(to="xen2"), HandOver(to="")])
        assert rig.done == [
            "ledger 1",
            "muster xen1,xen2",
            "hand over to xen2",
            "hand over to anybody",
        ]


# --- calls and what was shared before -------------------------------------------------------------


async def test_a_call_waits_until_peers_have_what_was_shared_before_it() -> None:
    rig = Rig()
    rig.peers.holding.clear()
    async with asyncio.TaskGroup() as tasks:
        rig.hands(tasks.create_task).carry_out([share("intent/1"), share("intent/2"), perform("t")])
        await asyncio.sleep(0.05)
        assert rig.done == ["ledger 2"]
        rig.peers.holding.set()
    assert rig.done == ["ledger 2", "acknowledged intent/1,intent/2", "perform t"]
    assert rig.events == [CallReturned(txn="t", answer=Done())]


async def test_a_call_waits_for_what_an_earlier_step_shared_too() -> None:
    rig = Rig()
    rig.peers.holding.clear()
    async with asyncio.TaskGroup() as tasks:
        hands = rig.hands(tasks.create_task)
        hands.carry_out([share("hold/1")])
        await asyncio.sleep(0.02)
        hands.carry_out([perform("t")])
        await asyncio.sleep(0.05)
        assert rig.done == ["ledger 1"]
        rig.peers.holding.set()
    assert rig.done[1:] == ["acknowledged hold/1", "perform t"]


async def test_who_knows_is_told_by_the_last_share_begun_and_not_by_the_last_to_end() -> None:
    """Three are under way. Xen2 misses the second, and acknowledges the third: by then it has all. Xen3
    has the first two, and not the third."""
    rig = Rig()
    gates = {key: asyncio.Event() for key in "abc"}
    known = {"a": ("xen2", "xen3"), "b": ("xen3",), "c": ("xen2",)}

    async def slow(facts: Sequence[Fact]) -> tuple[str, ...]:
        await gates[facts[0].key].wait()
        return known[facts[0].key]

    rig.peers.share = slow  # type: ignore[method-assign]
    async with asyncio.TaskGroup() as tasks:
        hands = rig.hands(tasks.create_task)
        for key in "abc":
            hands.carry_out([share(key)])
        hands.carry_out([Announce(term=4)])
        for key in "bca":
            assert rig.events == []
            gates[key].set()
            await asyncio.sleep(0.01)
        assert rig.events == [Announced(term=4, names=("xen2",))]
        hands.carry_out([Announce(term=5)])
    assert rig.events[1:] == [Announced(term=5, names=("xen2",))]


async def test_what_is_shared_later_holds_up_no_call_that_is_under_way() -> None:
    rig = Rig()
    async with asyncio.TaskGroup() as tasks:
        hands = rig.hands(tasks.create_task)
        hands.carry_out([perform("t")])
        await asyncio.sleep(0.02)
        rig.peers.holding.clear()
        hands.carry_out([share("late")])
        await asyncio.sleep(0.02)
        assert rig.done == ["perform t", "ledger 1"]
        rig.peers.holding.set()


async def test_other_effects_do_not_wait_for_peers() -> None:
    rig = Rig()
    rig.peers.holding.clear()
    async with asyncio.TaskGroup() as tasks:
        rig.hands(tasks.create_task).carry_out(
            [share("term"), ClaimTerm(term=4, mark="m", within_s=1.0)]
        )
        await asyncio.sleep(0.02)
        assert rig.events == [rig.pool.claimed]
        rig.peers.holding.set()


async def test_a_share_that_breaks_ends_the_daemon_and_no_call_rests_on_it() -> None:
    rig = Rig()
    rig.peers.broken = True
    with pytest.RaisesGroup(AssertionError):
        await rig.carried_out(share("intent/1"), perform("t"))
    assert "perform t" not in rig.done
    with pytest.RaisesGroup(AssertionError):
        await rig.carried_out(share("drain/1"))


async def test_no_call_goes_ahead_of_a_share_that_broke_though_nothing_stops_it() -> None:
    rig = Rig()
    rig.peers.broken = True
    tasks: list[asyncio.Task[None]] = []
    hands = rig.hands(lambda work: tasks.append(asyncio.create_task(work)))
    hands.carry_out([share("intent/1"), perform("t")])
    await asyncio.wait(tasks)
    hands.carry_out([perform("u")])
    await asyncio.wait(tasks)
    assert rig.done == ["ledger 1"]
    assert [str(task.exception()) for task in tasks] == ["a broken invariant"] * 3


async def test_whether_it_is_permitted_is_asked_after_the_wait_for_peers() -> None:
    """The lease may end while a peer takes its two seconds not to answer."""
    rig = Rig()
    rig.peers.holding.clear()
    async with asyncio.TaskGroup() as tasks:
        rig.hands(tasks.create_task).carry_out([share("intent/1"), perform("t")])
        await asyncio.sleep(0.02)
        rig.permitted = False
        rig.peers.holding.set()
    assert rig.events == [CallReturned(txn="t", answer=Retry(reason="LeaseOver"))]
    assert "perform t" not in rig.done
