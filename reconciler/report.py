"""Report: `Status` out of everything that the reconciler holds. A plain function of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from fencing.judgement import Belief
from membership.clock import Now
from membership.proofs import DrillStage
from reconciler.caveats import caveats
from reconciler.facts import Facts
from reconciler.inflight import operations_on
from reconciler.journal import InFlight
from reconciler.observed import ObservedVM
from reconciler.report_fencing import bounds, devices, drill, locks
from reconciler.report_nodes import heard_age_s, nodes, verdict_on
from reconciler.report_peers import leadership, peers
from reconciler.revisions import HeadState, summary
from reconciler.status import (
    Condition,
    ExceptionStatus,
    FlightStatus,
    Health,
    Observation,
    RevisionStatus,
    SourceStatus,
    Status,
    VmStatus,
)
from reconciler.verdicts import armed, condition_of, stalled, unmanaged, verdict_of
from schema.model import VM, Desired, Mode, VmState


def report(facts: Facts, now: Now) -> Status:
    """What this daemon tells at this moment."""
    desired = facts.desired
    verdict = verdict_of(facts, now)
    rows = _by_object(facts)
    condition, reason, message = condition_of(facts, verdict, now)
    cluster = desired.cluster if desired is not None else None
    return Status(
        cluster=cluster.name if cluster is not None else None,
        cluster_id=facts.cluster_id,
        node=facts.me,
        version=facts.version,
        mode=cluster.mode.value if cluster is not None else None,
        verdict=verdict,
        condition=condition,
        reason=reason,
        message=message,
        leader=facts.view.leader,
        term=facts.view.term,
        leadership=leadership(facts.view, facts.stage, now, facts.hindrance),
        peers=peers(facts.view),
        armed=armed(facts),
        survives=facts.survives,
        observation=_observation(facts, now),
        revision=_revision(facts),
        source=_source(facts, now),
        nodes=tuple(nodes(facts, rows)),
        vms=tuple(_vms(facts, rows, now)),
        plan=facts.plan,
        planned=facts.planned,
        proposed=facts.proposed,
        in_flight=tuple(_flights(facts, now)),
        exceptions=tuple(_exceptions(facts, now)),
        unmanaged=tuple(unmanaged(facts)),
        devices=tuple(devices(facts, now)),
        drill=drill(facts),
        locks=tuple(locks(facts)),
        bounds=tuple(bounds(facts)),
        caveats=tuple(caveats(facts, now)),
        copies=_copies(facts),
        converged_age_s=_since(facts.proof_s, now),
        sequence=facts.journal.last_seq,
    )


def _since(moment_s: float | None, now: Now) -> float | None:
    return None if moment_s is None else max(0.0, now.mono_s - moment_s)


# --- parts -----------------------------------------------------------------------------------------


def rfc3339(epoch_s: float) -> str:
    """UTC with milliseconds, as in every JSON answer."""
    text = datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def _observation(facts: Facts, now: Now) -> Observation | None:
    observed = facts.observed
    if observed is None:
        return None
    age_s = observed.age_s(now.mono_s)
    at, deaths = facts.hearing, facts.deaths
    return Observation(
        at=rfc3339(now.epoch_s - age_s),
        by=observed.by,
        age_s=round(age_s, 3),
        complete=observed.complete and not facts.stale(now),
        missing=observed.missing,
        heard_age_s=heard_age_s(at, deaths) if at is not None and deaths is not None else None,
    )


def _revision(facts: Facts) -> RevisionStatus:
    revisions = facts.revisions
    head, target = revisions.head, revisions.target
    in_force = target.head.revision if target is not None else None
    converged = facts.journal.converged
    shown = head or (target.head if target is not None else None)
    state = revisions.state.value
    if revisions.state is HeadState.TARGET and facts.journal.in_sync:
        state = "converged"
    return RevisionStatus(
        head=shown.revision if shown is not None else None,
        target=in_force,
        staged=in_force,
        converged=converged[0] if converged is not None else None,
        state=state,
        author=shown.author if shown is not None else None,
        summary=summary(shown.message) if shown is not None else "",
        target_author=target.head.author if target is not None else None,
        target_summary=summary(target.head.message) if target is not None else "",
        reason=revisions.reason,
        message=revisions.message,
        errors=revisions.errors,
    )


def _source(facts: Facts, now: Now) -> SourceStatus:
    lost = facts.journal.source_lost
    reachable = None if facts.looks == 0 else facts.failures == 0
    return SourceStatus(
        reachable=reachable,
        age_s=_since(facts.answered_s, now),
        failures=facts.failures,
        looks=facts.looks,
        using_last_known_good=lost is not None or facts.revisions.state is HeadState.REJECTED,
        reason=lost.reason if lost is not None else "",
        message=lost.message if lost is not None else "",
    )


def _vms(facts: Facts, rows: Mapping[str, Health], now: Now) -> Iterator[VmStatus]:
    desired, drift = facts.desired, facts.drift
    if desired is None:
        return
    real = {vm.name: real for vm, real in drift.adoption.vms} if drift is not None else {}
    stale = facts.stale(now)
    for vm in desired.vms.values():
        seen = real.get(vm.name)
        name = f"vm/{vm.name}"
        condition, reason, message = rows.get(name, (Condition.READY, "", ""))
        if stale or (seen is None and vm.state is not VmState.IGNORED and name not in rows):
            condition, reason, message = Condition.UNKNOWN, "Unknown", "not observed"
        elif seen is not None and name not in rows and not _heard(seen, facts):
            condition, reason, message = Condition.UNKNOWN, "NodeUnknown", "its node is not heard"
        elif seen is not None and name not in rows:
            condition, reason, message = _readiness(seen, facts)
        node = drift.adoption.node_name(seen.node) if drift is not None and seen else None
        yield VmStatus(
            name=vm.name,
            uuid=seen.uuid if seen is not None else vm.match.uuid,
            condition=condition,
            desired=vm.state.value if vm.state is not None else None,
            observed=seen.power.value.lower() if seen is not None and not stale else None,
            node=node if seen is not None and seen.node is not None else None,
            manage=_rung(vm, desired),
            reason=reason,
            message=message,
        )


def _readiness(real: ObservedVM, facts: Facts) -> Health:
    """How far a VM of which nothing differs is on its way up."""
    lack = facts.drift.unready.get(real.uuid) if facts.drift is not None else None
    if lack is None:
        return Condition.READY, "", ""
    if lack.late:
        return Condition.DEGRADED, "NotReady", lack.message
    return Condition.PROGRESSING, "Starting", f"it runs, {lack.message}"


def _heard(real: ObservedVM, facts: Facts) -> bool:
    """Whether the host that the pool believes this VM to be on is heard."""
    if real.node is None or facts.observed is None or facts.drift is None:
        return True
    host = facts.observed.nodes.get(real.node)
    verdict = verdict_on(facts, facts.drift.adoption.node_name(real.node))
    return host is not None and host.live and verdict.belief in _HEARD


_HEARD = (Belief.WELL, Belief.BLIND, Belief.WATCHED)
"""A silence that has just begun is not yet one of the server."""


def _rung(vm: VM, desired: Desired) -> str:
    """What is in force for a VM: the lower of its own rung and the cluster's."""
    mode = desired.cluster.mode
    if mode is Mode.OBSERVE:
        return "observe"
    if mode is Mode.RECOVER and vm.manage.value == "enforce":
        return "recover"
    return vm.manage.value


