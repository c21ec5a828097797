"""Verdicts: what is to be said of the whole, and why, out of all that a reconciler holds."""

from __future__ import annotations

from collections.abc import Iterator

from fencing.devices import levels
from fencing.evidence import absent
from fencing.judgement import Belief
from membership.clock import Now
from membership.ledger import Ledger
from membership.proofs import Drill
from reconciler.actions import Blocked
from reconciler.drilling import key
from reconciler.facts import Facts
from reconciler.report_nodes import held_nodes, verdict_on
from reconciler.revisions import DOUBTS, HeadState
from reconciler.status import Condition, UnmanagedVm, Verdict
from schema.model import Desired, Mode, Unmanaged


def verdict_of(facts: Facts, now: Now) -> Verdict:
    """A node that waits for a human's word comes first, then what is not known, then a head that is
    refused, then what differs."""
    if held_nodes(facts):
        return Verdict.HELD
    if facts.desired is None and facts.proposed is not None and not facts.stale(now):
        return Verdict.DIFFERS
    if facts.stale(now) or facts.desired is None:
        rejected = facts.revisions.state is HeadState.REJECTED
        return Verdict.INVALID if rejected and not facts.stale(now) else Verdict.UNKNOWN
    if facts.revisions.state is HeadState.REJECTED:
        return Verdict.INVALID
    if facts.drift is None:
        return Verdict.UNKNOWN
    if not facts.plan.empty or facts.journal.in_flight or _behind(facts):
        return Verdict.DIFFERS
    if facts.observed is None or not facts.observed.complete:
        return Verdict.UNKNOWN
    # Nothing differs in what was seen; a revision just put in force still wants a newer look.
    return Verdict.CONVERGED if facts.journal.in_sync else Verdict.DIFFERS


def _behind(facts: Facts) -> bool:
    """Whether a revision is known that the plan is not of: in force by now, being fetched, or gated."""
    revisions = facts.revisions
    in_force = revisions.target.head.revision if revisions.target is not None else None
    if facts.planned is not None and facts.planned != in_force:
        return True
    waiting = revisions.state in (
        HeadState.FETCHING,
        HeadState.NONE,
        HeadState.STAGED,
        HeadState.GATED,
    )
    return waiting and revisions.head is not None and revisions.head.revision != in_force


def condition_of(facts: Facts, verdict: Verdict, now: Now) -> tuple[Condition, str, str]:
    for name, why in held_nodes(facts).items():
        remedy = facts.deaths.way_out(name) if facts.deaths is not None else ""
        return Condition.STALLED, "Unproven", f"node/{name} is held: {why}; {remedy}"
    if verdict is Verdict.UNKNOWN:
        return _why_unknown(facts)
    if facts.revisions.state is HeadState.REJECTED:
        return Condition.DEGRADED, facts.revisions.reason, facts.revisions.message
    hold = next(iter(facts.ledger.holds), None)
    if hold is not None:
        return Condition.STALLED, "Held", hold.reason
    if facts.view.leader is None:
        return Condition.STALLED, "NoLeader", facts.view.reason or "nobody leads: nothing is begun"
    aside = _aside(facts)
    if aside is not None:
        return aside
    missing = absent(facts.ledger)
    if missing:
        message = (
            f"after a blackout, waiting for {', '.join(missing)}; of what stays off: confirm-off"
        )
        return Condition.STALLED, "ColdStart", message
    stuck = next(iter(stalled(facts)), None)
    if stuck is not None:
        return Condition.STALLED, stuck.reason, f"{stuck.object}: {stuck.message}"
    lost = facts.journal.source_lost
    if lost is not None and lost_source(facts, now):
        return Condition.DEGRADED, lost.reason, lost.message
    if facts.plan.blocked:
        first = facts.plan.blocked[0]
        return Condition.DEGRADED, first.reason, f"{first.object}: {first.message}"
    short = facts.survives.falls_short if facts.survives is not None else ""
    if short:
        return Condition.DEGRADED, "LessSurvivable", short
    if facts.revisions.state is HeadState.GATED and facts.plan.empty:
        head = facts.revisions.head
        message = f"r{head.revision} waits for cxm apply" if head is not None else ""
        return Condition.READY, "Gated", message
    if verdict is Verdict.DIFFERS:
        return Condition.PROGRESSING, "Converging", ""
    strangers = [vm.name for vm in unmanaged(facts)] if _alarms(facts) else []
    if strangers:
        return Condition.DEGRADED, "UnmanagedVms", f"in no file of the tree: {', '.join(strangers)}"
    return Condition.READY, "", ""


