"""Readiness: when a VM that runs counts as up, by what its own `start.ready` asks.

It is up once it shows that, or once it has had its time to: whoever waits for it waits no longer. What
is not known is not ready. What a guest's agent tells is in every observation; whether a guest answers is
found out by the leader alone (`guests`) and told to all as a fact, so that every plan is the same and a
successor asks nobody again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from membership.clock import Now
from membership.ledger import GuestReady, Ledger
from reconciler.actions import Told
from reconciler.adoption import Adoption
from reconciler.aspects import desired_power
from reconciler.observed import Observed, ObservedVM, PowerState
from reconciler.placement import has_domain
from schema.forms import duration_text
from schema.model import VM

TOLD_FOR_S = 3600.0
"""So long it is told that a VM did not become ready in time."""

NONE, TOOLS, PING = "none", "tools", "ping"
TCP = "tcp:"


@dataclass(frozen=True, slots=True)
class Run:
    """A VM runs, be it through restarts of its guest. `since_s` is monotonic; `seen`: we saw it begin."""

    since_s: float
    seen: bool


Runs = Mapping[str, Run | None]
"""By the uuids of all VMs of the last observation; None where it does not run."""


@dataclass(frozen=True, slots=True)
class Lack:
    """What a VM that runs has not shown yet. `late`: its time was over at `until_s` (monotonic), and it
    counts as up without."""

    message: str
    until_s: float
    late: bool


def followed(before: Runs, observed: Observed, now: Now) -> Runs:
    """Since when each VM runs. One that is seen for the first time runs since the moment that its
    server's clock says: a clock that is ahead of ours makes it look as if it had just been started."""
    return {uuid: _run(real, before, now) for uuid, real in observed.vms.items()}


def _run(real: ObservedVM, before: Runs, now: Now) -> Run | None:
    known = before.get(real.uuid)
    if real.power is PowerState.UNKNOWN:
        return known
    if not has_domain(real):
        return None
    if known is not None:
        # A guest that restarts again and again, never to be ready, must not be waited for each time.
        return known
    if real.uuid in before:
        return Run(now.mono_s, seen=True)
    age_s = now.epoch_s - real.started_epoch_s if real.started_epoch_s else 0.0
    return Run(now.mono_s - max(0.0, age_s), seen=False)


def unready(adoption: Adoption, runs: Runs, ledger: Ledger, now: Now) -> dict[str, Lack]:
    """What is lacking, by uuid, of the VMs that run and are meant to.

    One that ran before anything was known of it, and for longer than its time, is not looked at.
    """
    found: dict[str, Lack] = {}
    for vm, real in adoption.vms:
        run = runs.get(real.uuid)
        if run is None or real.power is not PowerState.RUNNING or _is_ready(vm, real, ledger):
            continue
        if desired_power(vm) not in (PowerState.RUNNING, None):
            continue
        limit_s = vm.start.ready.timeout_s
        until_s = run.since_s + limit_s
        late = until_s <= now.mono_s
        if late and not (run.seen and now.mono_s < until_s + TOLD_FOR_S):
            continue
        end = f"within {duration_text(limit_s)} of its start" if late else "yet"
        found[real.uuid] = Lack(f"{_lacking(vm, real)} {end}", until_s, late)
    return found


def _is_ready(vm: VM, real: ObservedVM, ledger: Ledger) -> bool:
    by = vm.start.ready.by
    if by == NONE:
        return True
    if by == TOOLS:
        return real.reported
    fact = ledger.get(key(real.uuid), GuestReady)
    # Where the pool does not tell which start this is, an answer may be one to an earlier start.
    this = fact is not None and fact.started_epoch_s == real.started_epoch_s != 0.0
    return this and fact is not None and fact.by == by


def key(vm: str) -> str:
    """The key of the fact about this VM (uuid)."""
    return f"ready/{vm}"


def _lacking(vm: VM, real: ObservedVM) -> str:
    by = vm.start.ready.by
    if by == TOOLS:
        return "its guest's agent has not reported"
    if not real.addresses:
        return f"nobody can ask its {by}: its guest's agent has told no address"
    where = ", ".join(real.addresses)
    if by == PING:
        return f"it has not answered to ping at {where}"
    return f"its {by} has not answered at {where}"


def by_answer(by: str) -> bool:
    """Whether this rule asks for an answer of the guest itself."""
    return by not in (NONE, TOOLS)


def port_of(by: str) -> int | None:
    """The port of `tcp:PORT`; None where no port is asked."""
    return int(by.removeprefix(TCP)) if by.startswith(TCP) else None


def told(adoption: Adoption, lacks: Mapping[str, Lack]) -> Iterator[Told]:
    """The rows about VMs that did not become ready in time."""
    for vm, real in adoption.vms:
        lack = lacks.get(real.uuid)
        if lack is not None and lack.late:
            message = f"{lack.message}; it counts as up all the same"
            yield Told(object=f"vm/{vm.name}", reason="NotReady", message=message)
