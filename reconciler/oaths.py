"""Oaths and orders: what people say of a node's death, and what they want done about a living one.

An oath is evidence like a device's: it is refused while anything contradicts it. An order accuses a
node that nobody accuses; every other rule of fencing holds for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from msgspec.structs import replace as with_fields

from fencing.devices import levels
from fencing.evidence import SWORN
from fencing.judgement import Belief
from fencing.ladder import Power
from fencing.may_run import known
from membership.clock import Now
from membership.ledger import Fact, FactValue
from membership.proofs import Certificate, FenceOrder, Tie
from membership.view import PeerState
from reconciler.accusing import Hearing, accused
from reconciler.aftermath import issued
from reconciler.deaths import Deaths
from reconciler.decision import Decision, refused
from reconciler.drilling import Seen
from reconciler.facts import Facts
from reconciler.messages import READING, AskConfirmOff, AskFence, AskReadDevices, Reply
from reconciler.observed import ObservedNode
from reconciler.records import Fenced
from reconciler.whatif import Outcome, VmLoss, fits
from schema.model import Mode, Node

UNUSED_S = 600.0
"""So long an oath holds that nothing rests on: whoever swore it may have meant another death."""

FRESH_S = 20.0
"""A device that was read so lately need not be read again before an oath."""

ORDER_S = 120.0
"""An order that has come to nothing by then is over."""


def confirm_off(ask: AskConfirmOff, facts: Facts, now: Now) -> Decision:
    """An oath that a node is off: a certificate, unless something contradicts."""
    found = _found(ask.node, ask.reason, facts)
    if isinstance(found, Decision):
        return found
    at, node, host = found
    deaths = accused(at)
    verdict = deaths.verdicts[node.name]
    if verdict.belief is Belief.DEAD:
        message = f"{node.name} is dead already: {verdict.message}"
        return Decision(Reply(accepted=True, message=message))
    living = _living(node, host, at, deaths)
    if living:
        message = f"{node.name} is not off: {living}"
        return refused("Contradicted", message)
    unread = _unread(node, facts, now)
    if unread and not ask.against_evidence:
        message = f"{unread} of {node.name} is being read first; ask again in a few seconds"
        return replace(refused(READING, message), read=(node.name,))
    against = tuple(_against(node, at, facts))
    if against and not ask.against_evidence:
        message = f"the evidence says otherwise: {'; '.join(against)}"
        return refused("Contradicted", f"{message}; --against-evidence overrules it")
    return _sworn(ask, node, host, at, against)


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
    verdict = accused(_supposing(at, order)).verdicts[node.name]
    if not verdict.may_shoot:
        return refused(verdict.reason or "Refused", f"{node.name} is not fenced: {verdict.message}")
    message = f"ordered off by {ask.by}: {ask.reason}"
    return Decision(
        Reply(accepted=True, message=f"node/{node.name} is to be powered off"),
        entries=(Fenced(node=node.name, stage="ordered", message=message),),
        facts=((f"order/{node.name}", order),),
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
    if host.uuid not in deaths.pool.reporting:
        return ""
    if at.view.alone:
        return "the pool still shows it as live"
    return "its toolstack answers"


def _unread(node: Node, facts: Facts, now: Now) -> str:
    """The devices of which it is not known how they stand now."""
    assert facts.desired is not None
    wanted = [use.device for level in levels(facts.desired, node.name) for use in level]
    hands = [
        use.device for level in levels(facts.desired, node.name) for use in level if use.by_hand
    ]
    stale = [
        device
        for device in wanted
        if device not in hands and not _fresh(facts.readings.get((node.name, device)), now)
    ]
    return ", ".join(stale)


def _fresh(seen: Seen | None, now: Now) -> bool:
    return seen is not None and now.mono_s - seen.at_s <= FRESH_S


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
    ask: AskConfirmOff,
    node: Node,
    host: ObservedNode,
    at: Hearing,
    against: tuple[str, ...],
) -> Decision:
    peer = at.view.peers.get(node.name)
    overruled = f"; against the evidence: {'; '.join(against)}" if against else ""
    certificate = Certificate(
        id=f"C-{at.view.term}-{at.ledger.next_seq}",
        node=node.name,
        host=host.uuid,
        kind=SWORN,
        boot_hint=host.boot_hint,
        by=ask.by,
        evidence=f"{ask.by} swears that it is off: {ask.reason}{overruled}",
        boot=peer.boot if peer is not None else "",
    )
    if not _serves(host, at):
        certificate = with_fields(certificate, until_epoch_s=at.now.epoch_s + UNUSED_S)
    adoption = at.adoption
    text = f"{certificate.id}: {certificate.evidence}"
    return Decision(
        Reply(
            accepted=True,
            message=f"{certificate.id}: {node.name} is dead by oath of {ask.by}",
            notes=tuple(_told(row) for row in fits(at, (node.name,))),
        ),
        entries=(Fenced(node=node.name, stage="proven", message=text),),
        facts=tuple(issued(certificate, adoption, at.ledger)),
    )


def _serves(host: ObservedNode, at: Hearing) -> bool:
    """Whether anything rests on a certificate of this host: a VM that can be there."""
    return any(
        real.node == host.uuid
        or any(place.host == host.uuid for place in known(at.ledger, real.uuid) or ())
        for real in at.observed.vms.values()
    )


def _told(row: VmLoss) -> str:
    if row.outcome is Outcome.RETURNS:
        return f"{row.object} is to run again on {row.to}"
    return f"{row.object} stays down: {row.message}"


def _supposing(at: Hearing, order: FenceOrder) -> Hearing:
    """As if this order were given already."""
    value: FactValue = order
    fact = Fact(
        key=f"order/{order.node}",
        term=max(at.view.term, at.ledger.term),
        seq=at.ledger.next_seq,
        at_epoch_s=at.now.epoch_s,
        value=value,
    )
    return replace(at, ledger=at.ledger.merge([fact]))
