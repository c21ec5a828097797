"""What every engine must do, whatever it rests on. That never two might act is checked after each."""

from __future__ import annotations

import pytest

from tests.membership.engines.engine_sets import EngineSet

pytestmark = pytest.mark.xdist_group("etcd")


def leaders(nodes: EngineSet, *but: str) -> set[tuple[str | None, int]]:
    """(leader, term) as the nodes know them, but for these."""
    told = [nodes.watch.last(name) for name in nodes.names if name not in but]
    return {(standing.leader, standing.term) for standing in told}


async def led(nodes: EngineSet, *but: str, within_s: float = 15.0) -> tuple[str, int]:
    """The one leader that all of them but these know, and its term."""
    until_s = nodes.now_s() + within_s
    while True:
        known = leaders(nodes, *but)
        for leader, term in known:
            if len(known) == 1 and leader is not None and leader not in but:
                return leader, term
        assert nodes.now_s() < until_s, known
        await nodes.live(0.05)


async def acts(nodes: EngineSet, name: str) -> None:
    """Until this node may act; the wait of a new leader, and not more, lies before that."""
    standing = nodes.watch.last(name)
    await nodes.live(max(0.0, standing.acts_from_s - nodes.now_s()) + 0.05)
    standing = nodes.watch.last(name)
    assert standing.leader == name
    assert standing.acts_from_s <= nodes.now_s() < standing.lead_until_s


def all_stand(nodes: EngineSet, floor: int = 0) -> None:
    for name in nodes.names:
        nodes.stand(name, True, floor)


async def test_one_of_those_who_stand_leads_and_all_know_it(anyone: EngineSet) -> None:
    all_stand(anyone)
    leader, term = await led(anyone)
    assert leader in anyone.names
    assert term > 0
    await acts(anyone, leader)
    assert leaders(anyone) == {(leader, term)}


async def test_terms_are_above_the_floor(anyone: EngineSet) -> None:
    all_stand(anyone, floor=4711)
    _, term = await led(anyone)
    assert term > 4711


async def test_nobody_leads_where_nobody_stands(three: EngineSet) -> None:
    await three.live(3.0)
    assert {leader for leader, _ in leaders(three)} == {None}


async def test_who_does_not_stand_never_leads(three: EngineSet) -> None:
    three.stand("a", False, 0)
    three.stand("b", True, 0)
    three.stand("c", False, 0)
    leader, _ = await led(three)
    assert leader == "b"


async def test_a_leader_that_stands_no_more_is_followed_in_a_higher_term(three: EngineSet) -> None:
    all_stand(three)
    first, term = await led(three)
    await acts(three, first)
    until_s = three.watch.last(first).lead_until_s
    three.stand(first, False, 0)
    await three.live(0.05)
    assert three.watch.last(first).leader is None
    second, higher = await led(three, first)
    assert second != first
    assert higher > term
    assert three.watch.last(second).acts_from_s > until_s
    await acts(three, second)


async def test_a_leader_that_is_gone_is_followed_after_its_lease(three: EngineSet) -> None:
    all_stand(three)
    first, term = await led(three)
    await acts(three, first)
    three.crash(first)
    until_s = three.watch.last(first).lead_until_s
    second, higher = await led(three, first)
    assert higher > term
    assert three.watch.last(second).acts_from_s > until_s
    await acts(three, second)


async def test_a_leader_hands_over_to_whom_it_names(three: EngineSet) -> None:
    all_stand(three)
    first, term = await led(three)
    for heir in [name for name in three.names if name != first]:
        three.hand_over(first, heir)
        await three.live(0.05)
        assert three.watch.last(first).leader != first
        first, higher = await led(three)
        assert first == heir
        assert higher > term
        term = higher


async def test_nothing_is_handed_over_by_who_does_not_lead(three: EngineSet) -> None:
    all_stand(three)
    leader, term = await led(three)
    other = next(name for name in three.names if name != leader)
    three.hand_over(other, other)
    three.hand_over(other, None)
    await three.live(2.0)
    assert leaders(three) == {(leader, term)}
