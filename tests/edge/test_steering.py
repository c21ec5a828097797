"""The loop around the core: order of effects, events in turn, deadlines, and failures that end it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest
from msgspec.structs import replace

from membership.clock import Now
from membership.edge.supervision import Supervisor
from membership.ledger import Fact, Target, TermClaim
from membership.roster import Candidacy
from reconciler.actions import Answer, Call, Done, Retry, StartOn, Unsure
from reconciler.edge import converge as converge_module
from reconciler.edge.alone import Alone
from reconciler.edge.clock import DaemonClock
from reconciler.edge.converge import Converge
from reconciler.edge.inbox import Inbox
from reconciler.edge.mastering import Mastering
from reconciler.edge.outreach import Outreach
from reconciler.edge.steering import Steering
from reconciler.edge.switching import Switching
from reconciler.edge.telling import Tellers
from reconciler.messages import (
    Ask,
    AskLook,
    CallReturned,
    Effect,
    Event,
    Fetch,
    FetchFailed,
    Head,
    Keep,
    Look,
    Perform,
    PoolLost,
    PoolObserved,
    Reply,
    Share,
    SourceFailed,
    SourceSeen,
    Staged,
    TermClaimed,
    Tick,
    TreeLoaded,
    Write,
)
from reconciler.observed import Observed, Pool
from reconciler.paging import Page
from reconciler.records import Record, SourceBack
from reconciler.status import Condition, Status, Verdict
from reconciler.whatif import WhatIf
from reconciler.why import Why
from tests.edge.deaf import Deaf
from tests.edge.lonely import Lonely
from tests.edge.unarmed import Unarmed

HEAD = Head(repository="r", path="", revision=1, author="alice", message="m")
CALL = StartOn(vm="v", node="n")


class World:
    """Pool, source, journal and ledger that note what is asked of them, in one list."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.fails: str = ""
        self.hangs = False

    def _note(self, what: str) -> None:
        if what == self.fails:
            raise OSError(28, "No space left on device")
        self.done.append(what)

    async def run(self, publish: Callable[[PoolObserved | PoolLost], None]) -> None:
        del publish

    async def perform(
        self, txn: str, call: Call, timeout_s: float, permitted: Callable[[], bool]
    ) -> Answer:
        del call, timeout_s
        if not permitted():
            return Retry(reason="LeaseOver")
        self._note(f"perform {txn}")
        if self.hangs:
            await asyncio.sleep(3600)
        return Done()

    def refresh(self) -> None:
        self._note("refresh")

    async def claim(self, term: int, alone: int, mark: str, within_s: float) -> TermClaimed:
        del within_s
        self._note(f"claim {term}.{alone} for {mark}")
        return TermClaimed(term=term, result="won")

    async def revoke(self, ref: str, within_s: float) -> bool:
        del within_s
        self._note(f"revoke {ref}")
        return True

    async def open_acting(self, within_s: float) -> str:
        del within_s
        self._note("open session")
        return "ref"

    async def close_acting(self) -> None:
        self._note("close session")

    async def probe(self, address: str, within_s: float) -> bool | None:
        del within_s
        self._note(f"probe {address}")
        return True

    async def tell(self, page: Page, within_s: float) -> str:
        del within_s
        self._note(f"tell {page.title}")
        return ""

    async def close(self) -> None:
        pass

    async def look(self, timeout_s: float) -> SourceSeen | SourceFailed:
        del timeout_s
        self._note("look")
        return SourceSeen(head=HEAD)

    async def fetch(self, head: Head, since: int, timeout_s: float) -> TreeLoaded | FetchFailed:
        del timeout_s
        self._note(f"fetch {head.revision} since {since}")
        return FetchFailed(head=head, reason="missing", message="gone")

    async def stage(self, target: Target, since: int, timeout_s: float) -> Staged:
        del timeout_s
        self._note(f"stage {target.revision} since {since}")
        return Staged(target=target, message="gone")

    def keep(self, revision: int, digest: str) -> None:
        self._note(f"keep {revision}-{digest}")


