"""Succession: whether a pool needs another master, what forbids that, and who it is to be.

Plain functions of what is heard, proven and answered at one moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from fencing.judgement import Belief
from membership.ledger import Hold, Withdrawn
from membership.proofs import Promotion, Synced
from reconciler.accusing import Hearing, forbidden, frozen
from reconciler.copying import stale
from reconciler.deaths import Deaths
from reconciler.members import Role, Said
from reconciler.naming import listed
from reconciler.observed import Observed


def bereaved(at: Hearing, deaths: Deaths) -> str | None:
    """The host (uuid) whose proven death leaves the pool without a master, or without the one it was to
    get; None where there is none."""
    promotion = deaths.promotion
    head = promotion.host if promotion is not None else at.observed.pool.master
    return head if head in dead(at, deaths) else None


def dead(at: Hearing, deaths: Deaths) -> tuple[str, ...]:
    """The hosts (uuids) of which a certificate covers all that can be on them."""
    return tuple(host.uuid for _, host in at.adoption.nodes if deaths.dead(host.uuid))


def refused(at: Hearing, fallen: str) -> str:
    """The standing rule that forbids a promotion; "" where none does."""
    rule = forbidden(at)
    if rule is not None:
        return f"{rule[1]} ({rule[2]})"
    node = at.adoption.node_name(fallen)
    freeze = frozen(at, "recovery").get(node)
    return f"{freeze} (cxm thaw node/{node})" if freeze is not None else ""


# --- what the members say -----------------------------------------------------------------------------


def unready(said: Mapping[str, Said], at: Hearing, deaths: Deaths) -> str:
    """Why what the members say is not enough to make one of them master; "" where it is.

    Whoever lives has to answer, and to miss a master that is proven dead. Of whom nothing is heard a
    certificate is needed: it may have been made master, and be starting.
    """
    gone = dead(at, deaths)
    if at.observed.nodes.keys() <= {*gone}:
        return "no member is left that could become master"
    addresses = {at.observed.nodes[host].address for host in gone}
    for host, node in at.observed.nodes.items():
        answer = said.get(host, Said(role=Role.SILENT))
        if host in gone:
            if answer.role is not Role.SILENT:
                return f"{node.name} is dead by certificate, and its toolstack answers"
        elif answer.role is Role.MASTER:
            return f"{node.name} answers as the pool's master"
        elif answer.role is Role.SLAVE and answer.follows not in addresses:
            return f"{node.name} follows {answer.follows}, of which no death is proven"
        elif answer.role not in (Role.SLAVE, Role.ALONE):
            return f"{node.name} does not say whether it is master: {answer.message or answer.role}"
    return ""


def two_masters(said: Mapping[str, Said], at: Hearing) -> str:
    """Why everything is to be held, where more than one member takes itself for master; "" else."""
    names = [at.observed.nodes[host].name for host in _masters(said) if host in at.observed.nodes]
    if len(names) < 2:
        return ""
    return f"{' and '.join(sorted(names))} both answer as the pool's master: switch one of them off"


def _masters(said: Mapping[str, Said]) -> Iterator[str]:
    return (host for host, answer in said.items() if answer.role is Role.MASTER)


def joining(said: Mapping[str, Said], promotion: Promotion, at: Hearing) -> Iterator[str]:
    """The members that follow the new master, and have compared what they run with what it has.

    A member answers with the address of the master at which its toolstack started. The pool shows that
    start, and closes the member to VMs until the comparison is done.
    """
    address = at.observed.nodes[promotion.host].address
    for host, answer in said.items():
        node = at.observed.nodes.get(host)
        if node is None or not (node.enabled and node.live):
            continue
        master = host == promotion.host and answer.role is Role.MASTER
        follows = answer.role is Role.SLAVE and answer.follows == address
        if (master or follows) and node.started != promotion.started.get(host, ""):
            yield host


# --- who it is to be ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Heir:
    """Who is to become master, with the members whose copy is as new (`copies`) and the VMs that it may
    have in another place than they are (`stale`). `hold`: what a human has to say first."""

    host: str
    copies: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    hold: Hold | None = None


def heir(said: Mapping[str, Said], at: Hearing, deaths: Deaths) -> Heir:
    """The member that is to become master, of those that answer."""
    living = [host for host in said if host in at.observed.nodes and host not in dead(at, deaths)]
    copies, differing = _copies(at, deaths)
    having = [host for host in living if host in copies]
    if not having:
        differing = stale(at, deaths, None)
    chosen = min(having or living, key=lambda host: _rank(host, at, deaths))
    hold = _consent(chosen, differing, at, deaths) if differing else None
    return Heir(chosen, tuple(sorted(having)), differing, hold)


def _copies(at: Hearing, deaths: Deaths) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Who has the newest copy that is known of, and the VMs that may be elsewhere by now. Nothing is
    begun while a promotion is under way, so what was true at its beginning still is."""
    promotion = deaths.promotion
    if promotion is not None:
        return promotion.copies, promotion.stale
    synced = at.ledger.get("synced", Synced)
    return (synced.hosts if synced is not None else ()), stale(at, deaths, synced)


def _rank(host: str, at: Hearing, deaths: Deaths) -> tuple[bool, bool, str]:
    """Rather one that is well, and that is not being emptied."""
    nodes = {real.uuid: node for node, real in at.adoption.nodes}
    node = nodes.get(host)
    if node is None:
        return (True, True, host)
    well = deaths.verdicts[node.name].belief is Belief.WELL
    away = node.maintenance is not None or node.name in at.ledger.drains()
    return (not well, away, node.name)


def _consent(host: str, differing: tuple[str, ...], at: Hearing, deaths: Deaths) -> Hold | None:
    """What a human is asked before a promotion on an old copy; None once that hold was released.

    It names the death, so that consent to one promotion is none to the next.
    """
    fallen = bereaved(at, deaths)
    assert fallen is not None
    hold_id = f"H-copy-{deaths.proofs[fallen].certificate.id}"
    fact = at.ledger.facts.get(f"hold/{hold_id}")
    if fact is not None and isinstance(fact.value, Withdrawn):
        return None
    name = at.observed.nodes[host].name
    reason = (
        f"the copy of the pool's database on {name} may be older than what is known of"
        f" {_names(differing, at.observed)}: as master it would end what runs of them elsewhere."
        " Released, it becomes master all the same"
    )
    return Hold(id=hold_id, reason=reason, by="cxm")


def _names(vms: Iterable[str], observed: Observed) -> str:
    return listed(sorted(observed.vms[uuid].name if uuid in observed.vms else uuid for uuid in vms))
