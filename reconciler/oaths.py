"""Oaths and orders: what people say of a node's death, and what they want done about a living one.

An oath is evidence like a device's: it is refused while anything contradicts it. An order accuses a
node that nobody accuses; every other rule of fencing holds for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from fencing.devices import levels
from fencing.evidence import SWORN
from fencing.judgement import Belief
from fencing.ladder import Power
from fencing.may_run import known
from membership.clock import Now
from membership.ledger import FactValue
from membership.proofs import (
    COLD_START,
    LIVE_DRILL,
    Certificate,
    ColdStart,
    DrillStage,
    FenceOrder,
    LiveDrill,
    Place,
    Tie,
)
from membership.view import PeerState
from reconciler.accusing import Hearing, accused, answers_since
from reconciler.aftermath import issued
from reconciler.deaths import Deaths, tried, under_way
from reconciler.decision import Decision, refused
from reconciler.drill_rules import UNREAD, Refusal, level_to_try, unfit
from reconciler.facts import Facts
from reconciler.messages import (
    READING,
    AskBootstrap,
    AskConfirmOff,
    AskFence,
    AskLiveDrill,
    AskReadDevices,
    Reply,
)
from reconciler.observed import ObservedNode
from reconciler.records import AnyEntry, Drilled, Fenced
from reconciler.whatif import Outcome, VmLoss, fits
from schema.model import Mode, Node

UNUSED_S = 600.0
"""So long an oath holds that nothing rests on: whoever swore it may have meant another death."""

ORDER_S = 120.0
"""An order that has come to nothing by then is over."""


def confirm_off(ask: AskConfirmOff, facts: Facts) -> Decision:
    """An oath that a node is off: a certificate, unless something contradicts."""
    found = _found(ask.node, ask.reason, facts)
    if isinstance(found, Decision):
        return found
    at, node, host = found
    return _sworn(ask, [(node, host)], at, facts)


def bootstrap(ask: AskBootstrap, facts: Facts) -> Decision:
    """The oath of all nodes that everything waits for after a blackout, at once or not at all."""
    at = facts.hearing
    if at is None:
        message = "the pool has not been observed since this daemon started; is its master back?"
        return refused("NotObserved", message)
    if not at.leads:
        return _not_leading(at)
    stands = at.ledger.get(COLD_START, ColdStart)
    if stands is None:
        message = "nothing waits for a cold start; of one server that stays off: cxm confirm-off"
        return refused("NoColdStart", message)
    unnamed = [name for name in stands.absent if name not in ask.absent]
    if unnamed:
        more = " ".join(f"--absent {name}" for name in unnamed)
        message = f"{', '.join(unnamed)} not here either: switch on, or swear to as well ({more})"
        return refused("NotNamed", message)
    if not ask.absent:
        names = ", ".join(stands.untold)
        message = (
            f"nobody is absent; {names} has yet to tell its boot, which takes two minutes at most"
        )
        return refused("NobodyAbsent", message)
    found = [_found(name, ask.reason, facts) for name in sorted({*ask.absent})]
    objection = next((answer for answer in found if isinstance(answer, Decision)), None)
    if objection is not None:
        return objection
    oaths = [(answer[1], answer[2]) for answer in found if not isinstance(answer, Decision)]
    return _sworn(ask, oaths, at, facts)


def fence(ask: AskFence, facts: Facts, now: Now) -> Decision:
    """An order to power a node off, though nobody accuses it."""
    found = _found(ask.node, ask.reason, facts)
    if isinstance(found, Decision):
        return found
    at, node, host = found
    if not any(not use.by_hand for level in levels(at.desired, node.name) for use in level):
        message = (
            f"{node.name} has no fence device; switch it off, then cxm confirm-off {node.name}"
        )
        return refused("NoDevice", message)
    if accused(at).verdicts[node.name].belief is Belief.DEAD:
        return refused("Dead", f"{node.name} is dead already; cxm why node/{node.name}")
    order = FenceOrder(
        node=node.name,
        host=host.uuid,
        by=ask.by,
        reason=ask.reason,
        until_epoch_s=now.epoch_s + ORDER_S,
    )
    supposed = at.supposing([(f"order/{node.name}", order)])
    verdict = accused(supposed).verdicts[node.name]
    if not verdict.may_shoot:
        return refused(verdict.reason or "Refused", f"{node.name} is not fenced: {verdict.message}")
    message = f"ordered off by {ask.by}: {ask.reason}"
    return Decision(
        Reply(accepted=True, message=f"node/{node.name} is to be powered off"),
        entries=(Fenced(node=node.name, stage="ordered", message=message),),
        facts=((f"order/{node.name}", order),),
    )


def live_drill(ask: AskLiveDrill, facts: Facts, now: Now) -> Decision:
    """A drill by which devices are bound: begun by whoever leads, once that is known to enough."""
    found = _found(ask.node, ask.reason, facts)
    if isinstance(found, Decision):
        return found
    at, node, host = found
    other = tried(at.ledger)
    if other is not None:
        message = f"{other.node} is being tried (stage {other.stage.value}): wait until it is over"
        return refused("Drilling", message)
    level = level_to_try(levels(at.desired, node.name), ask.device, host, at)
    if isinstance(level, Refusal):
        return refused(level.reason, f"{node.name} is not tried: {level.message}")
    refusal = unfit(node, host, level, at, accused(at), facts.readings)
    if refusal is not None and refusal.reason == UNREAD:
        return replace(refused(READING, refusal.message), read=(node.name,))
    if refusal is not None:
        return refused(refusal.reason, f"{node.name} is not switched off: {refusal.message}")
    drill = LiveDrill(
        id=f"D-{at.view.term}-{at.ledger.next_seq}",
        node=node.name,
        host=host.uuid,
        devices=tuple(use.device for use in level),
        stage=DrillStage.ASKED,
        by=ask.by,
        reason=ask.reason,
        until_epoch_s=now.epoch_s + ORDER_S,
    )
    message = f"{', '.join(drill.devices)}, wanted by {ask.by}: {ask.reason}"
    return Decision(
        Reply(accepted=True, message=drill.id, notes=drill.devices),
        entries=(Drilled(node=node.name, stage="asked", message=message),),
        facts=((LIVE_DRILL, drill),),
    )


def read_devices(ask: AskReadDevices, facts: Facts) -> Decision:
    """Read the fence devices of these nodes (all of them where none is named) now."""
    at = facts.hearing
    if at is None:
        return refused("NotObserved", "the pool has not been observed yet")
    names = {node.name for node, _ in at.adoption.nodes}
    stranger = next((name for name in ask.nodes if name not in names), None)
    if stranger is not None:
        return refused("UnknownObject", f"node/{stranger} is no node of the pool and the tree")
    if not at.leads:
        return _not_leading(at)
    wanted = tuple(sorted(ask.nodes or names))
    return Decision(Reply(accepted=True, notes=wanted), read=wanted)


# --- what an oath is held against --------------------------------------------------------------------


def _found(name: str, reason: str, facts: Facts) -> tuple[Hearing, Node, ObservedNode] | Decision:
    at = facts.hearing
    if at is None:
        return refused("NotObserved", "the pool has not been observed yet")
    nodes = at.adoption.nodes
    found = next(((node, host) for node, host in nodes if node.name == name), None)
    if found is None:
        return refused("UnknownObject", f"node/{name} is no node of the pool and the tree")
    if not reason.strip():
        return refused("NoReason", "this needs a reason: the ledger keeps it with the certificate")
    if not at.leads:
        return _not_leading(at)
    return at, *found


def _not_leading(at: Hearing) -> Decision:
    if at.desired.cluster.mode is Mode.OBSERVE:
        message = "the cluster's mode is observe, so nothing is recovered; commit a higher mode"
        return refused("ClusterMode", message)
    return refused("NotActing", f"{at.me} leads and takes over as yet; ask again shortly")


def _living(node: Node, host: ObservedNode, at: Hearing, deaths: Deaths) -> str:
    """A sign of life, which nobody's word outweighs; "" where there is none."""
    peers = at.view.peers
    peer = None if at.view.alone else peers.get(node.name)
    if peer is not None and peer.state is PeerState.ALIVE:
        heard = [name for name, state in peer.channels.items() if state is PeerState.ALIVE]
        return f"its daemon is heard on {', '.join(heard) or 'a channel'}"
    others = [
        name
        for name, other in peers.items()
        if name not in (node.name, at.me)
        and other.state is PeerState.ALIVE
        and node.name in other.sees
    ]
    if others and not at.view.alone:
        return f"{', '.join(others)} still hears its daemon"
    if at.view.alone and host.uuid in deaths.pool.reporting:
        return "the pool still shows it as live"
    return "its toolstack answers" if answers_since(node.name, at, None) else ""


