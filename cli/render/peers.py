"""Who is alive, who hears whom, and who leads: in words, for `members`, `leader` and `status`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from cli.render.rows import FAULT_SIGN, UNKNOWN_SIGN
from cli.render.text import Cell, Line, Span, Style, line, table
from cli.render.units import counted, span
from membership.view import DISK_CHANNEL
from reconciler.status import Leadership, LeaderState, PeerStatus, Status

ALIVE = "alive"
SINGLE = "single"
_LEFT = "left"

_STYLES: Mapping[str, Style] = {ALIVE: "good", _LEFT: "dim", "dead": "bad"}
_STATES: Mapping[str, str] = {
    "suspect": "is not heard on any channel",
    "dead": "is silent on every channel",
    "blind": "is blind: its daemons are silent, its server answers",
}
_STAGES: Mapping[str, str] = {
    "gather": "taking over: gathers what its peers know",
    "claim": "taking over: claims the term in the pool",
    "revoke": "taking over: ends the session of its predecessor",
    "open": "taking over: opens a session of its own",
    "wait": "taking over: waits for a fresh look at the pool",
    "lost": "but the pool knows this term as another's; a higher one is needed",
}
"""What the stages of taking over are for people."""


def alone(status: Status) -> bool:
    """One daemon is the whole cluster, by its settings."""
    return status.leadership.engine == SINGLE


def unseen(status: Status) -> bool:
    """Nothing is known of any peer, though there may be some."""
    return not alone(status) and not status.peers


def _cluster(status: Status) -> Span:
    return Span(status.cluster or status.cluster_id or "(no cluster yet)", "strong")


def held(status: Status) -> list[Cell]:
    """` HELD (cxm release H-xen1-5f ends it)`; nothing where nobody holds."""
    holds = [row.object for row in status.exceptions if row.kind == "hold"]
    if not holds:
        return []
    ends = f"cxm release {holds[0]} ends it"
    if len(holds) > 1:
        ends = f"by {', '.join(holds)}; cxm release ends each"
    return [" ", Span("HELD", "bad"), f" ({ends})"]


# --- members --------------------------------------------------------------------------------------


def members_lines(status: Status) -> list[Line]:
    """A line that says who leads, then a row for each peer."""
    name = _cluster(status)
    if alone(status):
        return [line(name, *held(status), f": {_alone(status.leadership, status.node)}")]
    heard = sum(peer.state == ALIVE for peer in status.peers)
    told = f"{heard}/{counted(len(status.peers), 'peer')} alive, {leading(status.leadership)}"
    head = line(name, *held(status), f", as {status.node} sees it: {told}")
    return [head, *_rows(status), *_voteless(status)]


def _rows(status: Status) -> list[Line]:
    channels = sorted({name for peer in status.peers for name in peer.channels}, key=_disk_last)
    head: list[Cell] = ["NAME", "STATE", *channels, "HEARD", "SEES", "STAGED", ""]
    return table([head, *(_cells(peer, channels, status) for peer in status.peers)], indent=2)


def _disk_last(channel: str) -> tuple[bool, str]:
    return channel == DISK_CHANNEL, channel


def _cells(peer: PeerStatus, channels: Sequence[str], status: Status) -> Sequence[Cell]:
    shown = [_state(peer.channels.get(name, "-")) for name in channels]
    notes = "; ".join(_notes(peer, status))
    return (
        peer.name, _state(peer.state), *shown, _heard(peer, status), _sees(peer, status),
        _staged(peer), Span(notes, "bad" if peer.problem else ""),
    )  # fmt: skip


def _state(state: str) -> Span:
    return Span(state, _STYLES.get(state, "warn"))


def _heard(peer: PeerStatus, status: Status) -> str:
    if peer.name == status.node:
        return "-"
    return "not yet" if peer.last_heard_s is None else f"{span(peer.last_heard_s)} ago"


def _sees(peer: PeerStatus, status: Status) -> Cell:
    if len(status.peers) < 2 or peer.state != ALIVE:
        return "-"  # What a silent peer saw last says nothing of now.
    missing = missed_by(peer, status)
    return Span(f"not {', '.join(missing)}", "warn") if missing else "all"


def missed_by(peer: PeerStatus, status: Status) -> tuple[str, ...]:
    """The peers that this one does not hear."""
    heard = {peer.name, *peer.sees}
    return tuple(other.name for other in status.peers if other.name not in heard)


def _staged(peer: PeerStatus) -> str:
    """A peer tells revision and digest; people want the revision."""
    return f"r{peer.staged.partition('-')[0]}" if peer.staged else "-"


def _notes(peer: PeerStatus, status: Status) -> Iterator[str]:
    leadership = status.leadership
    if peer.name == leadership.leader:
        yield "leads"
    if peer.name == status.node:
        yield "this node"
    if leadership.voters and peer.name not in leadership.voters:
        yield "no vote"
    if peer.problem:
        yield peer.problem


def members_data(status: Status) -> dict[str, Any]:
    """The same as plain data."""
    return {
        "node": status.node,
        "leadership": msgspec.to_builtins(status.leadership),
        "peers": peers_data(status),
    }


def peers_data(status: Status) -> list[dict[str, Any]]:
    """Each peer, and whom it does not hear."""
    return [
        {**msgspec.to_builtins(peer), "not_seen": list(missed_by(peer, status))}
        for peer in status.peers
    ]


# --- leader ---------------------------------------------------------------------------------------


def leader_lines(status: Status) -> list[Line]:
    """Who leads, as this node sees it, by whose votes."""
    leadership = status.leadership
    name = _cluster(status)
    if alone(status):
        return [line(name, *held(status), f": {_alone(leadership, status.node)}")]
    rows = [line(name, *held(status), f", as {status.node} sees it: {leading(leadership)}")]
    if leadership.voters:
        names = ", ".join([*leadership.voters, *(["disk"] if leadership.disk_votes else [])])
        rows.append(
            line(f"  voters {names} (epoch {leadership.epoch}), engine {leadership.engine}")
        )
    return [*rows, *_own_fault(status), *_voteless(status)]


def leader_data(status: Status) -> dict[str, Any]:
    """The same as plain data."""
    return {"node": status.node, **msgspec.to_builtins(status.leadership)}


def leading(leadership: Leadership) -> str:
    """`xen2 leads in term 7`, what it still waits for, or why nobody does."""
    if leadership.state is LeaderState.NOBODY:
        why = f": {leadership.reason}" if leadership.reason else ""
        return f"nobody leads{why}; nothing is begun until somebody does"
    leads = f"{leadership.leader} leads in term {leadership.term}"
    return f"{leads}, {_waiting(leadership)}" if leadership.state is LeaderState.WAITING else leads


def _waiting(leadership: Leadership) -> str:
    waits = f"waiting {span(leadership.waits_s)} before acting" if leadership.waits_s else ""
    stage = leadership.stage
    if waits and stage in ("", "idle", "wait"):
        return waits
    told = [_STAGES.get(stage, f"not acting yet{f' ({stage})' if stage else ''}"), waits]
    lacks = f" ({leadership.reason})" if leadership.reason else ""
    return ", ".join(filter(None, told)) + lacks


def _alone(leadership: Leadership, node: str) -> str:
    return f"{leadership.leader or node} is alone (engine single): nobody takes over if it fails"


# --- status ---------------------------------------------------------------------------------------


def peer_alarms(status: Status) -> list[Line]:
    """What is not well among peers; nothing where all is."""
    if alone(status):
        return []
    return [
        *_leading_alarm(status),
        *_own_fault(status),
        *_peer_faults(status),
        *_voteless(status),
    ]


def _leading_alarm(status: Status) -> Iterator[Line]:
    leadership = status.leadership
    if unseen(status):
        why = leadership.reason or "no peer was seen yet"
        yield line("  ", UNKNOWN_SIGN, f" not known who leads: {why}; this node begins nothing")
    elif leadership.state is LeaderState.NOBODY:
        yield line("  ", FAULT_SIGN, f" {leading(leadership)} (cxm members)")
    elif leadership.state is LeaderState.WAITING:
        yield line(f"  {leading(leadership)}")


def _own_fault(status: Status) -> Iterator[Line]:
    """Why this node keeps silent, which somebody else's leadership does not heal."""
    fault = status.leadership.fault
    if fault:
        yield line("  ", FAULT_SIGN, f" {status.node} takes no part: {fault}")


