"""Paging: what people are told without asking, and when it is over.

An alarm is a state, not an event: it is told when it begins and when it ends. Every node knows which
alarms stand; who tells of them, and what was told already, is the pager's business.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from enum import StrEnum
from math import inf

from fencing.devices import levels
from fencing.evidence import absent, voided
from membership.clock import Now
from membership.ledger import Ledger
from membership.proofs import Certificate, Drill, Found, Live
from membership.view import PeerState, View
from reconciler.actions import Blocked
from reconciler.deaths import tried
from reconciler.naming import NAMED, counted, listed
from schema.model import Desired, Frozen, Heartbeat


class Severity(StrEnum):
    """As in `notify` of node.yaml, and as monitoring has them."""

    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"
    UNKNOWN = "unknown"


RANK: Mapping[Severity, int] = {
    Severity.OK: 0,
    Severity.WARNING: 1,
    Severity.UNKNOWN: 1,
    Severity.CRITICAL: 2,
}
"""What is unknown is told like a warning: it may be either."""


class Page(Frozen, frozen=True, kw_only=True):
    """Something to tell people. `key` is the same when it begins and when it is over (severity ok)."""

    key: str
    severity: Severity
    title: str
    text: str


def wanted(page: Page, least: str) -> bool:
    """Whether a way of telling that wants `least` and worse takes this page. An end is told to whoever
    may have been told of the beginning."""
    return page.severity is Severity.OK or RANK[page.severity] >= RANK[Severity(least)]


class Held(Frozen, frozen=True, kw_only=True):
    """A node that is believed dead and of which nothing proves it: why, and what a person can do.
    `victims`: whether anything on it is to be recovered."""

    why: str
    remedy: str
    victims: bool = True


class Dead(Frozen, frozen=True, kw_only=True):
    """A node that is dead by this certificate; `lost` are the VMs (names) that died with it and do not run
    again yet."""

    certificate: Certificate
    lost: tuple[str, ...] = ()


class Away(Frozen, frozen=True, kw_only=True):
    """A node that somebody other than cxm has taken away: by what that is known, and for how long nothing
    was heard of it."""

    why: str
    silent_s: float


class Situation(Frozen, frozen=True, kw_only=True):
    """What alarms are judged by; None is what is not known, as before there is a plan or a judgement.

    `leaderless_s`: for how long nobody has led, None where somebody does; `stalled` are the rows that
    only a human brings forward; `source_lost` says why, "" where not, and `cannot_act` why this node
    leads in vain; `falls_short` why fewer losses are survivable than the tree wants. `held`, `dead` and
    `away` are by the names of nodes, and `answering` those that answer for themselves. `down`: node to
    the rows that refuse to start what died with it, none where nothing is refused as yet. `late`: device
    and node to why the last trial is too old to rely on. `autostarted`: VMs that the pool starts at any
    host's boot.
    """

    view: View
    ledger: Ledger
    desired: Desired | None
    leaderless_s: float | None
    stalled: tuple[Blocked, ...] | None = ()
    held: Mapping[str, Held] | None = None
    dead: Mapping[str, Dead] | None = None
    away: Mapping[str, Away] | None = None
    answering: Collection[str] = ()
    down: Mapping[str, tuple[Blocked, ...]] | None = None
    late: Mapping[tuple[str, str], str] | None = None
    autostarted: tuple[str, ...] | None = None
    source_lost: str = ""
    cannot_act: str = ""
    falls_short: str | None = None


def alarms(situation: Situation, now: Now) -> dict[str, Page]:
    """All alarms that stand at this moment, by key."""
    found = (
        *_holds(situation),
        *_leadership(situation),
        *_peers(situation),
        *_rows(situation.stalled or ()),
        *_held_nodes(situation.held or {}),
        *_dead_nodes(situation.dead or {}),
        *_away_nodes(situation),
        *_kept_down(situation.down or {}),
        *_late_trials(situation.late or {}),
        *_autostarted(situation.autostarted or ()),
        *_devices(situation),
        *_source(situation.source_lost),
        *_cold(situation.ledger),
        *_survival(situation.falls_short or ""),
        *_overdue(situation, now),
    )
    return {page.key: page for page in found}


def dead_after_s(desired: Desired | None) -> float:
    """Without a tree: as where it says nothing of it."""
    return (desired.cluster.heartbeat if desired is not None else Heartbeat()).dead_after_s


def ended(key: str, situation: Situation) -> bool:
    """Whether an alarm that does not stand is over. After a start, and while a peer is neither well nor
    given up, nobody can tell: people are not to hear of an end that is none."""
    kind, _, name = key.partition("/")
    view, desired = situation.view, situation.desired
    match kind:
        case "no-leader" | "mute" if desired is not None and name not in desired.nodes:
            return True
        case "no-leader":
            return name == view.me and situation.leaderless_s is None
        case "mute":
            return name == view.me and view.me in view.peers
        case "peer":
            gone = desired is not None and name not in desired.nodes
            peer = view.peers.get(name)
            return gone or (peer is not None and peer.state in _SETTLED)
        case "stalled":
            return situation.stalled is not None
        case "survival":
            return situation.falls_short is not None
        case "held":
            return situation.held is not None
        case "away" | "dead":
            return _settled(name, situation)
        case "down":
            return situation.down is not None and name not in situation.down
        case "drill":
            return situation.late is not None
        case "auto-poweron":
            return situation.autostarted is not None
        case "maintenance":
            return desired is not None
    return True


def _settled(name: str, situation: Situation) -> bool:
    """Whether it is known how a node is: it answers, or is dead for certain, or is none of ours any more."""
    if situation.desired is not None and name not in situation.desired.nodes:
        return True
    return name in situation.answering or name in (situation.dead or {})


def _page(key: str, severity: Severity, title: str, *text: str) -> Page:
    return Page(key=key, severity=severity, title=title, text="\n".join(text))


def _holds(situation: Situation) -> Iterator[Page]:
    for hold in situation.ledger.holds:
        certificate = voided(hold.id, situation.ledger)
        risk = [] if certificate is None else [_risk(certificate)]
        yield _page(
            f"hold/{hold.id}",
            Severity.CRITICAL,
            f"cxm is held: {hold.reason}",
            *risk,
            f"Raised by {hold.by}. Nothing is begun until it is released.",
            f"Look at cxm status; when all is well: cxm release {hold.id}",
        )


def _risk(certificate: Certificate) -> str:
    """What may be so where a node was taken for dead and is not."""
    return (
        f"{certificate.node} was certified dead ({certificate.evidence}) and may have run on: what was"
        " started elsewhere since may run twice. Look at both servers (cxm locks,"
        f" cxm why node/{certificate.node}), and at the fence device, before anything else."
    )


def _leadership(situation: Situation) -> Iterator[Page]:
    view = situation.view
    lost_s = situation.leaderless_s
    if lost_s is not None and lost_s >= dead_after_s(situation.desired):
        yield _unled(view)
    if situation.cannot_act:
        yield _page(
            "cannot-act",
            Severity.CRITICAL,
            f"{view.me} leads and cannot act: {situation.cannot_act}",
            "Nothing is begun. Where another node is alive it is let to try.",
            f"Look at cxm members, and at what {view.me} reaches: the pool, and its peers.",
        )
    if view.health.mute:
        yield _page(
            f"mute/{view.me}",
            Severity.CRITICAL,
            f"{view.me} keeps silent: {view.health.mute}",
            "Its heartbeats cannot be told from another's, so it takes part in nothing.",
            f"Look at cxm members on {view.me}.",
        )


def _unled(view: View) -> Page:
    """One node's own, for it cannot tell whether others hear a leader."""
    others = {name: peer.state for name, peer in view.peers.items() if name != view.me}
    silent = [name for name, state in sorted(others.items()) if state is not PeerState.ALIVE]
    cut_off = " is cut off: it" if len(silent) == len(others) else ""
    return _page(
        f"no-leader/{view.me}",
        Severity.CRITICAL,
        f"{view.me}{cut_off} hears no leader",
        view.reason or "No node has the agreement of enough others to act.",
        f"As {view.me} sees it. It does not hear {', '.join(silent) or 'any leader among its peers'}.",
        "Where no other node leads either, nothing is begun until enough peers hear each other again. "
        f"Look at cxm members on {view.me}, and on another node.",
    )