def _unread(node: Node, at: Hearing, facts: Facts) -> Iterator[str]:
    """The devices of which it is not known how they stand now."""
    for use in (use for level in levels(at.desired, node.name) for use in level):
        seen = facts.readings.get((node.name, use.device))
        if not use.by_hand and (seen is None or not seen.fresh(at.now)):
            yield use.device


def _against(node: Node, at: Hearing, facts: Facts) -> Iterator[str]:
    """What speaks against the oath, and can be wrong itself."""
    for (name, device), seen in facts.readings.items():
        says_on = seen.reading.power is Power.ON and seen.tie is not Tie.OTHER
        if name == node.name and says_on:
            yield f"{device} says that it is on"
    probes = at.probing.of(node.name, at.now)
    if not at.view.alone and probes.failing_s is None:
        yield "it is not known yet whether its toolstack answers"


def _sworn(
    ask: AskConfirmOff | AskBootstrap,
    nodes: Sequence[tuple[Node, ObservedNode]],
    at: Hearing,
    facts: Facts,
) -> Decision:
    """Certificates of all of these, or the refusal that one of them meets."""
    deaths = accused(at)
    verdicts = {node.name: deaths.verdicts[node.name] for node, _ in nodes}
    fallen = [(n, host) for n, host in nodes if verdicts[n.name].belief is not Belief.DEAD]
    if not fallen:
        texts = (f"{name} is dead already: {said.message}" for name, said in verdicts.items())
        return Decision(Reply(accepted=True, message="; ".join(texts)))
    living = [(n.name, why) for n, host in fallen if (why := _living(n, host, at, deaths))]
    if living:
        message = "; ".join(f"{name} is not off: {why}" for name, why in living)
        return refused("Contradicted", message)
    unread = {n.name: why for n, _ in fallen if (why := ", ".join(_unread(n, at, facts)))}
    if unread and not ask.against_evidence:
        texts = (f"{devices} of {name}" for name, devices in unread.items())
        message = f"{', '.join(texts)} is being read first; ask again in a few seconds"
        return replace(refused(READING, message), read=tuple(unread))
    against = {n.name: why for n, _ in fallen if (why := "; ".join(_against(n, at, facts)))}
    if against and not ask.against_evidence:
        texts = (f"{name}: {why}" for name, why in against.items())
        message = f"the evidence says otherwise: {'; '.join(texts)}"
        return refused("Contradicted", f"{message}; --against-evidence overrules it")
    return _certified(ask, fallen, against, at)