class Durable:
    """A journal or a ledger: one line of `World.done` for each append."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name

    def append(self, items: Sequence[Record] | Sequence[Fact]) -> None:
        self._world._note(f"{self._name} {','.join(str(item.seq) for item in items)}")


def write(seq: int) -> Write:
    return Write(record=Record(seq=seq, at_s=float(seq), entry=SourceBack()))


def share(seq: int) -> Share:
    claim = TermClaim(node="n")
    return Share(fact=Fact(key=f"k{seq}", term=1, seq=seq, at_epoch_s=0.0, value=claim))


def perform(txn: str) -> Perform:
    return Perform(txn=txn, call=CALL, timeout_s=1.0)


async def carried_out(world: World, effects: Sequence[Effect]) -> list[Event]:
    events: list[Event] = []
    async with asyncio.TaskGroup() as tasks:
        hands = Converge(
            world,
            world,
            Durable(world, "journal"),
            Durable(world, "ledger"),
            Outreach(Alone(), world, world, Tellers((), "n", "c"), Deaf()),
            Switching(Unarmed(), lambda: True, lambda: True),
            Mastering(Lonely(), lambda: True, lambda: True),
            lambda: True,
            lambda _: "",
            events.append,
            tasks.create_task,
        )
        hands.carry_out(effects)
        world.done.append("returned")
    return events


# --- converge -------------------------------------------------------------------------------------


async def test_effects_keep_their_order_and_share_a_sync() -> None:
    world = World()
    effects: list[Effect] = [write(1), write(2), share(1), write(3), perform("t"), write(4)]
    effects.append(Keep(revision=1, digest="d"))
    await carried_out(world, effects)
    assert world.done == [
        "journal 1,2",
        "ledger 1",
        "journal 3",
        "journal 4",
        "keep 1-d",
        "returned",
        "perform t",
    ]


async def test_results_come_back_as_events() -> None:
    effects: list[Effect] = [
        perform("t"),
        Look(timeout_s=1.0),
        Fetch(head=HEAD, since=0, timeout_s=1.0),
    ]
    assert await carried_out(World(), effects) == [
        CallReturned(txn="t", answer=Done()),
        SourceSeen(head=HEAD),
        FetchFailed(head=HEAD, reason="missing", message="gone"),
    ]


@pytest.mark.parametrize("fails", ["journal 1", "ledger 1"])
async def test_no_call_is_made_that_is_not_on_disk(fails: str) -> None:
    world = World()
    world.fails = fails
    with pytest.RaisesGroup(OSError):
        await carried_out(world, [write(1), share(1), perform("t")])
    assert "perform t" not in world.done


async def test_a_call_that_never_returns_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converge_module, "MARGIN_S", -0.95)
    world = World()
    world.hangs = True
    (event,) = await carried_out(world, [perform("t")])
    assert isinstance(event, CallReturned)
    assert isinstance(event.answer, Unsure)


# --- inbox ----------------------------------------------------------------------------------------


def observed(as_of_s: float) -> PoolObserved:
    seen = Observed(as_of_s=as_of_s, epoch_s=0.0, by="n", pool=Pool(uuid="p"))
    return PoolObserved(observed=seen)


async def test_an_observation_replaces_one_that_waits() -> None:
    inbox = Inbox()
    answer = CallReturned(txn="t", answer=Done())
    for event in (observed(1.0), answer, observed(2.0), observed(3.0)):
        inbox.post(event)
    assert [await inbox.take(0) for _ in range(3)] == [answer, observed(3.0), None]


async def test_nothing_within_the_time_is_none() -> None:
    assert await Inbox().take(0.01) is None


# --- steering -------------------------------------------------------------------------------------


STATUS = Status(
    cluster=None,
    cluster_id=None,
    node="n",
    version="1",
    mode=None,
    verdict=Verdict.UNKNOWN,
    condition=Condition.UNKNOWN,
)


class Scripted:
    """A core that notes what it is given. Its deadline is the one that it was told to have."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.due_s: float | None = None
        self.effects: list[Effect] = []
        self.breaks_on: type[Event] | None = None

    def start(self, now: Now) -> list[Effect]:
        self.started = now
        return []

    def handle(self, event: Event, now: Now) -> list[Effect]:
        del now
        if self.breaks_on is not None and isinstance(event, self.breaks_on):
            raise AssertionError("a broken invariant")
        if isinstance(event, Tick):
            self.due_s = None
        self.events.append(event)
        return []

    def ask(self, ask: Ask, now: Now) -> tuple[Reply, list[Effect]]:
        del ask, now
        return Reply(accepted=True), self.effects

    def deadline(self) -> float | None:
        return self.due_s

    def status(self, now: Now) -> Status:
        return replace(STATUS, term=len(self.events), version=f"{now.mono_s > 0}")

    def candidacy(self) -> Candidacy:
        return Candidacy()

    def why(self, obj: str, now: Now) -> Why:
        del now
        return Why(object=obj, known=False)

    def what_if(self, down: Sequence[str], now: Now) -> WhatIf:
        del now
        return WhatIf(down=tuple(down), nodes=(), vms=())