def _voteless(status: Status) -> Iterator[Line]:
    """Two voters with a disk that does not vote (yet, or any more) only ever act together."""
    leadership = status.leadership
    there = [peer.name for peer in status.peers if DISK_CHANNEL in peer.channels]
    if len(leadership.voters) == 2 and there and not leadership.disk_votes:
        names = " and ".join(leadership.voters)
        text = f" the disk has no vote: without it neither of {names} leads alone"
        yield line("  ", UNKNOWN_SIGN, f"{text} (yet, or see cxm heartbeat show)")


def _peer_faults(status: Status) -> Iterator[Line]:
    alive = {peer.name for peer in status.peers if peer.state == ALIVE}
    for peer in status.peers:
        if peer.problem and peer.problem != status.leadership.fault:
            yield line("  ", FAULT_SIGN, f" peer {peer.name}: {peer.problem}")
        if peer.state != ALIVE:
            sign = FAULT_SIGN if peer.state == "dead" else UNKNOWN_SIGN
            yield line("  ", sign, f" peer {peer.name} {_silence(peer)}")
            continue
        quiet = [name for name, state in peer.channels.items() if state != ALIVE]
        if quiet:
            place = "cannot use" if peer.name == status.node else "is not heard on"
            text = f" peer {peer.name} {place} {', '.join(sorted(quiet, key=_disk_last))}"
            yield line("  ", UNKNOWN_SIGN, text)
        deaf = [name for name in missed_by(peer, status) if name in alive]
        if deaf:
            yield line("  ", UNKNOWN_SIGN, f" peer {peer.name} does not hear {', '.join(deaf)}")


def _silence(peer: PeerStatus) -> str:
    """Dead is a belief: it is told as what it rests on."""
    if peer.last_heard_s is None:
        return "was not heard since this daemon's start"
    if peer.state == _LEFT:
        return f"was stopped {span(peer.last_heard_s)} ago"
    return f"{_STATES.get(peer.state, f'is {peer.state}')}, for {span(peer.last_heard_s)}"
