"""`cxm status`: line 1 is the verdict, the mode and what is armed; the rest is what needs a look."""

from __future__ import annotations

from collections.abc import Sequence

from cli.render.peers import ALIVE, held, peer_alarms, unseen
from cli.render.plans import WAITS, gated, head_named, plans_lines
from cli.render.recovery import bound_lines, caveat_lines, device_lines
from cli.render.rows import FAULT_SIGN, UNKNOWN_SIGN, flight_lines, style_of
from cli.render.survival import survives, unsurvived
from cli.render.text import Cell, Line, Span, line, table
from cli.render.units import Moment, counted, size, span
from reconciler.observed import STALE_AFTER_S
from reconciler.revisions import HeadState
from reconciler.status import (
    Condition,
    ExceptionStatus,
    LeaderState,
    NodeStatus,
    RevisionStatus,
    Status,
    Verdict,
    VmStatus,
)
from schema.errors import ConfigError

_SHOWN_ERRORS = 5
HELD = "held"
"""State of a node that is believed dead and of which nothing proves it."""

_IN_OTHER_LINES = frozenset({"Gated", "Held", "NoLeader", "Unproven", "LessSurvivable"})
"""The condition's reasons that the lines on the head, on exceptions and on peers tell better."""


def status_lines(
    status: Status,
    moment: Moment,
    *,
    unmanaged: bool = False,
    revision: bool = False,
    bounds: bool = False,
    vms: bool = False,
) -> list[Line]:
    """The whole of it. `vms` lists every VM in `status`, not only those that need a look."""
    known = status.verdict is not Verdict.UNKNOWN
    rows = [headline(status), *alarm_lines(status)]
    rows += revision_lines(status) if revision else []
    rows += node_lines(status.nodes, "" if known else " as last seen")
    if known or vms:
        rows += vm_lines(status.vms if vms else _notable(status.vms))
    rows += flight_lines(status.in_flight)
    if known:
        rows += plans_lines(status, moment)
    rows += exception_lines(status.exceptions)
    rows += bounds_lines(status) if bounds else []
    return rows + (unmanaged_lines(status) if unmanaged else [])


def bounds_lines(status: Status) -> list[Line]:
    """What would prove each node's death, how its devices stand, and what would be in the way of it."""
    return [
        *bound_lines(status.bounds),
        *device_lines(status.devices),
        *caveat_lines(status.caveats),
    ]


def headline(status: Status) -> Line:
    """`lyon r145 AUTO, converged 12 s ago: 3/3 nodes alive, 41 VMs as desired, 0 pending.`"""
    name = status.cluster or "(no cluster yet)"
    at = f" r{status.revision.target}" if status.revision.target is not None else ""
    mode = f" {status.mode.upper()}" if status.mode else ""
    state = Span(_state(status), "good" if standing(status) is Verdict.CONVERGED else "warn")
    armed = f"  Armed: {', '.join(status.armed)}" if status.armed else ""
    tail = f": {_tally(status)}.{armed}{survives(status)}"
    return line(Span(name + at + mode, "strong"), *_idle(status), ", ", state, tail)


def _idle(status: Status) -> list[Cell]:
    """Why nothing is begun, whatever the verdict; nothing where somebody leads and nobody holds."""
    cells = [*held(status), *_unproven(status)]
    if not status.daemon:
        cells += [" ", Span("NO DAEMON", "bad"), f" (none answers on {status.node})"]
    elif status.leadership.state is LeaderState.NOBODY:
        words = "LEADER NOT KNOWN" if unseen(status) else "NOBODY LEADS"
        cells += [" ", Span(words, "bad")]
    return cells


def _unproven(status: Status) -> list[Cell]:
    """` HELD by node/xen3 (cxm confirm-off xen3)`, once for all."""
    stuck = [node for node in status.nodes if node.state == HELD]
    if not stuck:
        return []
    names = ", ".join(f"node/{node.name}" for node in stuck)
    return [" ", Span("HELD", "bad"), f" by {names} ({stuck[0].remedy})"]


def standing(status: Status) -> Verdict:
    """The verdict, and that of a cluster in which nothing would be begun: as desired by chance."""
    return (
        Verdict.REFUSED if status.verdict is Verdict.CONVERGED and _idle(status) else status.verdict
    )


def _state(status: Status) -> str:
    seen = status.observation
    if status.verdict is Verdict.UNKNOWN:
        return f"unknown, last seen {span(seen.age_s)} ago" if seen else "unknown, never seen"
    if status.verdict is Verdict.CONVERGED and status.converged_age_s is not None:
        return f"converged {span(status.converged_age_s)} ago"
    if status.verdict is Verdict.INVALID:
        return f"r{status.revision.head} rejected"
    if gated(status) and not status.in_flight:
        return f"r{status.revision.head} {WAITS}"
    if status.verdict is Verdict.DIFFERS and status.in_flight:
        return "converging"
    return str(status.verdict)