class Rig:
    def __init__(self, environ: dict[str, str] | None = None) -> None:
        self.core = Scripted()
        self.world = World()
        self.inbox = Inbox()
        self.clock = DaemonClock()
        self.tasks: set[asyncio.Task[None]] = set()
        hands = Converge(
            self.world,
            self.world,
            Durable(self.world, "journal"),
            Durable(self.world, "ledger"),
            Outreach(Alone(), self.world, self.world, Tellers((), "n", "c"), Deaf()),
            Switching(Unarmed(), lambda: True, lambda: True),
            Mastering(Lonely(), lambda: True, lambda: True),
            lambda: True,
            lambda _: "",
            self.inbox.post,
            lambda work: self.tasks.add(asyncio.ensure_future(work)),
        )
        supervisor = Supervisor(environ or {})
        self.steering = Steering(self.core, hands, self.inbox, self.clock, supervisor)
        self.running = asyncio.ensure_future(self.steering.run())

    async def stop(self) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)


async def test_events_are_handled_in_turn() -> None:
    rig = Rig()
    lost = PoolLost(reason="x", message="y")
    rig.inbox.post(lost)
    rig.inbox.post(observed(1.0))
    await asyncio.sleep(0.02)
    assert rig.core.events == [lost, observed(1.0)]
    await rig.stop()


async def test_a_tick_comes_at_the_deadline_and_not_before() -> None:
    rig = Rig()
    rig.core.due_s = rig.clock.now().mono_s + 0.15
    await asyncio.sleep(0.05)
    assert rig.core.events == []
    await asyncio.sleep(0.2)
    assert rig.core.events == [Tick()]
    await rig.stop()


async def test_what_is_accepted_is_durable_before_it_is_answered() -> None:
    rig = Rig()
    rig.core.effects = [write(1), share(1)]
    reply = await rig.steering.request(AskLook())
    assert reply.accepted
    assert rig.world.done == ["journal 1", "ledger 1"]
    await rig.stop()


async def test_status_and_why_are_answered_between_events() -> None:
    rig = Rig()
    rig.inbox.post(PoolLost(reason="x", message="y"))
    assert (await rig.steering.status()).term == 1
    assert (await rig.steering.why("vm/a")).object == "vm/a"
    await rig.stop()


async def test_a_broken_invariant_ends_the_loop() -> None:
    rig = Rig()
    rig.core.breaks_on = PoolLost
    rig.inbox.post(PoolLost(reason="x", message="y"))
    with pytest.raises(AssertionError, match="a broken invariant"):
        await rig.running


async def test_a_disk_that_fails_ends_the_loop_and_nothing_is_answered() -> None:
    rig = Rig()
    rig.world.fails = "journal 1"
    rig.core.effects = [write(1)]
    asking = asyncio.ensure_future(rig.steering.request(AskLook()))
    with pytest.raises(OSError, match="No space"):
        await rig.running
    assert not asking.done()
    asking.cancel()


# --- clock ----------------------------------------------------------------------------------------


async def test_times_go_on_from_one_run_to_the_next() -> None:
    clock = DaemonClock(not_before_s=0.0, wall=lambda: 1000.0)
    assert clock.now().mono_s == pytest.approx(1000.0, abs=0.5)
    assert clock.now().epoch_s == 1000.0


async def test_a_wall_clock_in_the_past_moves_no_deadline() -> None:
    clock = DaemonClock(not_before_s=5000.0, wall=lambda: 10.0)
    assert clock.now().mono_s == pytest.approx(5000.0, abs=0.5)
    assert clock.seconds_until(5060.0) == pytest.approx(60.0, abs=0.5)
    assert clock.seconds_until(4000.0) == 0.0


async def test_the_loops_time_is_translated() -> None:
    clock = DaemonClock(not_before_s=0.0, wall=lambda: 1000.0)
    moment = asyncio.get_running_loop().time()
    assert clock.from_loop(moment) == pytest.approx(1000.0, abs=0.5)