_BAD = {
    PeerState.DEAD: (Severity.CRITICAL, "is silent on every channel"),
    PeerState.BLIND: (Severity.WARNING, "is blind: its daemons are silent, its server answers"),
}


_SETTLED = (PeerState.ALIVE, PeerState.LEFT)


def _peers(situation: Situation) -> Iterator[Page]:
    """One that is switched off for a drill is silent because somebody wants it."""
    view, drill = situation.view, tried(situation.ledger)
    drilled = drill.node if drill is not None else ""
    for name, peer in view.peers.items():
        if name in (view.me, drilled):
            continue
        if peer.state in _BAD:
            severity, what = _BAD[peer.state]
            text = "Look at cxm members; a blind node needs its service VM restarted."
            yield _page(f"peer/{name}", severity, f"node {name} {what}", text)
        elif peer.problem:
            title = f"node {name}: {peer.problem}"
            yield _page(f"peer/{name}", Severity.WARNING, title, "Look at cxm members.")


def _held_nodes(held: Mapping[str, Held]) -> Iterator[Page]:
    for name, node in held.items():
        stays = " What ran there stays down until somebody looks at the server."
        yield _page(
            f"held/{name}",
            Severity.CRITICAL,
            f"node {name} is held: nothing proves that it is off",
            f"{node.why}.{stays if node.victims else ''}",
            f"When it is off: {node.remedy}" if node.victims else f"Look at it: {node.remedy}",
        )


