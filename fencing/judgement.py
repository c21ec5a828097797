"""Judgement: what is believed of a node, whether its death may be looked for, and whether it may be shot.

A plain function of what is heard at this moment. Nothing here is proof: what a power-off and its
read-back show is the ladder's business. Rules and their reasons: docs/fencing.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from membership.view import PeerState


class Belief(StrEnum):
    WELL = "well"
    WATCHED = "watched"
    BLIND = "blind"
    AWAY = "away"
    SPARED = "spared"
    DEAD = "dead"
    REFUSED = "refused"
    DOOMED = "doomed"


@dataclass(frozen=True, slots=True)
class Probes:
    """What the node's own toolstack answered of late: for how long nothing has (None: it answers, or was
    not asked since the silence began), to how many questions, and how long ago it last did."""

    failing_s: float | None = None
    failed: int = 0
    answered_s: float | None = None


@dataclass(frozen=True, slots=True)
class Sight:
    """One node as the accuser sees it.

    `certificate` is the id of the one that covers everything on it ("": none does). `peer` is the state
    of its daemon, None where the tree gives it none; `silent_s` for how long that is silent on every
    channel. `heard_by` are living peers that say they hear it, `observers` all living peers but the
    accuser and the node itself. `away` says who has it in maintenance, `victims` how many VMs would be
    recovered, `unheard_s` for how long the pool has shown it as not live. `ordered` says who wants it
    powered off whatever is heard of it ("": nobody). `withholds`: nothing of the pool is seen or done
    before this node answers or is proven dead, since it is the pool's master, or one may be on it.
    """

    node: str
    peer: PeerState | None
    silent_s: float | None
    probes: Probes
    heard_by: tuple[str, ...] = ()
    observers: tuple[str, ...] = ()
    certificate: str = ""
    away: str = ""
    victims: int = 0
    unheard_s: float | None = None
    ordered: str = ""
    withholds: bool = False


@dataclass(frozen=True, slots=True)
class Accuser:
    """How the accuser is itself. `lag_s` of its loop, `disk` what is wrong with its shared disk, `hears`
    whether anything else is heard where the node is silent, `observes` whether the pool is."""

    name: str
    lag_s: float = 0.0
    mute: str = ""
    hears: bool = True
    observes: bool = True


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for all nodes at this moment. `forbidden` is the standing reason why nothing is fenced
    ("" if none) with its remedy; `brakes`: node to what limits shooting it."""

    interval_s: float
    dead_after_s: float
    settle_s: float
    forbidden: tuple[str, str, str] | None = None
    frozen: Mapping[str, str] = field(default_factory=dict)
    brakes: Mapping[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`may_look`: its devices may be asked whether it is off, and believed. `may_shoot`: it may also be
    powered off. `reason` is a word for machines, `wait_s` after how long time alone changes it."""

    belief: Belief
    reason: str = ""
    message: str = ""
    remedy: str = ""
    wait_s: float | None = None

    @property
    def may_look(self) -> bool:
        return self.belief is Belief.DOOMED

    @property
    def may_shoot(self) -> bool:
        return self.may_look and not self.reason


def judge(sight: Sight, accuser: Accuser, rules: Rules) -> Verdict:
    """What is to be made of this node now. The first rule that speaks decides."""
    doomed = Verdict(Belief.DOOMED, *rules.brakes.get(sight.node, ("", "")))
    if sight.ordered and not sight.certificate:
        return _forbidden(sight, accuser, rules) or _kept_away(sight) or doomed
    return (
        _settled(sight)
        or _forbidden(sight, accuser, rules)
        or _waiting(sight, rules)
        or _accuser_ill(sight, accuser, rules)
        or _contradicted(sight)
        or _looked_at(sight)
        or doomed
    )


# --- what is believed -------------------------------------------------------------------------------


def _settled(sight: Sight) -> Verdict | None:
    """What needs no fencing: it lives, or is dead for certain, or nobody would gain by it."""
    if sight.peer in (PeerState.ALIVE, PeerState.UNKNOWN):
        return Verdict(Belief.WELL)
    if sight.peer is PeerState.LEFT:
        return Verdict(Belief.AWAY, "Left", "its daemon was stopped by somebody, and said goodbye")
    answers = sight.probes.answered_s is not None and sight.probes.failing_s is None
    if sight.peer is None and (answers or sight.probes.failing_s is None):
        return Verdict(Belief.WELL)
    if answers:
        message = "its daemon is silent, but its server's toolstack answers"
        return Verdict(Belief.BLIND, "Blind", message, f"restart the service VM of {sight.node}")
    if sight.certificate:
        return Verdict(Belief.DEAD, "Certified", f"certificate {sight.certificate}")
    if sight.away:
        return Verdict(Belief.AWAY, "Away", sight.away)
    if not sight.victims and not sight.withholds:
        message = "nothing on it is to be recovered"
        return Verdict(Belief.SPARED, "NothingToRecover", message)
    return None


def _looked_at(sight: Sight) -> Verdict | None:
    """A node with nothing to recover is never powered off. That it is off may be read and believed where
    the pool waits for that; to have it switched off takes a human's word."""
    if sight.victims:
        return None
    message = (
        "nothing on it is to be recovered, so it is not powered off by itself; and before it is back or"
        " proven dead nobody sees or changes anything in the pool"
    )
    remedy = (
        f"cxm fence {sight.node}; where no device works and it is off: cxm confirm-off {sight.node}"
    )
    return Verdict(Belief.DOOMED, "NothingToRecover", message, remedy)


def _forbidden(sight: Sight, accuser: Accuser, rules: Rules) -> Verdict | None:
    if sight.node == accuser.name:
        return Verdict(Belief.REFUSED, "Oneself", "no node fences itself")
    if rules.forbidden is not None:
        return Verdict(Belief.REFUSED, *rules.forbidden)
    frozen = rules.frozen.get(sight.node)
    if frozen is not None:
        return Verdict(Belief.REFUSED, "Frozen", frozen, f"cxm thaw node/{sight.node}")
    return None


def _kept_away(sight: Sight) -> Verdict | None:
    """Not even an order has a node fenced on which somebody works."""
    if not sight.away:
        return None
    remedy = f"switch it off yourself, then cxm confirm-off {sight.node}"
    return Verdict(Belief.REFUSED, "Away", sight.away, remedy)


def _waiting(sight: Sight, rules: Rules) -> Verdict | None:
    """Silence has to last, on every channel, and as long as one blow to all takes to be noticed."""
    silent_s = _silent_s(sight)
    needs_s = rules.dead_after_s + rules.settle_s
    daemon_dead = sight.peer in (PeerState.DEAD, PeerState.BLIND, None)
    if not daemon_dead or silent_s is None or silent_s < needs_s:
        left_s = needs_s - (silent_s or 0.0)
        message = f"silent; judged when that has lasted for {needs_s:.0f} s"
        return Verdict(Belief.WATCHED, "Settling", message, wait_s=max(left_s, rules.interval_s))
    if sight.probes.failed < _PROBES_NEEDED:
        message = f"its toolstack has failed {sight.probes.failed} of {_PROBES_NEEDED} questions"
        return Verdict(Belief.WATCHED, "Probing", message, wait_s=rules.interval_s)
    return None


_PROBES_NEEDED = 2


def _silent_s(sight: Sight) -> float | None:
    """Of a node without a daemon its toolstack is all that could be heard."""
    return sight.probes.failing_s if sight.peer is None else sight.silent_s


# --- who accuses, and who contradicts -----------------------------------------------------------------


def _accuser_ill(sight: Sight, accuser: Accuser, rules: Rules) -> Verdict | None:
    if accuser.mute:
        return _unfit(f"{accuser.name} is mute: {accuser.mute}")
    if accuser.lag_s > rules.interval_s:
        return _unfit(f"{accuser.name} itself lags by {accuser.lag_s:.1f} s")
    if not accuser.hears:
        return _unfit(f"{accuser.name} hears nothing else either where {sight.node} is silent")
    if not accuser.observes:
        return _unfit(f"{accuser.name} does not see the pool, though its master should answer")
    return None


def _unfit(message: str) -> Verdict:
    return Verdict(Belief.REFUSED, "AccuserUnfit", message, "look at the network of that node")


def _contradicted(sight: Sight) -> Verdict | None:
    if sight.heard_by:
        message = f"{', '.join(sight.heard_by)} still hears {sight.node}"
        return Verdict(Belief.REFUSED, "Contradicted", message, "look at the links between them")
    if sight.peer is None and sight.unheard_s is None:
        others = (
            "nobody but its toolstack could tell of it"
            if sight.withholds
            else "the pool's master still counts it as live"
        )
        wait = "" if sight.withholds else "wait until the pool gives it up, or "
        return Verdict(
            Belief.REFUSED,
            "OneWitness",
            f"it runs no daemon, and {others}",
            f"{wait}look at it; where it is off: cxm confirm-off {sight.node}",
        )
    return None
