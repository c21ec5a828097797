"""What objects of the tree must keep between them. Errors are given by file and path of keys.

Every check is one pass over what the entries carry already, with no reading of text, so that the
whole costs some tens of milliseconds for 20,000 files, whichever of them changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from schema import fields
from schema.dialect import Path
from schema.entries import Claim, Entry, Key, bare_name, named
from schema.merging import Plain
from schema.suggest import listed, nearest

# (file, path of keys, code, message, hint); the path leads to the value that is blamed.
Fault = tuple[str, Path, str, str, str]
ROOT = "cluster.yaml"


def cluster_file(entries: Sequence[Entry]) -> Iterator[Fault]:
    """There is exactly one Cluster, and it stands at the root of the tree."""
    clusters = [entry.path for entry in entries if entry.kind == "Cluster"]
    if ROOT not in (entry.path for entry in entries):
        hint = f"move {clusters[0]} there" if clusters else "it says kind: Cluster, name, id, mode"
        yield ROOT, (), "V027", "there is no cluster.yaml at the root of the tree", hint
        return
    for entry in entries:
        if entry.path == ROOT and entry.kind not in ("Cluster", None):
            yield ROOT, ("kind",), "V027", "cluster.yaml is for the Cluster", "move this object"
        if entry.path != ROOT and entry.kind == "Cluster":
            message = "a second Cluster; the tree has one, in cluster.yaml at its root"
            yield entry.path, ("kind",), "V027", message, "remove it"


def names(entries: Sequence[Entry]) -> Iterator[Fault]:
    """No two objects of a kind share a name."""
    first: dict[Key, str] = {}
    for entry in entries:
        if entry.kind is None or entry.name is None or entry.kind == "Cluster":
            continue
        earlier = first.setdefault((entry.kind, entry.name), entry.path)
        if earlier != entry.path:
            message = f'name: another {entry.kind} has the name "{entry.name}": {earlier}'
            yield entry.path, ("name",), "V022", message, "names are unique within a kind"


_CLAIMS: Mapping[tuple[str, str], str] = {
    ("match", "uuid"): "VM",
    ("match", "name"): "VM of the pool",
    ("host", "uuid"): "server",
    ("host", "address"): "address",
    ("heartbeat", "addresses"): "address",
}


def identities(entries: Sequence[Entry]) -> Iterator[Fault]:
    """No two files claim the same VM, the same server or the same address of one."""
    first: dict[Claim, str] = {}
    for entry in entries:
        for claim in entry.claims:
            earlier = first.setdefault(claim, entry.path)
            if earlier != entry.path:
                group, key, _ = claim
                message = f"{key}: {earlier} claims the same {_CLAIMS[group, key]}"
                yield entry.path, (group, key), "V023", message, "one file for each; remove one"


def networks(entries: Sequence[Entry]) -> Iterator[Fault]:
    """Every peer that has addresses has as many as the others: they are paired by their position."""
    heard = {
        entry.path: len(addresses)
        for entry in entries
        if entry.kind == "Node" and entry.value is not None
        if (addresses := entry.value.get("heartbeat", {}).get("addresses"))
    }
    if len(set(heard.values())) <= 1:
        return
    # The most frequent number; of two that are as frequent the greater: an address was forgotten.
    usual = max(heard.values(), key=lambda number: (list(heard.values()).count(number), number))
    other = next(path for path, number in heard.items() if number == usual)
    for path, number in heard.items():
        if number != usual:
            message = f"addresses: {number} given, where {other} has {usual}"
            hint = "one for each network, for all peers, in the same order and in one commit"
            yield path, ("heartbeat", "addresses"), "V035", message, hint


def references(entries: Sequence[Entry], known: frozenset[Key]) -> Iterator[Fault]:
    """Whatever is named is in the tree."""
    for entry in entries:
        if entry.refers <= known or entry.value is None or entry.kind is None:
            continue
        yield from _dangling(entry.path, entry.kind, entry.value, known)


def _dangling(path: str, kind: str, value: Plain, known: frozenset[Key]) -> Iterator[Fault]:
    for wanted, spot, text in named(kind, value):
        name = bare_name(text)
        if (wanted, name) in known:
            continue
        choices = [other for other_kind, other in known if other_kind == wanted]
        near = nearest(name, choices)
        message = f'{_field(spot)}: there is no {wanted} "{name}"'
        if near:
            message += f'; did you mean "{text.removesuffix(name)}{near}"?'
        yield path, spot, "V024", message, "" if near else _offer(wanted, choices)


def _offer(kind: str, choices: Iterable[str]) -> str:
    there = listed(sorted(choices), 8)
    return f"there are {there}" if there else f"the tree has no {kind} at all"


def _field(spot: Path) -> str:
    """The key that the blamed value is of: for one of a list the list's, for a key the map's."""
    if spot[-1] == fields.KEYS:
        return str(spot[-3])
    return next(str(step) for step in reversed(spot) if isinstance(step, str))


def previous_names(entries: Sequence[Entry], known: frozenset[Key]) -> Iterator[Fault]:
    """A name that an object gave up belongs to nobody else, now or before."""
    claimed: dict[Key, str] = {}
    for entry in entries:
        if entry.value is None or entry.kind is None or "previousNames" not in entry.value:
            continue
        for index, name in enumerate(entry.value["previousNames"]):
            key, spot = (entry.kind, name), ("previousNames", index)
            earlier = claimed.setdefault(key, entry.path)
            if key in known:
                message = f'previousNames: "{name}" is the name of a {entry.kind} of the tree'
                yield entry.path, spot, "V032", message, "an object in use has not been renamed"
            elif earlier != entry.path:
                message = f'previousNames: {earlier} claims "{name}" too'
                yield entry.path, spot, "V032", message, "only one object can have had the name"


def waits(entries: Sequence[Entry]) -> dict[str, tuple[str, ...]]:
    """For each VM that waits for others to be started: these, by name."""
    return {entry.name: entry.waits for entry in entries if entry.waits and entry.name}


def circles(after: Mapping[str, tuple[str, ...]], paths: Mapping[Key, str]) -> Iterator[Fault]:
    """No VM waits, over whatever others, for itself. `after` is what `waits` gives."""
    for circle in _circles(after):
        first, second = circle[0], circle[1 % len(circle)]
        message = "start.after: " + " -> ".join(f"vm/{name}" for name in (*circle, first))
        spot = ("start", "after", after[first].index(second))
        yield paths["VM", first], spot, "V025", message, "none of them could ever start; break it"


def _circles(after: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, ...]]:
    """Circles of a graph, each as its way round, from its least name; those met, not all."""
    done: set[str] = set()
    for origin in after:
        trail: dict[str, Iterator[str]] = {}
        stack = [origin] if origin not in done else []
        while stack:
            name = stack[-1]
            following = next(trail.setdefault(name, iter(after.get(name, ()))), None)
            if following is None:
                done.add(name)
                trail.pop(name)
                stack.pop()
            elif following in trail:
                way = stack[stack.index(following) :]
                least = way.index(min(way))
                yield (*way[least:], *way[:least])
            elif following not in done and following in after:
                stack.append(following)


def scopes(entries: Sequence[Entry]) -> Iterator[Fault]:
    """A rule's scope is `node`, or a label that some Node has."""
    rules = [e for e in entries if e.kind == "PlacementRule" and e.value is not None]
    if not rules:
        return
    nodes = [e.value for e in entries if e.kind == "Node" and e.value is not None]
    there = {label for node in nodes for label in node.get("labels", ())} | {"node"}
    for entry in rules:
        scope = (entry.value or {}).get("scope", "node")
        if scope not in there:
            near = nearest(scope, there)
            meant = f'; did you mean "{near}"?' if near else ""
            message = f'scope: no Node has a label "{scope}"{meant}'
            hint = "" if near else f"there are {listed(sorted(there))}"
            yield entry.path, ("scope",), "V024", message, hint


def windowless(entries: Sequence[Entry]) -> Iterator[Fault]:
    """Warns where `restart: window` is written although no window would ever open.

    `window` is also the default: a tree that says nothing about restarts is not warned about.
    """
    if any(
        e.kind == "MaintenanceWindow" and (e.value or {}).get("type") != "deny" for e in entries
    ):
        return
    hint = "the change waits for ever; define a MaintenanceWindow, or write restart: now"
    for entry in entries:
        if entry.value is None:
            continue
        if entry.kind in ("VM", "Profile") and entry.value.get("restart") == "window":
            message = "restart: window, but the tree has no window that allows"
            yield entry.path, ("restart",), "V801", message, hint
        defaults = entry.value.get("defaults", {}).get("vm", {}) if entry.path == ROOT else {}
        if defaults.get("restart") == "window":
            message = "restart: window, but the tree has no window that allows"
            yield entry.path, ("defaults", "vm", "restart"), "V801", message, hint