def _dead_nodes(dead: Mapping[str, Dead]) -> Iterator[Page]:
    for name, node in dead.items():
        proof, lost = node.certificate, node.lost
        again = f"{counted(len(lost), 'VM')} {'is' if len(lost) == 1 else 'are'} to run again"
        yield _page(
            f"dead/{name}",
            Severity.CRITICAL,
            f"node {name} is dead ({proof.id}: {proof.evidence}); {again}",
            *(
                [f"{listed(lost)}: elsewhere, as far as they fit (cxm recover {name})."]
                if lost
                else []
            ),
            f"By {proof.by}. Once it is repaired and back it takes VMs again; nothing moves by itself.",
        )


def _away_nodes(situation: Situation) -> Iterator[Page]:
    desired = situation.desired
    grace_s = desired.cluster.recovery.foreign_grace_s if desired is not None else inf
    for name, away in (situation.away or {}).items():
        if away.silent_s < grace_s:
            continue
        yield _page(
            f"away/{name}",
            Severity.CRITICAL,
            f"somebody's work on node {name} lasts longer than recovery.foreignGrace",
            f"{away.why}; nothing was heard of it for {away.silent_s / 60.0:.0f} minutes. It is not"
            " fenced, and nothing of what ran there is recovered.",
            f"Bring it back; or, where it is off and its VMs are to run elsewhere: cxm confirm-off {name}",
        )


def _kept_down(down: Mapping[str, tuple[Blocked, ...]]) -> Iterator[Page]:
    for name, rows in down.items():
        if not rows:
            continue
        first, more = rows[0], f" and {len(rows) - 1} more" if len(rows) > 1 else ""
        do = "do" if more else "does"
        yield _page(
            f"down/{name}",
            Severity.CRITICAL,
            f"{first.object}{more} of {name}, which died, {do} not run again: {first.reason}",
            *(f"{row.object}: {_refusal(row)}" for row in rows[:NAMED]),
            *([f"and {len(rows) - NAMED} more: cxm diff"] if len(rows) > NAMED else []),
            f"It is tried again by itself. cxm recover {name} says what is left.",
        )


def _refusal(row: Blocked) -> str:
    """Why, with the numbers of the nearest miss."""
    if row.needs is None or row.best is None or row.best.has is None:
        return f"{row.reason}: {row.message}"
    numbers = f"needs {_mib(row.needs)}, best is {row.best.node} with {_mib(row.best.has)}"
    return f"{row.reason}: {row.message}; {numbers}"


def _mib(size: int) -> str:
    return f"{size // 2**20} MiB"


