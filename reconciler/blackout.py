"""Blackout: the whole site was without power, and its servers return one after the other.

That is never inferred from silence. What is seen is that every server which is here was started anew
since somebody acted last: from then on who is not here may be booting, so it is not powered off; and what
ran before is not heaped on those that happened to be first. It ends when everybody is here or certified.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fencing.judgement import Belief
from fencing.may_run import known
from membership.ledger import FactValue, Withdrawn
from membership.proofs import COLD_START, Boot, Boots, ColdStart, Lost
from membership.view import PeerState
from reconciler.accusing import Hearing
from reconciler.actions import UP
from reconciler.adoption import Adoption
from reconciler.deaths import Deaths, recoverable
from reconciler.observed import ObservedNode
from schema.model import Node

BOOTS = "boots"

UNTOLD_S = 120.0
"""A server whose toolstack is up has told its boot by then. One that never does was up all along, or has
no clock to tell it by."""

SAME_BOOT_S = 60.0
"""When a host booted is worked out anew at each start of its toolstack, and differs by a little."""


def noted(at: Hearing, deaths: Deaths, adoption: Adoption) -> Iterator[tuple[str, FactValue]]:
    """What a leader notes of boots at this moment: before it takes anybody's report for an end of what
    ran there."""
    before = at.ledger.get(BOOTS, Boots)
    stands = at.ledger.get(COLD_START, ColdStart)
    dark = stands is None and _dark(before, at, deaths, adoption)
    if dark:
        yield from _ran_before(at, deaths, adoption)
    if before is not None and (dark or stands is not None):
        cold = ColdStart(
            absent=tuple(_absent(at, deaths, adoption)),
            untold=tuple(_untold(before, at, deaths, adoption)),
        )
        if cold != stands and cold != ColdStart(absent=()):
            yield COLD_START, cold
            return
        if cold.absent or (cold.untold and _since_s(at) < UNTOLD_S):
            return
    if stands is not None:
        yield COLD_START, Withdrawn(by="cxm")
    seen = _seen(before, at, deaths, adoption)
    if before is None or seen != before.hosts:
        yield BOOTS, Boots(hosts=seen)


def _dark(before: Boots | None, at: Hearing, deaths: Deaths, adoption: Adoption) -> bool:
    """Whether some host that is here was started anew since it was seen last, and none was not."""
    if before is None:
        return False
    anew = False
    for node, host in adoption.nodes:
        last = before.hosts.get(host.uuid)
        if last is None:
            continue
        if _goes_on(last, node, host, at, deaths):
            return False
        anew = anew or (host.uuid in deaths.pool.reporting and _anew(host.boot_hint, last.hint))
    return anew


def _goes_on(last: Boot, node: Node, host: ObservedNode, at: Hearing, deaths: Deaths) -> bool:
    daemon = _daemon(node, at)
    if daemon and last.daemon:
        return daemon == last.daemon
    here = host.uuid in deaths.pool.reporting
    told = host.boot_hint.isdecimal() and last.hint.isdecimal()
    return here and told and not _anew(host.boot_hint, last.hint)


def _anew(hint: str, last: str) -> bool:
    """A clock may go back by a lot when its server was without power."""
    return hint.isdecimal() and last.isdecimal() and abs(int(hint) - int(last)) > SAME_BOOT_S


def _daemon(node: Node, at: Hearing) -> str:
    """The boot that the node's daemon says it lives in, while it is heard."""
    peer = at.view.peers.get(node.name)
    return peer.boot if peer is not None and peer.state is PeerState.ALIVE else ""


def _seen(
    before: Boots | None, at: Hearing, deaths: Deaths, adoption: Adoption
) -> Mapping[str, Boot]:
    """The boots of the hosts that are here; of the others what was seen last."""
    seen = dict(before.hosts) if before is not None else {}
    for node, host in adoption.nodes:
        if host.uuid in deaths.pool.reporting:
            last = seen.get(host.uuid, Boot(hint="", daemon=""))
            same = last.hint and not _anew(host.boot_hint, last.hint)
            hint = last.hint if same else host.boot_hint
            seen[host.uuid] = Boot(hint=hint, daemon=_daemon(node, at) or last.daemon)
    return seen


def _absent(at: Hearing, deaths: Deaths, adoption: Adoption) -> Iterator[str]:
    """Who is neither here nor certified, and could have run something."""
    drained = at.ledger.drains()
    for node, host in adoption.nodes:
        settled = deaths.verdicts[node.name].belief in (Belief.DEAD, Belief.SPARED)
        away = node.maintenance is not None or node.name in drained
        if host.uuid not in deaths.pool.reporting and not settled and not away:
            yield node.name


def _untold(before: Boots, at: Hearing, deaths: Deaths, adoption: Adoption) -> Iterator[str]:
    """Who answers while the pool still shows its earlier boot, unless it was up all along."""
    for node, host in adoption.nodes:
        last = before.hosts.get(host.uuid)
        if last is None or host.uuid not in deaths.pool.reporting:
            continue
        daemon = _daemon(node, at)
        if not _anew(host.boot_hint, last.hint) and not (daemon and daemon == last.daemon):
            yield node.name


def _since_s(at: Hearing) -> float:
    """For how long nothing has changed in what is waited for."""
    return at.now.epoch_s - at.ledger.facts[COLD_START].at_epoch_s


def _ran_before(at: Hearing, deaths: Deaths, adoption: Adoption) -> Iterator[tuple[str, FactValue]]:
    """What could run when the power failed is to run again: nobody has stopped it."""
    for vm, real in adoption.vms:
        places = known(at.ledger, real.uuid) or ()
        runs = real.power in UP and real.node in deaths.pool.reporting
        if places and recoverable(vm) and not runs and real.uuid not in deaths.lost:
            host = places[0].host
            name = adoption.node_name(host)
            yield f"lost/{real.uuid}", Lost(vm=real.uuid, node=name, host=host, certificate="")
