"""Plan cases lived by three nodes: whatever befalls the leader, the end is the same and nothing twice."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from membership.ledger import Fact
from reconciler.actions import CleanShutdown, PoolMigrate, SetMemory, StartOn
from reconciler.messages import Perform, Share
from reconciler.records import Answered, TookOver
from tests.core.members import Fate, Member, batches
from tests.core.parliament import NAMES, Parliament, parliament
from tests.core.stage import desired, pool
from tests.plan.cases import cases
from tests.plan.expansion import expand
from tests.plan.interrupted import lived

ALL = {name: case for name, case in cases() if not case.uninterrupted and case.view == "leader"}

RICH = (
    "adoption/name-hits-one",
    "backoff/retried",
    "drain/by-shutdown",
    "drain/disc-is-ejected",
    "drain/over",
    "drain/vms-leave-by-migration",
    "drift/contention-is-ended-by-retry",
    "inflight/a-call-under-way-holds-its-vm",
    "limits/migrations",
    "names/name-label",
    "order/after",
    "owed/it-goes-before-other-starts",
    "power/halted-and-running",
    "power/suspended-and-running",
    "resources/memory-and-vcpus",
    "resources/restart-of-a-paused-vm",
    "resources/two-restarts-share-the-room",
)
"""One of each kind of work, and those in which one row takes several calls."""

CHAINS = ("resources/memory-and-vcpus", "drain/vms-leave-by-migration", "drain/disc-is-ejected")


def whole(name: str, shuffle: random.Random | None = None) -> Parliament:
    house = Parliament(expand(ALL[name]), shuffle=shuffle)
    house.elect("anna")
    house.rest()
    return house


def same_end(house: Parliament, calm: Parliament, place: str) -> None:
    same_work(house, calm, place)
    blamed = {line.partition(": ")[2] for line in house.foreign()}
    assert blamed <= {line.partition(": ")[2] for line in calm.foreign()}, place


def same_work(house: Parliament, calm: Parliament, place: str) -> None:
    assert house.end() == calm.end(), place
    assert Counter(house.pool.log) == Counter(calm.pool.log), place
    for member in house.living:
        assert not member.alive.status(house.now).in_flight, (
            f"{place}: {member.name} waits for ever"
        )


@pytest.mark.parametrize("name", ALL)
def test_three_nodes_do_what_one_does(name: str) -> None:
    calm, alone = whole(name), lived(expand(ALL[name]))
    assert calm.end() == alone.end()
    assert Counter(calm.pool.log) == Counter(alone.pool.log)
    assert {who for who, _, _ in calm.performed} <= {"anna"}


def lives(
    name: str, shuffle: Callable[[], random.Random | None]
) -> Iterator[tuple[str, Parliament]]:
    """The case, with every fate at every effect of the leader."""
    calm = whole(name, shuffle())
    for number in range(1, calm.counted + 1):
        for fate in Fate:
            if fate is Fate.DIES_LATE and number not in calm.begun_at:
                continue
            house = Parliament(expand(ALL[name]), shuffle=shuffle())
            house.fall_at, house.fate = number, fate
            house.elect("anna")
            house.rest()
            yield f"{name}: at effect {number} {fate.value}", house


@pytest.mark.parametrize("name", RICH)
def test_whatever_befalls_the_leader_it_ends_the_same(name: str) -> None:
    calm = whole(name)
    for place, house in lives(name, lambda: None):
        for dead in [name for name in NAMES if house[name].core is None]:
            house.boot(dead)
        house.rest()
        same_end(house, calm, place)


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("seed", range(2))
def test_facts_that_come_late_twice_and_in_disorder_change_nothing(name: str, seed: int) -> None:
    calm = whole(name)
    for place, house in lives(name, lambda: random.Random(seed)):
        same_end(house, calm, f"{place}, seed {seed}")


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("fate", [Fate.DIES, Fate.DIES_AFTER, Fate.LAPSES, Fate.RESTARTS])
def test_one_leader_after_the_other_falls(name: str, fate: Fate) -> None:
    """Each new leader gets a little further; whoever died is back before the next one falls."""
    calm = whole(name)
    for number in range(6, 16):
        house = Parliament(expand(ALL[name]))
        house.fall_at, house.fate, house.fall_every = number, fate, 20
        house.elect("anna")
        for _ in range(4):
            house.pass_s(25.0)
            for dead in [name for name in NAMES if house[name].core is None]:
                house.boot(dead)
            if house.leader is None:
                house.elect("bert")
        house.fall_at = house.fall_every = None
        house.rest()
        same_end(house, calm, f"{name}: {fate.value}, from effect {number}")


@pytest.mark.parametrize("name", CHAINS)
def test_who_missed_everything_can_lead(name: str) -> None:
    """A node to which no fact came leads next: it gathers what the others know before it acts. What it
    saw meanwhile it could not but take for somebody else's doing."""
    calm = whole(name)
    for number in range(1, calm.counted + 1):
        house = Parliament(expand(ALL[name]), names=("anna", "cleo", "bert"))
        house["cleo"].cut = True
        house.fall_at, house.fate = number, Fate.LAPSES_AFTER
        house.elect("anna")
        while house.fall_at is not None and house.now_s < house.given.now.mono_s + 300.0:
            house.pass_s(1.1)
        house.reconnect("cleo")
        house.rest()
        same_work(house, calm, f"{name}: at effect {number}")


