"""What holds for every tree and every pool."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from reconciler.actions import Plan
from reconciler.deaths import calm
from reconciler.diff import diff
from reconciler.drift import Drift
from reconciler.journal import replay
from reconciler.plan import plan
from schema import tree
from tests.core.worlds import imported_worlds, worlds
from tests.plan.cases import Case, cases
from tests.plan.expansion import Expanded, documents, expand
from tests.plan.interrupted import Crash, lived

ROOT = Path(__file__).parents[2]
FEW = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
FEWER = settings(FEW, max_examples=30)


def drift_of(world: Expanded) -> Drift:
    return diff(
        world.desired,
        world.observed,
        world.ledger,
        world.journal,
        world.deaths,
        world.runs,
        world.now,
    )


def plan_of(world: Expanded) -> Plan:
    drift = drift_of(world)
    known = (world.desired, world.observed, world.view, world.ledger, world.journal)
    return plan(drift, *known, None, world.now)


@FEW
@given(imported_worlds())
def test_a_tree_as_imported_differs_in_nothing(case: Case) -> None:
    found = drift_of(expand(case).sighted())
    assert (found.changes, found.blocked, found.told) == ((), (), ())


@FEW
@given(worlds())
def test_after_every_action_nothing_differs(case: Case) -> None:
    world = expand(case)
    life = lived(world)
    end = Expanded(
        desired=world.desired,
        observed=life.pool.seen(life.now_s, life.now.epoch_s),
        records=tuple(life.records),
        ledger=life.ledger,
        view=world.view,
        now=life.now,
    )
    found = drift_of(end)
    assert (found.changes, found.blocked) == ((), ())
    assert plan_of(end).empty
    assert not end.journal.in_flight
    assert not end.journal.own_stops


@FEW
@given(worlds())
def test_a_world_that_does_not_change_has_an_empty_plan(case: Case) -> None:
    """What a life ended with stays: a second daemon on it makes no call."""
    life = lived(expand(case))
    calls = len(life.pool.log)
    life.live()
    assert len(life.pool.log) == calls


@FEWER
@given(worlds(), st.integers(0, 10_000), st.sampled_from(Crash))
def test_wherever_it_is_killed_nothing_is_done_twice_and_it_gets_there(
    case: Case, place: int, crash: Crash
) -> None:
    """The model pool refuses a second call, and memory that is not there; the end is as desired."""
    world = expand(case)
    effects = len(lived(world).effects)
    life = lived(world, 1 + place % effects, crash)
    end = replace(life.pool.observed, as_of_s=life.now_s)
    found = diff(
        world.desired, end, life.ledger, replay(life.records), calm(end, life.ledger), {}, life.now
    )
    assert (found.changes, found.blocked) == ((), ())


@FEW
@given(worlds(), st.randoms(use_true_random=False))
def test_the_order_of_what_comes_in_does_not_matter(case: Case, chance: random.Random) -> None:
    world = expand(case)
    vms = list(world.observed.vms.items())
    nodes = list(world.observed.nodes.items())
    texts = list(documents(case.desired).items())
    for items in (vms, nodes, texts):
        chance.shuffle(items)
    turned = Expanded(
        desired=tree.load(dict(texts)).desired or world.desired,
        observed=replace(world.observed, vms=dict(vms), nodes=dict(nodes)),
        records=world.records,
        ledger=world.ledger,
        view=world.view,
        now=world.now,
    )
    assert turned.desired == world.desired
    assert plan_of(turned.sighted()) == plan_of(world.sighted())


@FEW
@given(worlds())
def test_every_change_comes_out_as_one_row_and_none_is_lost(case: Case) -> None:
    world = expand(case).sighted()
    drift, found = drift_of(world), plan_of(world)
    assert len(found.actions) + len(found.blocked) == len(drift.changes) + len(drift.blocked)
    objects = [change.object for change in drift.changes] + [row.object for row in drift.blocked]
    rows = [row.object for row in found.actions] + [row.object for row in found.blocked]
    assert sorted(rows) == sorted(objects)


@FEW
@given(worlds())
def test_a_plan_makes_one_call_on_an_object(case: Case) -> None:
    ready = [action.object for action in plan_of(expand(case).sighted()).ready]
    assert len(set(ready)) == len(ready)


def test_a_plan_does_not_depend_on_how_texts_are_hashed() -> None:
    found = {_printed(seed) for seed in ("1", "2")}
    assert len(found) == 1
    assert len(next(iter(found))) > 10_000


def _printed(seed: str) -> bytes:
    code = "from tests.core.test_properties import everything; everything()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=True,
        timeout=100,
    )
    return done.stdout


def everything() -> None:
    """For the child process: the plan of every case, as it goes over the wire."""
    for name, case in cases():
        text = msgspec.json.encode(plan_of(expand(case).sighted()))
        sys.stdout.buffer.write(name.encode() + b" " + text + b"\n")
