"""Paging: what people are told without asking, and when it is over.

An alarm is a state, not an event: it is told when it begins and when it ends. Every node knows which
alarms stand; who tells of them, and what was told already, is the pager's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum

from fencing.evidence import absent
from membership.clock import Now
from membership.ledger import Ledger
from membership.view import PeerState, View
from reconciler.actions import Blocked
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


class Situation(Frozen, frozen=True, kw_only=True):
    """What alarms are judged by. `leaderless_s`: for how long nobody has led, None where somebody does;
    `stalled` are the rows that only a human brings forward, None before there is a plan;
    `held` are the nodes whose death nothing proves, and why, None before any was judged;
    `source_lost` says why, "" where not, and `cannot_act` why this node leads in vain; `falls_short` why
    fewer losses are survivable than the tree wants, None where that is not known."""

    view: View
    ledger: Ledger
    desired: Desired | None
    leaderless_s: float | None
    stalled: tuple[Blocked, ...] | None = ()
    held: Mapping[str, str] | None = None
    source_lost: str = ""
    cannot_act: str = ""
    falls_short: str | None = None


def alarms(situation: Situation, now: Now) -> dict[str, Page]:
    """All alarms that stand at this moment, by key."""
    found = (
        *_holds(situation),
        *_leadership(situation),
        *_peers(situation.view),
        *_rows(situation.stalled or ()),
        *_held_nodes(situation.held or {}),
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
        case "maintenance":
            return desired is not None
    return True


def _page(key: str, severity: Severity, title: str, *text: str) -> Page:
    return Page(key=key, severity=severity, title=title, text="\n".join(text))


def _holds(situation: Situation) -> Iterator[Page]:
    for hold in situation.ledger.holds:
        yield _page(
            f"hold/{hold.id}",
            Severity.CRITICAL,
            f"cxm is held: {hold.reason}",
            f"Raised by {hold.by}. Nothing is begun until it is released.",
            f"Look at cxm status; when all is well: cxm release {hold.id}",
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


def _peers(view: View) -> Iterator[Page]:
    for name, peer in view.peers.items():
        if name == view.me:
            continue
        if peer.state in _BAD:
            severity, what = _BAD[peer.state]
            text = "Look at cxm members; a blind node needs its service VM restarted."
            yield _page(f"peer/{name}", severity, f"node {name} {what}", text)
        elif peer.problem:
            title = f"node {name}: {peer.problem}"
            yield _page(f"peer/{name}", Severity.WARNING, title, "Look at cxm members.")


def _held_nodes(held: Mapping[str, str]) -> Iterator[Page]:
    for name, why in held.items():
        yield _page(
            f"held/{name}",
            Severity.CRITICAL,
            f"node {name} is held: nothing proves that it is off",
            f"{why}. What ran there stays down until somebody looks at the server.",
            f"When it is off: cxm confirm-off {name}",
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
