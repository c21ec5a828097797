"""Situations: what alarms are judged by, out of all that a reconciler holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fencing.devices import levels
from fencing.judgement import Belief
from membership.clock import Now
from membership.ledger import ALARM, LOST
from membership.proofs import Drill
from membership.view import Peer
from reconciler.actions import Blocked, Verb
from reconciler.adoption import started_by_pool
from reconciler.deaths import Deaths
from reconciler.drilling import AGAIN_S, key
from reconciler.facts import Facts
from reconciler.paging import Away, Dead, Held, Situation
from reconciler.report_nodes import held_nodes
from reconciler.verdicts import lost_source, stalled
from schema.model import Desired, Mode

DOWN_S = 60.0
"""So long a VM that died with its node may be refused a start before people hear of it: records are reset
and the node is written off meanwhile, and what is refused changes."""

LATE_S = 3.0 * AGAIN_S
"""How much later than its schedule a trial may pass: it is tried again meanwhile."""

_TOLD_OTHERWISE = frozenset({"Held", "ColdStart"})
"""Reasons to refuse a start of which people hear already."""


def situation(facts: Facts, leaderless_s: float | None, cannot_act: str, now: Now) -> Situation:
    """What alarms are judged by at this moment."""
    stuck = tuple(stalled(facts)) if facts.planned is not None else None
    return Situation(
        view=facts.view,
        ledger=facts.ledger,
        desired=facts.desired,
        leaderless_s=leaderless_s,
        cannot_act=cannot_act,
        stalled=stuck,
        held=_held(facts),
        dead=_dead(facts),
        away=_away(facts, now),
        answering=_answering(facts.desired, facts.deaths),
        down=_down(facts, stuck or (), now),
        late=_late(facts, now),
        autostarted=_autostarted(facts),
        source_lost=lost_source(facts, now),
        falls_short=facts.survives.falls_short if facts.survives is not None else None,
    )


def _held(facts: Facts) -> Mapping[str, Held] | None:
    deaths = facts.deaths
    if deaths is None:
        return None
    return {
        name: Held(
            why=why,
            remedy=deaths.way_out(name),
            victims=deaths.verdicts[name].reason != "NothingToRecover",
        )
        for name, why in held_nodes(facts).items()
    }


def _answering(desired: Desired | None, deaths: Deaths | None) -> frozenset[str]:
    if desired is None or deaths is None:
        return frozenset()
    hosts = {node.host.uuid: name for name, node in desired.nodes.items() if node.host is not None}
    return frozenset(hosts[uuid] for uuid in deaths.pool.reporting if uuid in hosts)


# --- nodes that died, and what died with them ----------------------------------------------------------


def _dead(facts: Facts) -> Mapping[str, Dead] | None:
    deaths = facts.deaths
    if deaths is None:
        return None
    certificates = [p.certificate for h, p in deaths.proofs.items() if deaths.certified(h)]
    if not certificates:
        return {}
    lost: dict[str, list[str]] = {}
    for node, uuid in _lost(deaths):
        lost.setdefault(node, []).append(_name(uuid, facts))
    return {
        found.node: Dead(certificate=found, lost=tuple(sorted(lost.get(found.node, ()))))
        for found in sorted(certificates, key=lambda found: found.node)
    }


def _lost(deaths: Deaths) -> Iterator[tuple[str, str]]:
    return ((fact.node, uuid) for uuid, fact in deaths.lost.items())


def _name(uuid: str, facts: Facts) -> str:
    """The pool's own name of a VM."""
    real = facts.observed.vms.get(uuid) if facts.observed is not None else None
    return real.name if real is not None else uuid