def _tally(status: Status) -> str:
    if status.verdict is Verdict.UNKNOWN and not _silent_nodes(status):
        there = f"{counted(len(status.nodes), 'node')}, {counted(len(status.vms), 'VM')}"
        return f"{there}, how they are is not known"
    parts = [*_nodes_alive(status.nodes), *_as_desired(status.vms)]
    parts.append(f"{len(status.plan.actions)} pending")
    parts += [f"{len(status.plan.blocked)} blocked"] if status.plan.blocked else []
    return ", ".join(parts)


def _nodes_alive(nodes: Sequence[NodeStatus]) -> list[str]:
    alive = sum(node.state == "alive" for node in nodes)
    return [f"{alive}/{counted(len(nodes), 'node')} alive"] if nodes else []


def _as_desired(vms: Sequence[VmStatus]) -> list[str]:
    if not vms:
        return []
    good = sum(vm.condition is Condition.READY for vm in vms)
    unknown = sum(vm.condition is Condition.UNKNOWN for vm in vms)
    rest = len(vms) - good - unknown
    parts = [f"{counted(good, 'VM')} as desired", *([f"{rest} not"] if rest else [])]
    return [*parts, *([f"{unknown} not known"] if unknown else [])]


def alarm_lines(status: Status) -> list[Line]:
    """What a reader must not miss: no observation, no Subversion, a head that is not in force, a hold."""
    rows: list[Line] = []
    if status.verdict is Verdict.UNKNOWN or (
        status.observation and not status.observation.complete
    ):
        rows.append(_blind(status))
    elif status.message and not _told_elsewhere(status):
        rows.append(line("  ", FAULT_SIGN, f" {_reasoned(status.reason, status.message)}"))
    rows += peer_alarms(status)
    rows += unsurvived(status)
    if status.source.reason:
        rows.append(_source_line(status))
    if status.revision.state == HeadState.REJECTED:
        return rows + rejected_lines(status.revision)
    return rows + _newer_lines(status)


def _newer_lines(status: Status) -> list[Line]:
    """A revision that is newer than the one whose rows are shown."""
    revision = status.revision
    if gated(status):
        unseen = status.verdict is Verdict.UNKNOWN  # Else its own rows tell it.
        return [line(f"  {head_named(revision)} {WAITS}")] if unseen else []
    if revision.state == HeadState.FETCHING and revision.head != revision.target:
        return [line(f"  {head_named(revision)} was seen, and is being read")]
    if status.planned is not None and status.planned != revision.target:
        return [line(f"  r{revision.target} is in force, and is being planned")]
    return []


def _blind(status: Status) -> Line:
    silent = _silent_nodes(status)
    if silent:
        text = f" not heard: {', '.join(silent)}; what the pool says of VMs there may be untrue"
        return line("  ", UNKNOWN_SIGN, f"{text}, and they are left alone")
    seen = status.observation
    missing = f"; not seen: {', '.join(seen.missing)}" if seen and seen.missing else ""
    why = _reasoned(status.reason, status.message) or "the pool has not been observed"
    return line("  ", UNKNOWN_SIGN, f" {why}{missing}; nothing is done until it is")


def _silent_nodes(status: Status) -> tuple[str, ...]:
    """Nodes that the pool does not hear, where they are all that is missing from a fresh picture."""
    seen = status.observation
    if seen is None or seen.age_s > STALE_AFTER_S:
        return ()
    missing = seen.missing
    return missing if all(part.startswith("node/") for part in missing) else ()


def _told_elsewhere(status: Status) -> bool:
    """True where the reason of the whole is that of a row, of the source or of the rejected head."""
    rows = {row.reason for row in status.plan.blocked}
    return status.reason in rows | {status.source.reason, status.revision.reason, *_IN_OTHER_LINES}


def _source_line(status: Status) -> Line:
    """Subversion does not answer (since when), or answers what cannot be believed."""
    source = status.source
    age = f" for {span(source.age_s)}" if source.age_s is not None else ""
    head = f"Subversion does not answer{age}" if source.reachable is False else "Subversion"
    force = status.revision.target
    stays = f"; r{force} stays in force" if force is not None else ""
    why = _reasoned(source.reason, source.message)
    return line("  ", UNKNOWN_SIGN, f" {head}: {why}{stays}")


def rejected_lines(revision: RevisionStatus) -> list[Line]:
    """Who committed what is refused, why, and what is in force instead."""
    by = revision.author or "nobody named"
    force = (
        f"r{revision.target} stays in force" if revision.target is not None else "none is in force"
    )
    quoted = f', "{revision.summary}"' if revision.summary else ""
    head = f" r{revision.head} ({by}{quoted}) is rejected; {force}"
    rows = [line("  ", FAULT_SIGN, head)]
    if revision.reason and not revision.errors:
        rows.append(line(f"    {_reasoned(revision.reason, revision.message)}"))
    rows += [line(f"    {error_text(error)}") for error in revision.errors[:_SHOWN_ERRORS]]
    rest = len(revision.errors) - _SHOWN_ERRORS
    return rows + ([line(f"    and {rest} more")] if rest > 0 else [])


