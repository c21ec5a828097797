"""The story of a node's death, as the ledger has it: the same on every node."""

from __future__ import annotations

from collections.abc import Iterator

from fencing.evidence import CERTIFICATE
from membership.clock import Now
from membership.proofs import Attempt, Certificate, FenceOrder, Lost, Unproven
from reconciler.facts import Facts
from reconciler.report_nodes import verdict_on
from schema.model import Frozen


class Moment(Frozen, frozen=True, kw_only=True):
    """Something that was known or done, so many seconds ago."""

    age_s: float
    text: str


def timeline(name: str, facts: Facts, now: Now) -> tuple[Moment, ...]:
    """Silence, what was tried, what proves it, and what became of its VMs; oldest first."""
    found = sorted(_moments(name, facts, now), key=lambda moment: -moment.age_s)
    return tuple(found)


def _moments(name: str, facts: Facts, now: Now) -> Iterator[Moment]:
    yield from _silence(name, facts, now)
    for key, fact in facts.ledger.facts.items():
        if key.rpartition("/")[2] != name:
            continue
        text = _text(fact.value)
        if text:
            yield Moment(age_s=round(max(0.0, now.epoch_s - fact.at_epoch_s), 1), text=text)
    yield from _losses(name, facts)


def _silence(name: str, facts: Facts, now: Now) -> Iterator[Moment]:
    peer = facts.view.peers.get(name)
    if peer is not None and peer.state != "alive" and peer.last_heard_s is not None:
        channels = ", ".join(sorted(peer.channels)) or "every channel"
        yield Moment(age_s=round(peer.last_heard_s, 1), text=f"last heard on {channels}")
    probes = facts.hearing.probing.of(name, now) if facts.hearing is not None else None
    if probes is not None and probes.failing_s is not None:
        text = f"its toolstack does not answer ({probes.failed} questions)"
        yield Moment(age_s=round(probes.failing_s, 1), text=text)
    verdict = verdict_on(facts, name)
    if verdict.message:
        yield Moment(age_s=0.0, text=f"{verdict.belief.value}: {verdict.message}")


def _text(value: object) -> str:
    match value:
        case Attempt(devices=devices, stage=stage, id=identity, message=message):
            end = f": {message}" if message else ""
            return f"off by {', '.join(devices)} ({identity}), {stage}{end}"
        case Certificate(void=void, id=identity) if void:
            return f"certificate {identity} is void: {void}"
        case Certificate(kind=kind, id=identity, evidence=evidence):
            return f"certificate {identity}, {kind}: {evidence}"
        case Unproven(message=message):
            return f"held, nothing proves that it is off: {message}"
        case FenceOrder(by=by, reason=reason):
            return f"ordered off by {by}: {reason}"
    return ""


def _losses(name: str, facts: Facts) -> Iterator[Moment]:
    """What died with it and does not run again yet."""
    down = sum(fact.node == name for fact in facts.ledger.values(Lost))
    certified = facts.ledger.get(f"{CERTIFICATE}{name}", Certificate)
    if certified is None or certified.void:
        return
    text = f"{down} of its VMs are still to run again" if down else "none of its VMs is down by it"
    yield Moment(age_s=0.0, text=text)