def _down(
    facts: Facts, stuck: tuple[Blocked, ...], now: Now
) -> Mapping[str, tuple[Blocked, ...]] | None:
    """By node the rows that refuse to start what died with it, where that has lasted."""
    deaths, drift = facts.deaths, facts.drift
    if deaths is None or drift is None or facts.planned is None:
        return None
    if not deaths.lost:
        return {}
    told = {row.object for row in stuck}
    refused = {
        row.object: row
        for row in facts.plan.blocked
        if row.verb is Verb.START and row.reason not in _TOLD_OTHERWISE and row.object not in told
    }
    names = {real.uuid: f"vm/{vm.name}" for vm, real in drift.adoption.vms}
    found: dict[str, list[Blocked]] = {}
    for node, uuid in _lost(deaths):
        rows = found.setdefault(node, [])
        row = refused.get(names.get(uuid, ""))
        if row is not None and _age_s(uuid, facts, now) >= DOWN_S:
            rows.append(row)
    return {
        node: tuple(sorted(rows, key=lambda row: row.object))
        for node, rows in sorted(found.items())
    }


def _age_s(uuid: str, facts: Facts, now: Now) -> float:
    fact = facts.ledger.facts.get(f"{LOST}{uuid}")
    return now.epoch_s - fact.at_epoch_s if fact is not None else 0.0


# --- nodes that are away, devices that are not tried -----------------------------------------------------


def _away(facts: Facts, now: Now) -> Mapping[str, Away] | None:
    """Who is away for another's doing: what cxm drains, and what the tree has in maintenance, is our own."""
    deaths, desired = facts.deaths, facts.desired
    if deaths is None or desired is None:
        return None
    gone = {
        name: verdict
        for name, verdict in deaths.verdicts.items()
        if verdict.belief is Belief.AWAY and name in desired.nodes
    }
    ours = facts.ledger.drains().keys() if gone else ()
    return {
        name: Away(why=verdict.message, silent_s=_silent_s(name, facts, now))
        for name, verdict in gone.items()
        if name not in ours and desired.nodes[name].maintenance is None
    }


def _silent_s(name: str, facts: Facts, now: Now) -> float:
    peer: Peer | None = facts.view.peers.get(name)
    if peer is not None and peer.last_heard_s is not None:
        return peer.last_heard_s
    failing_s = facts.hearing.probing.of(name, now).failing_s if facts.hearing is not None else None
    return failing_s or 0.0


def _late(facts: Facts, now: Now) -> Mapping[tuple[str, str], str] | None:
    """Devices whose last good trial is older than their schedule allows, and those that never passed one.
    Of a node that is not well no device is tried: what was told stands, and nothing new is."""
    deaths, desired = facts.deaths, facts.desired
    if deaths is None or desired is None or desired.cluster.mode is Mode.OBSERVE:
        return None
    found: dict[tuple[str, str], str] = {}
    for name, verdict in deaths.verdicts.items():
        node = desired.nodes.get(name)
        if node is None:
            continue
        for use in (use for level in levels(desired, name) for use in level if not use.by_hand):
            told = f"{ALARM}drill/{name}/{use.device}" in facts.ledger.facts
            drill = facts.ledger.get(key(use.device, name), Drill)
            ours = drill is not None and node.host is not None and drill.host == node.host.uuid
            if drill is not None and ours and (told or verdict.belief is Belief.WELL):
                why = _why_late(drill, use.drill_s, now)
                found |= {(use.device, name): why} if why else {}
    return found


def _why_late(drill: Drill, drill_s: float, now: Now) -> str:
    if not drill.passed_epoch_s:
        return "" if drill.passed else f"it never passed a trial: {drill.message}"
    age_s = now.epoch_s - drill.passed_epoch_s
    if age_s <= drill_s + LATE_S:
        return ""
    hours = f"{age_s / 3600.0:.0f} h ago, every {drill_s / 3600.0:.0f} h is wanted"
    return f"it passed its last trial {hours}: {drill.message}"


def _autostarted(facts: Facts) -> tuple[str, ...] | None:
    if facts.observed is None or facts.desired is None:
        return None
    return started_by_pool(facts.desired, facts.observed)
