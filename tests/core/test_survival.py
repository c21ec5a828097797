"""Survival: which losses are survived, worked out one at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from msgspec.structs import replace as with_fields

from membership.clock import Now
from membership.view import single
from reconciler.accusing import Hearing, accused
from reconciler.status import Lack, Survives
from reconciler.survival import AGAIN_S, Survival
from tests.core.stage import EPOCH_S, pool
from tests.core.test_whatif import NAMES, everybody, hearing, tree, tried
from tests.plan.expansion import MONO_S

ROOM = {name: {"memory": "32GiB"} for name in NAMES}


def at_rest(**cluster: Any) -> Hearing:
    """A VM on each of xen1 and xen2."""
    wanted = tree({"web1": {"state": "running"}, "web2": {"state": "running"}}, **cluster)
    forms = {"web1": {"on": "xen1"}, "web2": {"on": "xen2"}}
    return hearing(wanted, pool(wanted, nodes=ROOM, vms=forms), tried())


def later(at: Hearing, seconds: float) -> Hearing:
    now = Now(mono_s=MONO_S + seconds, epoch_s=EPOCH_S + seconds)
    return replace(at, now=now, observed=with_fields(at.observed, as_of_s=now.mono_s))


def stepped(survival: Survival, at: Hearing, *seconds: float) -> None:
    for second in seconds:
        moment = later(at, second)
        survival.step(moment, accused(moment))


def whole(at: Hearing, count: int = 4) -> Survives | None:
    survival = Survival()
    stepped(survival, at, *map(float, range(count)))
    return survival.survives


def test_nothing_is_said_before_each_single_loss_was_worked_out() -> None:
    assert whole(at_rest(), 3) is None
    assert whole(at_rest()) == Survives(losses=1)


def test_one_step_works_out_one_loss_and_asks_for_the_next() -> None:
    survival, at = Survival(), at_rest()
    stepped(survival, at, 0.0)
    assert survival.due_s == MONO_S + 1.0
    stepped(survival, at, *[0.5] * 10)
    assert survival.due_s == MONO_S + 1.0
    assert survival.survives is None


def test_what_would_stay_down_is_told() -> None:
    """web1 has no room elsewhere, and web2 goes to xen1."""
    nodes = {name: {"memory": "24GiB"} for name in NAMES} | {"xen1": {"memory": "64GiB"}}
    forms = {"web1": {"on": "xen1", "memory": "30GiB"}, "web2": {"on": "xen2"}}
    wanted = at_rest().desired
    found = whole(hearing(wanted, pool(wanted, nodes=nodes, vms=forms), tried()))
    assert found is not None
    assert found.losses == 0
    assert [(lack.nodes, lack.object, lack.reason) for lack in found.lacks] == [
        (("xen1",), "vm/web1", "InsufficientMemory")
    ]
    assert found.falls_short == ""


def test_fewer_than_the_tree_wants_is_told() -> None:
    wanted = at_rest(recovery={"tolerate": 1})
    assert whole(wanted) == Survives(losses=1, tolerates=1)
    short = replace(wanted, ledger=hearing(wanted.desired, wanted.observed, []).ledger)
    found = whole(short)
    assert found is not None
    assert found.losses == 0
    assert "the tree wants 1 loss survived" in found.falls_short


def test_as_many_at_once_are_tried_as_the_tree_wants() -> None:
    """Two of four voters are no quorum; xen3 and xen4 have nothing to recover."""
    found = whole(at_rest(recovery={"tolerate": 2}), 10)
    assert found is not None
    assert (found.losses, len(found.lacks)) == (1, 5)
    assert found.lacks[0] == Lack(
        nodes=("xen1", "xen2"),
        vms=2,
        object="vm/web1",
        reason="NoLeader",
        message=found.lacks[0].message,
    )
    assert found.falls_short


def test_it_is_worked_out_again_each_minute() -> None:
    survival, at = Survival(), at_rest()
    stepped(survival, at, 0.0, 1.0, 2.0, 3.0)
    assert survival.due_s == MONO_S + AGAIN_S
    grown = replace(at, ledger=hearing(at.desired, at.observed, []).ledger)
    stepped(survival, grown, 30.0)
    assert survival.survives == Survives(losses=1)
    stepped(survival, grown, 60.0, 61.0, 62.0)
    assert survival.survives is not None
    assert survival.survives.losses == 0


def test_a_node_that_falls_silent_makes_all_of_it_new() -> None:
    survival, at = Survival(), at_rest()
    stepped(survival, at, 0.0, 1.0, 2.0, 3.0)
    assert survival.survives is not None
    held = replace(at, view=with_fields(everybody(), leader=None))
    stepped(survival, held, 4.0)
    assert survival.survives is None


def test_where_nobody_recovers_nothing_is_said() -> None:
    assert whole(at_rest(mode="observe")) is None
    assert whole(replace(at_rest(), view=single("xen1", 1))) is None