def _late_trials(late: Mapping[tuple[str, str], str]) -> Iterator[Page]:
    for (device, name), why in late.items():
        yield _page(
            f"drill/{name}/{device}",
            Severity.WARNING,
            f"fence device {device} of {name} cannot be relied on: {why}",
            f"Where {name} dies it may be held, and its VMs stay down until somebody looks.",
            f"cxm fence-drill {name} reads it now.",
        )


def _autostarted(vms: tuple[str, ...]) -> Iterator[Page]:
    if vms:
        yield _page(
            "auto-poweron",
            Severity.WARNING,
            "the pool's auto_poweron is on, and VMs that are no service VMs are flagged for it",
            f"Every boot of any host starts {listed(vms)}, whatever the tree says, and races with cxm.",
            "Per VM: xe vm-param-remove uuid=UUID param-name=other-config param-key=auto_poweron",
        )


def _devices(situation: Situation) -> Iterator[Page]:
    """Devices that a live drill showed to prove nothing, as long as the tree reaches them in that way."""
    for drill in situation.ledger.values(Drill):
        if drill.live is not None and drill.live.found is not Found.BOUND:
            yield from _unbound(drill, drill.live, situation.desired)


def _unbound(drill: Drill, live: Live, desired: Desired | None) -> Iterator[Page]:
    if desired is None or drill.node not in desired.nodes:
        return
    uses = (use for level in levels(desired, drill.node) for use in level)
    if any(use.device == drill.device and use.wiring == live.wiring for use in uses):
        yield _page(
            f"device/{drill.device}/{drill.node}",
            Severity.CRITICAL,
            f"{drill.device} is no fence device of node {drill.node}: {live.message}",
            "It is neither used nor believed. Mend its cable or its address, then:",
            f"cxm fence-drill {drill.node} --live --device {drill.device}",
        )


def _rows(stalled: Iterable[Blocked]) -> Iterator[Page]:
    for row in stalled:
        remedy = row.remedy or f"cxm why {row.object}"
        title = f"{row.object} is stalled: {row.reason}"
        yield _page(f"stalled/{row.object}", Severity.WARNING, title, row.message, remedy)


def _source(lost: str) -> Iterator[Page]:
    if lost:
        text = "The last good revision stays in force; new commits are not seen."
        yield _page("source", Severity.WARNING, f"Subversion is lost: {lost}", text)


def _cold(ledger: Ledger) -> Iterator[Page]:
    missing = absent(ledger)
    if missing:
        names = ", ".join(missing)
        yield _page(
            "cold-start",
            Severity.CRITICAL,
            "the site may have been without power: nothing is started yet",
            f"All servers that are here were started anew. Not here, and not certified: {names}.",
            "It goes on by itself once they are. Of each that stays off: cxm confirm-off NODE",
        )


def _survival(short: str) -> Iterator[Page]:
    if short:
        title = "fewer losses of nodes are survivable than the tree wants"
        text = (
            "Look at cxm diff --what-if down=NODE; add room or devices, or lower recovery.tolerate."
        )
        yield _page("survival", Severity.WARNING, title, short, text)


def _overdue(situation: Situation, now: Now) -> Iterator[Page]:
    """The `until` of a drain is a reminder: the node may lie open on a bench, so it stays empty."""
    ends = [
        (drain.node, drain.until_epoch_s, drain.reason)
        for drain in situation.ledger.drains().values()
    ]
    for node in situation.desired.nodes.values() if situation.desired is not None else ():
        if node.maintenance is not None:
            ends.append((node.name, node.maintenance.until_epoch_s, node.maintenance.reason))
    for name, until_epoch_s, reason in ends:
        if until_epoch_s is not None and until_epoch_s <= now.epoch_s:
            title = f"maintenance of {name} is past its end"
            text = f"{reason}\nIt stays drained until somebody ends it: cxm undrain {name}"
            yield _page(f"maintenance/{name}", Severity.WARNING, title, text)


def test(me: str, by: str) -> Page:
    """What `cxm notify --test` sends."""
    text = f"{by} asked {me} to show that this way of telling people works."
    return _page("test", Severity.CRITICAL, f"cxm: a test from {me}", text)


def over(key: str, title: str) -> Page:
    """The end of an alarm."""
    return _page(key, Severity.OK, f"over: {title}", "")