def _alarms(facts: Facts) -> bool:
    return facts.desired is not None and facts.desired.cluster.unmanaged is Unmanaged.ALARM


def _overdue(facts: Facts, now: Now) -> bool:
    """Running on the last good revision is legal for ever, but worth a word after `staleAfter`."""
    desired = facts.desired
    if desired is None or facts.answered_s is None:
        return True
    return now.mono_s - facts.answered_s > desired.cluster.source.stale_after_s


def _why_unknown(facts: Facts) -> tuple[Condition, str, str]:
    if facts.lost is not None:
        return Condition.UNKNOWN, facts.lost.reason, facts.lost.message
    if facts.desired is None:
        lost = facts.journal.source_lost
        if lost is not None:
            return Condition.UNKNOWN, lost.reason, lost.message
        return Condition.UNKNOWN, "NoTarget", "no revision is in force yet"
    if facts.observed is None:
        return Condition.UNKNOWN, "NotObserved", "the pool has not been observed yet"
    if not facts.observed.complete:
        missing = ", ".join(facts.observed.missing)
        return Condition.UNKNOWN, "Incomplete", f"not heard: {missing}"
    return Condition.UNKNOWN, "Stale", "the last observation is too old to decide anything from"


def lost_source(facts: Facts, now: Now) -> str:
    """Why Subversion is lost in a way that people must know of; "" where it is not."""
    lost = facts.journal.source_lost
    if lost is None or not (lost.reason in DOUBTS or _overdue(facts, now)):
        return ""
    return f"{lost.reason}: {lost.message}"


def _aside(facts: Facts) -> tuple[Condition, str, str] | None:
    """States of the pool in which cxm keeps its hands off everything."""
    pool = facts.observed.pool if facts.observed is not None else None
    if pool is not None and pool.ha_enabled:
        return Condition.DEGRADED, "PoolHa", "the pool's own HA is on: cxm only observes"
    if pool is not None and pool.rolling_upgrade:
        return Condition.DEGRADED, "RollingUpgrade", "a rolling upgrade is on: cxm only observes"
    return None


def stalled(facts: Facts) -> list[Blocked]:
    """The rows that only a human brings forward."""
    stuck = {uuid for uuid, backoff in facts.journal.backoff.items() if backoff.stalled}
    subjects = facts.subjects if stuck else {}
    return [
        row
        for row in facts.plan.blocked
        if row.reason == "Contended" or subjects.get(row.object) in stuck
    ]


def armed(facts: Facts) -> tuple[str, ...]:
    """Which kinds of action would be carried out by themselves if there were cause now."""
    desired = facts.desired
    if desired is None or facts.ledger.holds or _aside(facts) is not None:
        return ()
    mode = desired.cluster.mode
    if facts.view.leader is None or mode is Mode.OBSERVE:
        return ()
    found: list[str] = []
    if not facts.view.alone:  # Else nobody would notice that a server died.
        found = ["recovery", *(["fencing"] if _fences(facts) else [])]
    if mode in (Mode.GATED, Mode.AUTO):
        found += ["intent", "drift"] if mode is Mode.AUTO else ["drift"]
    return tuple(found)


def _fences(facts: Facts) -> bool:
    """Whether each node that is well would be powered off and proven dead if it fell silent. A device
    counts that passed its last trial."""
    if facts.deaths is None or facts.desired is None or facts.drift is None:
        return False
    return all(
        usable(node.name, facts.desired, facts.ledger)
        for node, _ in facts.drift.adoption.nodes
        if verdict_on(facts, node.name).belief is Belief.WELL
    )


def usable(name: str, desired: Desired, ledger: Ledger) -> bool:
    """Whether all devices of some level of this node have passed their last trial."""
    tried = (
        [ledger.get(key(use.device, name), Drill) for use in level]
        for level in levels(desired, name)
    )
    return any(all(drill is not None and drill.passed for drill in level) for level in tried)


def unmanaged(facts: Facts) -> Iterator[UnmanagedVm]:
    desired, drift, observed = facts.desired, facts.drift, facts.observed
    if desired is None or drift is None or observed is None:
        return
    if desired.cluster.unmanaged is Unmanaged.IGNORE:
        return
    known = {real.uuid for _, real in drift.adoption.vms}
    known.update(vm.match.uuid for vm in desired.vms.values() if vm.match.uuid is not None)
    for uuid in sorted(observed.vms):
        vm = observed.vms[uuid]
        if uuid not in known:
            node = drift.adoption.node_name(vm.node) if vm.node is not None else None
            yield UnmanagedVm(name=vm.name, uuid=uuid, node=node, power=vm.power.value.lower())