def _certified(
    ask: AskConfirmOff | AskBootstrap,
    fallen: Sequence[tuple[Node, ObservedNode]],
    against: Mapping[str, str],
    at: Hearing,
) -> Decision:
    """One certificate after the other, each later than the one before."""
    entries: list[AnyEntry] = []
    told: list[tuple[str, FactValue]] = []
    messages: list[str] = []
    notes = tuple(_told(row) for row in fits(at, [node.name for node, _ in fallen]))
    for node, host in fallen:
        certificate = _certificate(ask, node, host, against.get(node.name, ""), at)
        text = f"{certificate.id}: {certificate.evidence}"
        entries.append(Fenced(node=node.name, stage="proven", message=text))
        messages.append(f"{certificate.id}: {node.name} is dead by oath of {ask.by}")
        facts = tuple(issued(certificate, at))
        told += facts
        at = at.supposing(facts)
    reply = Reply(accepted=True, message="; ".join(messages), notes=notes)
    return Decision(reply, entries=tuple(entries), facts=tuple(told))


def _certificate(
    ask: AskConfirmOff | AskBootstrap, node: Node, host: ObservedNode, against: str, at: Hearing
) -> Certificate:
    """An oath that serves nothing now may have meant another death: it expires."""
    peer = at.view.peers.get(node.name)
    overruled = f"; against the evidence: {against}" if against else ""
    return Certificate(
        id=f"C-{at.view.term}-{at.ledger.next_seq}",
        node=node.name,
        host=host.uuid,
        kind=SWORN,
        boot_hint=host.boot_hint,
        by=ask.by,
        evidence=f"{ask.by} swears that it is off: {ask.reason}{overruled}",
        boot=peer.boot if peer is not None else "",
        until_epoch_s=None if _serves(host, at) else at.now.epoch_s + UNUSED_S,
    )


def _serves(host: ObservedNode, at: Hearing) -> bool:
    """Whether anything rests on a certificate of this host: a VM that can be there, or whom the pool
    follows."""
    if host.uuid == at.observed.pool.master or under_way(at.ledger) is not None:
        return True
    return any(
        real.node == host.uuid or _can_be_on(host.uuid, known(at.ledger, real.uuid))
        for real in at.observed.vms.values()
    )


def _can_be_on(host: str, told: tuple[Place, ...] | None) -> bool:
    return told is None or any(place.host == host for place in told)


def _told(row: VmLoss) -> str:
    if row.outcome is Outcome.RETURNS:
        return f"{row.object} is to run again on {row.to}"
    return f"{row.object} stays down: {row.message}"
