"""The rules of the live drill: which devices are tried, and what forbids it.

They are judged when somebody asks, and again by whoever leads right before anything is switched off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fencing.devices import DeviceUse, Level
from fencing.judgement import Belief
from fencing.ladder import Power
from fencing.may_run import known
from membership.proofs import Found, Tie
from membership.view import PeerState, View
from reconciler.accusing import Hearing, forbidden, frozen
from reconciler.actions import UP
from reconciler.adoption import service_vms
from reconciler.deaths import Deaths
from reconciler.drilling import Seen, shown_live, told
from reconciler.observed import ObservedNode, ObservedVM
from reconciler.probing import has_daemon
from schema.model import Node

UNREAD, UNSEEN = "Unread", "NotObserved"
"""Reasons of refusals that a look at the devices, or at the pool, may overcome."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """`reason` is a word for machines, `message` for people: cause and remedy."""

    reason: str
    message: str


Readings = Mapping[tuple[str, str], Seen]


def level_to_try(
    uses: tuple[Level, ...], device: str, host: ObservedNode, at: Hearing
) -> Level | Refusal:
    """The level that has this device; without a name the first one of which not everything is bound."""
    able = [level for level in uses if level and not any(use.by_hand for use in level)]
    if not able:
        return Refusal("NoDevice", "it has no fence device that a program can switch")
    if device:
        found = next((level for level in able if device in {use.device for use in level}), None)
        names = ", ".join(use.device for level in able for use in level)
        return found or Refusal("UnknownDevice", f"{device} is none of its fence devices: {names}")
    loose = next((level for level in able if not all(_tied(use, host, at) for use in level)), None)
    return loose or Refusal("Bound", "all of its devices are bound; --device NAME tries one again")


def _tied(use: DeviceUse, host: ObservedNode, at: Hearing) -> bool:
    drill = told(use, host, at)
    return drill is not None and drill.tie in (Tie.IDENTITY, Tie.DRILL)


def unfit(
    node: Node, host: ObservedNode, level: Level, at: Hearing, deaths: Deaths, readings: Readings
) -> Refusal | None:
    """Why this node is not switched off for a drill now; None where nothing forbids it."""
    rules = (
        *_of_the_moment(node, at),
        *_of_the_node(node, host, at),
        *_of_what_is_on_it(node, host, at),
        *_of_the_others(node, at, deaths),
        *_of_the_devices(level, host, at, readings),
    )
    return next(iter(rules), None)


def _of_the_moment(node: Node, at: Hearing) -> Iterator[Refusal]:
    if at.view.alone:
        yield Refusal("Alone", "one daemon is the whole cluster: nobody would see who falls silent")
    standing = forbidden(at)
    if standing is not None:
        reason, message, remedy = standing
        yield Refusal(reason, f"{message}: {remedy}")
    why = frozen(at, "fencing").get(node.name)
    if why is not None:
        yield Refusal("Frozen", f"it is {why}: cxm thaw node/{node.name}")
    if not at.acts or not at.fresh:
        yield Refusal(UNSEEN, "the pool is not seen well enough just now: look at cxm status")


def _of_the_node(node: Node, host: ObservedNode, at: Hearing) -> Iterator[Refusal]:
    if node.name == at.me:
        yield Refusal(
            "Oneself", f"{at.me} leads, and cannot watch itself: cxm leader --hand-over first"
        )
    if host.uuid == at.observed.pool.master:
        yield Refusal("PoolMaster", "it is the pool's master: make another member that first")
    if node.maintenance is None and node.name not in at.ledger.drains():
        yield Refusal("NotInMaintenance", f"it is not in maintenance: cxm drain {node.name} first")
    peer = at.view.peers.get(node.name)
    if not has_daemon(node):
        yield Refusal("NoDaemon", "no daemon of ours runs on it, so its silence is not heard")
    elif peer is None or peer.state is not PeerState.ALIVE:
        yield Refusal(
            "DaemonSilent", f"its daemon is not heard before: look at cxm members {node.name}"
        )
    elif not peer.boot:
        yield Refusal("NoBoot", "its daemon does not tell in which boot it lives: upgrade it")


def _of_what_is_on_it(node: Node, host: ObservedNode, at: Hearing) -> Iterator[Refusal]:
    own = service_vms(at.desired)
    there = [vm for vm in at.observed.vms.values() if vm.uuid not in own and _on(vm, host, at)]
    if there:
        names = ", ".join(sorted(vm.name for vm in there)[:5])
        message = f"{names} is on it, or may be: wait until cxm drain has emptied {node.name}"
        yield Refusal("Occupied", message)
    begun = next(iter(sorted(at.journal.in_flight.values(), key=lambda f: f.action.object)), None)
    if begun is not None:
        message = f"{begun.action.verb.value} of {begun.action.object} is in flight: wait for it"
        yield Refusal("InFlight", message)
    if host.enabled:
        yield Refusal("Open", "the pool may put VMs on it: wait until cxm has closed it")
    if host.operations:
        yield Refusal(
            "InFlight", f"the pool is at work on it ({host.operations[0].kind}): wait for that"
        )


def _on(vm: ObservedVM, host: ObservedNode, at: Hearing) -> bool:
    here = vm.node == host.uuid and vm.power in UP
    places = known(at.ledger, vm.uuid) or ()
    return here or vm.reserved_on == host.uuid or any(place.host == host.uuid for place in places)


def _of_the_others(node: Node, at: Hearing, deaths: Deaths) -> Iterator[Refusal]:
    unwell = {
        name
        for name, peer in at.view.peers.items()
        if peer.state is not PeerState.ALIVE and name != node.name
    }
    unwell |= {
        name
        for name, verdict in deaths.verdicts.items()
        if verdict.belief is not Belief.WELL and name != node.name
    }
    if unwell:
        names = ", ".join(sorted(unwell))
        message = (
            f"{names} is not well, so it could not be told who falls silent: look at cxm members"
        )
        yield Refusal("OthersUnwell", message)
    if not leads_without(node.name, at.view):
        message = (
            f"without {node.name} too few voters are left, and nobody would switch it on again"
        )
        yield Refusal("TooFewVoters", message)


def leads_without(name: str, view: View) -> bool:
    """Whether those that are alive could lead without this one."""
    voters = view.voters
    alive = [
        voter
        for voter in voters.names
        if voter != name and voter in view.peers and view.peers[voter].state is PeerState.ALIVE
    ]
    left = len(alive) + (voters.disk and bool(alive) and not view.health.disk)
    return not voters.names or left >= voters.quorum


def _of_the_devices(
    level: Level, host: ObservedNode, at: Hearing, readings: Readings
) -> Iterator[Refusal]:
    for use in level:
        seen = readings.get((use.node, use.device))
        if seen is None or not seen.fresh(at.now):
            yield Refusal(UNREAD, f"{use.device} is being read first; ask again in a few seconds")
            continue
        live = shown_live(use, told(use, host, at))
        known_bad = live is not None and live.found is not Found.BOUND
        if seen.tie is Tie.OTHER and not known_bad:
            yield Refusal(
                "Crossed", f"{use.device}: {seen.reading.unbound}; mend its address in the tree"
            )
        if seen.reading.power is not Power.ON:
            said = seen.reading.message or f"it reads {seen.reading.power.value}"
            yield Refusal("NotOn", f"{use.device} does not say that {use.node} is on: {said}")
