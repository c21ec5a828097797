"""Aftermath: what follows a certificate. It may turn out void; what died with the node runs again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from fencing import may_run
from fencing.evidence import CERTIFICATE, absent
from membership.ledger import LOST, FactValue, Withdrawn
from membership.proofs import Attempt, Certificate, FenceOrder, Lost, Unproven
from membership.view import PeerState
from reconciler.accusing import Hearing, answers_since, heard_since
from reconciler.actions import UP, ResetPower
from reconciler.adoption import Adoption
from reconciler.deaths import Deaths, last_seen, recoverable
from reconciler.observed import ObservedVM
from reconciler.probing import has_daemon
from schema.model import Node

VOID_S = 30.0
"""A peer that falls silent so soon after an `off` may be what was really switched off."""

BOOT_S = 60.0
"""No server boots sooner: a toolstack that answers within that time is that of the old boot."""

_QUIET = (PeerState.SUSPECT, PeerState.DEAD, PeerState.BLIND, PeerState.LEFT)


@dataclass(frozen=True, slots=True)
class Shot:
    """An `off` that was sent, and who was silent by then."""

    at_s: float
    quiet: frozenset[str]


def quiet(at: Hearing) -> frozenset[str]:
    """The peers that are not heard."""
    return frozenset(name for name, peer in at.view.peers.items() if peer.state in _QUIET)


def doubted(
    at: Hearing, deaths: Deaths, adoption: Adoption, shots: Mapping[str, Shot]
) -> Iterator[tuple[Certificate, str]]:
    """The certificates that are void, and why: the dead shows a sign of the boot that was ended, or
    another one fell in its place."""
    for node, host in adoption.nodes:
        proof = deaths.proofs.get(host.uuid)
        if proof is None:
            continue
        why = _life(node, proof.certificate, at)
        why = why or _another(node.name, shots.get(node.name), at)
        if why:
            yield proof.certificate, why


def _life(node: Node, certificate: Certificate, at: Hearing) -> str:
    age_s = at.age_s(certificate)
    peer = at.view.peers.get(node.name)
    heard = peer is not None and peer.state is PeerState.ALIVE and has_daemon(node)
    lives = heard and peer is not None and heard_since(peer, age_s)
    if lives and peer is not None and peer.boot and peer.boot == certificate.boot:
        return "the daemon of its old boot is heard"
    if (age_s is None or age_s < BOOT_S) and answers_since(node.name, at, age_s):
        later = f" {age_s:.0f} s later" if age_s is not None else ""
        return f"its toolstack answers{later}, sooner than a server boots"
    return ""


def _another(name: str, shot: Shot | None, at: Hearing) -> str:
    if shot is None or at.now.mono_s - shot.at_s > VOID_S:
        return ""
    fell = sorted(quiet(at) - shot.quiet - {name})
    return f"{fell[0]} fell silent when it was switched off" if fell else ""


def issued(certificate: Certificate, at: Hearing) -> Iterator[tuple[str, FactValue]]:
    """The facts of a certificate, whoever or whatever it is by: what was last seen there, which it only
    covers if that is told before; itself, what died, and the end of whatever was tried for it."""
    name, ledger = certificate.node, at.ledger
    for known in last_seen(ledger, at.observed, certificate.host, at.stamp):
        yield may_run.key(known.vm), known
    yield f"{CERTIFICATE}{name}", certificate
    for lost in losses(certificate, at.adoption):
        yield f"{LOST}{lost.vm}", lost
    tried = ledger.get(f"fence/{name}", Attempt)
    if tried is not None and tried.stage == "begun":
        yield f"fence/{name}", replace(tried, stage="proven", message=certificate.evidence)
    for key in (f"unproven/{name}", f"order/{name}"):
        if key in ledger.facts and isinstance(ledger.facts[key].value, Unproven | FenceOrder):
            yield key, Withdrawn(by=certificate.by)


def losses(certificate: Certificate, adoption: Adoption) -> Iterator[Lost]:
    """What died with that host, as far as the pool's records place it there, and is to run again."""
    for vm, real in adoption.vms:
        if recoverable(vm) and real.node == certificate.host and real.power in UP:
            yield Lost(
                vm=real.uuid,
                node=certificate.node,
                host=certificate.host,
                certificate=certificate.id,
            )


def ended(at: Hearing, deaths: Deaths, adoption: Adoption) -> Iterator[tuple[Lost, str]]:
    """Losses that are none any more; with the node on which the VM runs again, "" where on none."""
    cold = bool(absent(at.ledger))
    wanted = {real.uuid: recoverable(vm) for vm, real in adoption.vms}
    for uuid, lost in deaths.lost.items():
        real = at.observed.vms.get(uuid)
        if real is None:
            if at.observed.complete:
                yield lost, ""
        elif cold and not lost.certificate:
            continue  # A server that is just back may not have told yet that it runs nothing.
        elif _runs_again(real, lost, at, deaths):
            yield lost, adoption.node_name(real.node)
        elif not wanted.get(uuid, True):
            yield lost, ""


def _runs_again(real: ObservedVM, lost: Lost, at: Hearing, deaths: Deaths) -> bool:
    """Whether the record is a new one. The daemon of a server that is back is heard before its toolstack
    tells of another boot, and of what runs there; and a reset that was begun may be under way yet."""
    if real.power not in UP or real.node not in deaths.pool.reporting:
        return False
    calls = (flight.call for flight in at.journal.in_flight.values())
    reset = any(isinstance(call, ResetPower) and call.vm == real.uuid for call in calls)
    return real.node != lost.host or not (reset or lost.host in deaths.proofs)