# --- in the middle of a restart, told in full ----------------------------------------------------------

NODES: dict[str, object] = {"xen1": {}, "xen2": {}}
BIGGER = desired(
    nodes=NODES, vms={"web1": {"state": "running", "memory": "8GiB", "restart": "now"}}
)
SMALL = pool(BIGGER, vms={"web1": {"on": "xen1"}})


def until(house: Parliament, kind: type, seconds: float = 60.0) -> None:
    """Until a call of this kind has reached the pool."""
    until_s = house.now_s + seconds
    while not any(isinstance(call, kind) for _, _, call in house.performed):
        assert house.now_s < until_s, f"no {kind.__name__} within {seconds} s"
        house.pass_s(0.5)


@pytest.mark.parametrize("stage", [CleanShutdown, SetMemory, StartOn])
def test_a_restart_goes_on_under_the_next_leader(stage: type) -> None:
    house = parliament(BIGGER, SMALL)
    house.elect("anna")
    until(house, stage)
    house.kill("anna")
    house.elect("bert")
    house.rest()
    kinds = [type(call) for call in house.pool.log]
    assert kinds == [CleanShutdown, SetMemory, StartOn]
    assert "vm/web1 Running on xen1, 8589934592 bytes" in house.end()[0]
    assert list(house.foreign()) == []
    doing = {term: who for who, term, _ in house.performed}
    assert set(doing.values()) <= {"anna", "bert"}
    assert len(doing) == (1 if stage is StartOn else 2)


def test_a_migration_outlives_its_leader() -> None:
    tree = desired(
        nodes={"xen1": {"maintenance": {"reason": "fan"}}, "xen2": {}},
        vms={"web1": {"state": "running"}},
    )
    house = parliament(tree, pool(tree, vms={"web1": {"on": "xen1"}}))
    house.elect("anna")
    until(house, PoolMigrate)
    house.kill("anna")
    house.elect("bert")
    house.rest()
    assert [type(call).__name__ for call in house.pool.log] == ["DisableNode", "PoolMigrate"]
    assert house.end()[-1].startswith("vm/web1 Running on xen2")
    house.boot("anna")
    house.elect("anna")
    house.rest()
    assert len(house.pool.log) == 2
    assert list(house.foreign()) == []


def test_a_late_answer_never_outranks_what_the_successor_began() -> None:
    """The old leader's call returns when its successor is already at the next one on the same VM."""
    house = parliament(BIGGER, SMALL)
    house.elect("anna")
    until(house, CleanShutdown)
    house["anna"].cut = True
    house.elect("bert")
    until(house, SetMemory)
    key = next(key for key in house["bert"].ledger.facts if key.startswith("intent/"))
    late = house["anna"].ledger.facts[key]
    assert (late.term, house["bert"].ledger.facts[key].term) == (house.term - 1, house.term)
    house.reconnect("anna")
    assert house["anna"].ledger.facts[key] == house["bert"].ledger.facts[key]
    house.rest()
    assert len({member.ledger.digest for member in house.living}) == 1
    assert [type(call) for call in house.pool.log] == [CleanShutdown, SetMemory, StartOn]


def test_all_ledgers_are_alike_in_the_end() -> None:
    house = parliament(BIGGER, SMALL, shuffle=random.Random(3))
    house.elect("anna")
    house.rest()
    assert len({member.ledger.digest for member in house.living}) == 1


def test_a_leader_that_does_not_tell_is_caught() -> None:
    """The harness sees: where intents are not told, a follower blames somebody else, or acts twice."""
    house = Silent(expand(ALL["resources/memory-and-vcpus"]))
    house.elect("anna")
    house.rest()
    assert list(house.foreign()) != []


class Silent(Parliament):
    """Facts about what is begun reach nobody."""

    def _take(self, member: Member, facts: list[Fact]) -> None:
        super()._take(member, [fact for fact in facts if not fact.key.startswith("intent/")])


def test_records_and_facts_in_a_row_are_durable_together() -> None:
    house = parliament(BIGGER, SMALL)
    house.elect("anna")
    house.rest()
    for member in house.living:
        for batch in batches(member.effects):
            assert len({type(effect) for effect in batch}) == 1
    acts = [entry for entry in house["anna"].entries if isinstance(entry, TookOver)]
    assert len(acts) == 1
    kinds = [type(effect) for effect in house["anna"].effects]
    for place, effect in enumerate(house["anna"].effects):
        if isinstance(effect, Perform):
            assert Share in kinds[place - 2 : place], "told before it is begun"
    answered = [entry for entry in house["cleo"].entries if isinstance(entry, Answered)]
    assert len(answered) == len(house.pool.log)