def _by_object(facts: Facts) -> dict[str, Health]:
    """The health of every object that has a row: its first refusal, else its first action."""
    rows: dict[str, Health] = {}
    stuck = frozenset(stalled(facts))
    for row in facts.plan.blocked:
        bad = Condition.STALLED if row in stuck else Condition.DEGRADED
        rows.setdefault(row.object, (bad, row.reason, row.message))
    for action in facts.plan.actions:
        health = (Condition.PROGRESSING, action.reason, action.message)
        rows.setdefault(action.object, health)
    return rows


def _flights(facts: Facts, now: Now) -> Iterator[FlightStatus]:
    for txn in sorted(facts.journal.in_flight):
        flight = facts.journal.in_flight[txn]
        yield FlightStatus(
            txn=txn,
            object=flight.action.object,
            verb=flight.action.verb.value,
            message=flight.action.message,
            running_s=round(max(0.0, now.mono_s - flight.started_s), 3),
            phase="running" if flight.answered_s is None else "settling",
            progress=_progress(flight, facts),
            node=flight.action.node,
        )


def _progress(flight: InFlight, facts: Facts) -> float | None:
    if facts.observed is None:
        return None
    operations = operations_on(flight.call, facts.observed)
    return next((op.progress for op in operations if op.txn == flight.txn), None)


def _exceptions(facts: Facts, now: Now) -> Iterator[ExceptionStatus]:
    for hold in facts.ledger.holds:
        yield ExceptionStatus(kind="hold", object=hold.id, owner=hold.by, reason=hold.reason)
    for freeze in facts.ledger.freezes(now):
        yield ExceptionStatus(
            kind="freeze",
            object=freeze.object,
            scopes=freeze.scopes,
            owner=freeze.by,
            reason=freeze.reason,
            seconds_left=_left(freeze.until_epoch_s, now),
        )
    tried = drill(facts)
    if tried is not None and tried.stage != DrillStage.OVER:
        yield ExceptionStatus(
            kind="drill", object=f"node/{tried.node}", owner=tried.by, reason=tried.reason
        )
    for drain in facts.ledger.drains().values():
        yield ExceptionStatus(
            kind="drain",
            object=f"node/{drain.node}",
            owner=drain.by,
            reason=drain.reason,
            seconds_left=_left(drain.until_epoch_s, now),
        )
    for node in facts.desired.nodes.values() if facts.desired is not None else ():
        if node.maintenance is not None:
            yield ExceptionStatus(
                kind="maintenance",
                object=f"node/{node.name}",
                reason=node.maintenance.reason,
                seconds_left=_left(node.maintenance.until_epoch_s, now),
            )


def _left(until_epoch_s: float | None, now: Now) -> float | None:
    return None if until_epoch_s is None else round(max(0.0, until_epoch_s - now.epoch_s), 1)


def _copies(facts: Facts) -> dict[str, int]:
    counts: dict[str, int] = {}
    for copy in facts.observed.copies if facts.observed is not None else ():
        counts[copy.kind] = counts.get(copy.kind, 0) + 1
    return dict(sorted(counts.items()))
