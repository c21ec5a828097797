"""What a node tells of the servers: their state as it is believed, and what proves it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fencing.judgement import Belief, Verdict
from membership.proofs import Unproven
from membership.view import PeerState
from reconciler.accusing import Hearing
from reconciler.deaths import Deaths
from reconciler.facts import Facts
from reconciler.memory import room
from reconciler.observed import ObservedNode
from reconciler.placement import has_domain
from reconciler.probing import asked, has_daemon
from reconciler.status import Condition, Health, NodeStatus
from schema.model import Node

STATES: Mapping[Belief, str] = {
    Belief.WATCHED: "silent",
    Belief.BLIND: "blind",
    Belief.AWAY: "away",
    Belief.SPARED: "silent",
    Belief.DEAD: "dead",
    Belief.REFUSED: "refused",
    Belief.DOOMED: "fencing",
}
"""What is believed of a node that is not well, in a word for people."""


def nodes(facts: Facts, rows: Mapping[str, Health]) -> Iterator[NodeStatus]:
    """Every node that is in the tree and in the pool. `rows`: the health of objects that have rows."""
    if facts.drift is None or facts.observed is None:
        return
    taken = room(facts.observed, ())
    closed = dict(facts.drift.closed)
    running: dict[str, int] = {}
    for vm in facts.observed.vms.values():
        if vm.node is not None and has_domain(vm):
            running[vm.node] = running.get(vm.node, 0) + 1
    for node, host in facts.drift.adoption.nodes:
        used = host.memory_overhead + host.control_memory + taken.used.get(host.uuid, 0)
        verdict = verdict_on(facts, node.name)
        held = held_by(facts, node.name)
        condition, reason, message = _health(host, verdict, held, rows.get(f"node/{node.name}"))
        dead = verdict.belief is Belief.DEAD
        yield NodeStatus(
            name=node.name,
            uuid=host.uuid,
            condition=condition,
            state=_state(host, verdict, held),
            vms_running=running.get(host.uuid, 0),
            memory_total=host.memory_total,
            memory_used=used,
            schedulable=node.name not in closed and host.enabled,
            draining=node.name in facts.drift.draining,
            reason=reason or closed.get(node.name, ""),
            message=message,
            certificate=verdict.message.removeprefix("certificate ") if dead else "",
            remedy=facts.deaths.way_out(node.name) if held and facts.deaths else verdict.remedy,
        )


def heard_age_s(at: Hearing, deaths: Deaths) -> float | None:
    """For how long, at most, nothing was heard of some node that is believed alive: of its daemon, or of
    its toolstack where it has none. None where one was never heard since this daemon's start; 0 where
    nobody is asked, since one daemon is the whole cluster."""
    ages = [
        _heard_s(at.desired.nodes[name], at)
        for name, verdict in deaths.verdicts.items()
        if verdict.belief is Belief.WELL and name in at.desired.nodes and name != at.me
    ]
    return None if None in ages else max(filter(None, ages), default=0.0)


def _heard_s(node: Node, at: Hearing) -> float | None:
    """A view tells what was heard up to an interval ago. Who cannot be asked is believed the pool's word."""
    peer = at.view.peers.get(node.name)
    if peer is not None and has_daemon(node) and peer.state is PeerState.ALIVE:
        return (peer.last_heard_s or 0.0) + at.desired.cluster.heartbeat.interval_s
    if node.name not in asked(at.desired, at.observed, at.view):
        return 0.0
    return at.probing.of(node.name, at.now).answered_s


def verdict_on(facts: Facts, name: str) -> Verdict:
    """What this node was judged as at the last step."""
    verdicts = facts.deaths.verdicts if facts.deaths is not None else {}
    return verdicts.get(name, Verdict(Belief.WELL))


def held_by(facts: Facts, name: str) -> str:
    """Why the death of this node cannot be proven; "" where it can, or need not be."""
    if facts.deaths is None or facts.ledger.get(f"unproven/{name}", Unproven) is None:
        return ""  # Somebody's word may have come since the last step.
    return facts.deaths.held(name)


def held_nodes(facts: Facts) -> dict[str, str]:
    """The nodes that wait for a human's word, and why their death cannot be proven."""
    names = facts.deaths.verdicts if facts.deaths is not None else ()
    return {name: why for name in names if (why := held_by(facts, name))}


def _state(host: ObservedNode, verdict: Verdict, held: str) -> str:
    if held:
        return "held"
    if verdict.belief is Belief.WELL:
        return "alive" if host.live else "unknown"
    return STATES[verdict.belief]


def _health(host: ObservedNode, verdict: Verdict, held: str, row: Health | None) -> Health:
    if held:
        message = f"nothing proves that it is off: {held}"
        return Condition.STALLED, verdict.reason or "Unproven", message
    if verdict.belief is Belief.WELL:
        if not host.live:
            return Condition.UNKNOWN, "NotLive", "the pool does not hear this host"
        return row or (Condition.READY, "", "")
    if verdict.belief in (Belief.WATCHED, Belief.AWAY):
        return Condition.UNKNOWN, verdict.reason, verdict.message
    if verdict.may_look:
        return Condition.PROGRESSING, "Fencing", "its fence devices are asked"
    return Condition.DEGRADED, verdict.reason, verdict.message