def error_text(error: ConfigError) -> str:
    place = f"{error.path}:{error.line}:{error.column}"
    return f"{place}: {error.severity}[{error.code}] {error.message}"


def _reasoned(reason: str, message: str) -> str:
    return f"{reason}: {message}" if reason and message else reason or message


def node_lines(nodes: Sequence[NodeStatus], how: str = "") -> list[Line]:
    """A row each; `how` stands beside the head."""
    if not nodes:
        return []
    rows = table([_node_cells(node) for node in nodes], indent=2)
    return [line(Span("Nodes", "strong"), how), *rows]


def _node_cells(node: NodeStatus) -> Sequence[Cell]:
    memory = (
        f"{size(node.memory_used)} of {size(node.memory_total)} used" if node.memory_total else "-"
    )
    marks = [
        *(["draining"] if node.draining else []),
        *(["cordoned"] if _only_cordoned(node) else []),
        *([_reasoned(node.reason, node.message)] if _says_more(node) else []),
    ]
    marks += [f"certificate {node.certificate}"] if node.certificate else []
    return (
        node.name,
        Span(node.state, style_of(node.condition)),
        counted(node.vms_running, "VM"),
        memory,
        "; ".join(marks),
    )


def _only_cordoned(node: NodeStatus) -> bool:
    """Nothing is put on a node that is not well either, which needs no word of its own."""
    return node.state == ALIVE and not node.schedulable and not node.draining


def _says_more(node: NodeStatus) -> bool:
    """False where the reason only repeats a mark."""
    repeats = node.reason in ("", "Draining", "Cordoned", "Certified")
    return not repeats or (bool(node.message) and not node.certificate)


def _notable(vms: Sequence[VmStatus]) -> Sequence[VmStatus]:
    """Those that are not simply as desired. What a plan row tells anyway is not repeated."""
    quiet = (Condition.READY, Condition.PROGRESSING)
    return [vm for vm in vms if vm.condition not in quiet]


def vm_lines(vms: Sequence[VmStatus]) -> list[Line]:
    if not vms:
        return []
    return [line(Span("VMs", "strong")), *table([_vm_cells(vm) for vm in vms], indent=2)]


def _vm_cells(vm: VmStatus) -> Sequence[Cell]:
    wish = vm.desired or "state not managed"
    seen = vm.observed or "unknown"
    return (
        f"vm/{vm.name}",
        Span(vm.condition, style_of(vm.condition)),
        f"{seen} on {vm.node}" if vm.node else seen,
        f"{wish} ({vm.manage})",
        _reasoned(vm.reason, vm.message),
    )


def exception_lines(exceptions: Sequence[ExceptionStatus]) -> list[Line]:
    if not exceptions:
        return []
    rows = table([_exception_cells(row) for row in exceptions], indent=2)
    return [line(Span("Exceptions", "strong")), *rows]


def freeze_text(row: ExceptionStatus) -> str:
    """`the freeze of vm/web1 (intent, drift) by alice, 30 min left: backup`"""
    left = f", {span(row.seconds_left)} left" if row.seconds_left is not None else ""
    by = f" by {row.owner}" if row.owner else ""
    return f"the freeze of {row.object} ({', '.join(row.scopes)}){by}{left}: {row.reason}"


def _exception_cells(row: ExceptionStatus) -> Sequence[Cell]:
    left = f"{span(row.seconds_left)} left" if row.seconds_left is not None else "no end"
    scopes = f"{row.kind} ({', '.join(row.scopes)})" if row.scopes else row.kind
    by = f"by {row.owner}" if row.owner else ""
    return (row.object, scopes, left, by, row.reason)


def unmanaged_lines(status: Status) -> list[Line]:
    """VMs of the pool that no file names, and how many templates and the like are left out."""
    cells = [
        (vm.name, vm.power, f"on {vm.node}" if vm.node else "", vm.uuid) for vm in status.unmanaged
    ]
    left_out = ", ".join(counted(n, kind, _plural(kind)) for kind, n in status.copies.items() if n)
    rows = [line(Span("Not managed", "strong")), *table(cells, indent=2)]
    rows += [] if cells else [line("  every VM of the pool has a file")]
    return rows + ([line(f"  left out: {left_out}")] if left_out else [])


def _plural(kind: str) -> str:
    return "copies" if kind == "copy" else f"{kind}s"


def revision_lines(status: Status) -> list[Line]:
    """Where revisions stand, and how well Subversion answers."""
    revision, source = status.revision, status.source
    stages = (
        ("head", revision.head, revision.author, revision.summary),
        ("target", revision.target, revision.target_author, revision.target_summary),
        ("staged", revision.staged, None, ""),
        ("converged", revision.converged, None, ""),
    )
    cells = [
        (stage, f"r{number}" if number is not None else "-", author or "", summary)
        for stage, number, author, summary in stages
    ]
    age = f"Subversion answered {span(source.age_s)} ago" if source.age_s is not None else ""
    rows = [line(Span("Revision", "strong"), f" {revision.state}"), *table(cells, indent=2)]
    return rows + ([line(f"  {age}")] if age and source.reachable else [])
