"""Small pools and trees at random, in the form of plan cases."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st

from tests.plan.cases import Case, DesiredForm, LedgerForm, ObservedForm

NODES = ("xen1", "xen2", "xen3")
NAMES = ("a", "b", "c", "d", "e")
SIZES = ("1GiB", "2GiB", "4GiB")

Forms = dict[str, Any]


@st.composite
def real_vms(draw: st.DrawFn) -> Forms:
    """A VM of the pool: halted, suspended, or with a domain on a node."""
    power = draw(st.sampled_from(["Halted", "Running", "Running", "Paused", "Suspended"]))
    form: Forms = {
        "power": power,
        "memory": draw(st.sampled_from(SIZES)),
        "vcpus": draw(st.integers(1, 4)),
        "tags": draw(st.lists(st.sampled_from(["x", "y"]), unique=True)),
    }
    if power in ("Running", "Paused"):
        form["on"] = draw(st.sampled_from(NODES))
    return form


@st.composite
def wishes(draw: st.DrawFn, power: str) -> Forms:
    """What a file may say of a VM and cxm can fulfil: no state that would lose an image or need one."""
    states = ["running"]
    states += ["halted"] if power != "Suspended" else []
    states += ["suspended"] if power != "Halted" else []
    form: Forms = {"restart": "now", "state": draw(st.sampled_from(states))}
    if form["state"] != "suspended":
        form |= draw(sizes())
    if draw(st.booleans()):
        form["tags"] = {"add": draw(st.lists(st.sampled_from(["x", "z"]), min_size=1, unique=True))}
    if draw(st.booleans()):
        form["nameLabel"] = draw(st.sampled_from(["Web", "Db"]))
    form["placement"] = draw(placements())
    form["start"] = {"wave": draw(st.sampled_from([10, 50]))}
    form["priority"] = draw(st.sampled_from(["low", "critical"]))
    return form


def sizes() -> st.SearchStrategy[Forms]:
    some = {"memory": st.sampled_from(SIZES), "vcpus": st.integers(1, 4)}
    return st.fixed_dictionaries({}, optional=some)


def placements() -> st.SearchStrategy[Forms]:
    """At least two of three nodes stay allowed, so that a drain of one has a way out."""
    one = st.sampled_from(NODES).map(lambda name: [name])
    return st.fixed_dictionaries({}, optional={"prefer": one, "avoid": one})


@st.composite
def worlds(draw: st.DrawFn) -> Case:
    """A tree and a pool with room for everything, so that there is an end to get to."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    real = {name: draw(real_vms()) for name in names}
    wanted = {name: draw(wishes(form["power"])) for name, form in real.items()}
    drained = draw(st.lists(st.sampled_from(NODES), max_size=1))
    return case(wanted, real, drained)


@st.composite
def imported_worlds(draw: st.DrawFn) -> Case:
    """A pool, and the tree that says nothing but who is who, as an import writes it."""
    names = draw(st.lists(st.sampled_from(NAMES), unique=True))
    manage = draw(st.sampled_from(["observe", "recover", "enforce"]))
    real = {name: draw(real_vms()) for name in names}
    return case({name: {"manage": manage} for name in names}, real, [])


def case(vms: Forms, real: Forms, drained: list[str]) -> Case:
    return Case(
        rule="",
        desired=msgspec.convert({"nodes": dict.fromkeys(NODES), "vms": vms}, DesiredForm),
        observed=msgspec.convert({"vms": real}, ObservedForm),
        ledger=LedgerForm(drain=drained),
        expect=[],
    )
