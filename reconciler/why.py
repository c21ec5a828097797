"""Why: everything that bears on one object, so that a row can be understood without reading the code."""

from __future__ import annotations

from collections.abc import Mapping

from membership.clock import Now
from reconciler.actions import Action, Blocked, Rejection, Told
from reconciler.facts import Facts
from reconciler.memory import need_after
from reconciler.messages import Authorship
from reconciler.observed import ObservedVM
from reconciler.placement import Board, Wanted
from reconciler.timeline import Moment, timeline
from reconciler.whatif import VmLoss, fits
from schema.model import VM, Frozen, Identified


class Candidate(Frozen, frozen=True, kw_only=True):
    """What placement says of the object: the node it would choose, and why it rejects the others."""

    chosen: str | None
    needs: int
    rejected: tuple[Rejection, ...] = ()


class Past(Frozen, frozen=True, kw_only=True):
    """What is remembered: moments are ages in seconds, so that they mean the same to every reader."""

    unmet_age_s: dict[str, float]
    foreign_age_s: tuple[float, ...] = ()
    failures: int = 0
    failing: str = ""
    owes_start: str = ""


class Why(Frozen, frozen=True, kw_only=True):
    """The evidence on one object. `known` is False if neither tree nor pool has it."""

    object: str
    known: bool
    subject: str | None = None
    also: tuple[str, ...] = ()
    declared: Authorship | None = None
    actions: tuple[Action, ...] = ()
    blocked: tuple[Blocked, ...] = ()
    told: tuple[Told, ...] = ()
    past: Past | None = None
    placement: Candidate | None = None
    recovery: tuple[VmLoss, ...] = ()
    """Of a node: what becomes of its VMs if it is dead."""
    timeline: tuple[Moment, ...] = ()
    """Of a node: what the ledger tells of its death, oldest first."""


def explain(obj: str, facts: Facts, now: Now) -> Why:
    """Collect what bears on `obj`, a name for people; an earlier name of an object finds it too."""
    desired = facts.desired
    name = _present_name(obj, facts)
    vm = desired.vms.get(name.removeprefix("vm/")) if desired is not None else None
    node = name.startswith("node/")
    subject = facts.subjects.get(name)
    target = facts.revisions.target
    return Why(
        object=name,
        known=subject is not None or vm is not None,
        subject=subject,
        also=_earlier_names(name, facts),
        declared=target.authors.get(name) if target is not None else None,
        actions=tuple(row for row in facts.plan.actions if row.object == name),
        blocked=tuple(row for row in facts.plan.blocked if row.object == name),
        told=tuple(row for row in facts.plan.told if row.object == name),
        past=_past(subject, facts, now) if subject is not None else None,
        placement=_placement(vm, facts) if vm is not None else None,
        recovery=_recovery(name, facts),
        timeline=timeline(name.removeprefix("node/"), facts, now) if node else (),
    )


def _recovery(name: str, facts: Facts) -> tuple[VmLoss, ...]:
    at = facts.hearing
    if at is None or not name.startswith("node/"):
        return ()
    return fits(at, (name.removeprefix("node/"),))


def _present_name(obj: str, facts: Facts) -> str:
    kind, _, old = obj.partition("/")
    there = _of_kind(kind, facts)
    if old in there:
        return obj
    renamed = (f"{kind}/{item.name}" for item in there.values() if old in item.previous_names)
    return next(renamed, obj)


def _earlier_names(obj: str, facts: Facts) -> tuple[str, ...]:
    kind, _, name = obj.partition("/")
    there = _of_kind(kind, facts)
    return tuple(f"{kind}/{old}" for old in there[name].previous_names) if name in there else ()


def _of_kind(kind: str, facts: Facts) -> Mapping[str, Identified]:
    desired = facts.desired
    if desired is None:
        return {}
    kinds: Mapping[str, Mapping[str, Identified]] = {"vm": desired.vms, "node": desired.nodes}
    return kinds.get(kind, {})


def _past(subject: str, facts: Facts, now: Now) -> Past:
    sighting = facts.journal.sightings.get(subject)
    backoff = facts.journal.backoff.get(subject)
    owed = facts.journal.own_stops.get(subject)
    unmet = sighting.unmet if sighting is not None else {}
    foreign = sighting.foreign if sighting is not None else ()
    return Past(
        unmet_age_s={aspect: round(now.mono_s - at_s, 1) for aspect, at_s in unmet.items()},
        foreign_age_s=tuple(round(now.mono_s - at_s, 1) for at_s in foreign),
        failures=backoff.failures if backoff is not None else 0,
        failing=f"{backoff.reason}: {backoff.message}" if backoff is not None else "",
        owes_start=owed.reason if owed is not None else "",
    )


def _placement(vm: VM, facts: Facts) -> Candidate | None:
    """Where the VM would be put if it had to be put somewhere now."""
    observed, drift = facts.observed, facts.drift
    if observed is None or drift is None:
        return None
    real = _real(vm, facts)
    if real is None:
        return None
    size = need_after(real, vm.memory, vm.vcpus)
    wanted = Wanted(
        vm=vm,
        real=real,
        size=size,
        vcpus=vm.vcpus or real.vcpus_max,
        leaving=real.node,
        stay=real.node,
    )
    board = Board(observed, drift.adoption, dict(drift.closed), facts.journal)
    choice = board.choose(wanted)
    chosen = choice.node.name if choice.node is not None else None
    return Candidate(chosen=chosen, needs=size, rejected=board.why_not(wanted))


def _real(vm: VM, facts: Facts) -> ObservedVM | None:
    subject = facts.subjects.get(f"vm/{vm.name}")
    if subject is None or facts.observed is None:
        return None
    return facts.observed.vms.get(subject)
