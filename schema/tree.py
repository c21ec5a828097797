"""The whole tree: files in, `Desired` or every error out.

Reading is incremental. What was learned of each file is kept in a `Cache`, a value that is returned
and can be passed in again: only changed files are then read, and an unchanged object stays the same
object, so that whoever compares two `Desired` can compare by identity first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import chain
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

from msgspec import field

from schema import crosscheck, dialect, fencecheck, layers, model, rules
from schema.crosscheck import ROOT, Fault
from schema.dialect import NOWHERE, Document
from schema.entries import Entry, Key, digest_line, enter
from schema.errors import ConfigError, arranged
from schema.fields import KINDS
from schema.layers import Layer
from schema.merging import Plain
from schema.model import Desired, Frozen
from schema.normal import normal
from schema.provenance import Provenance


class Built(Frozen, frozen=True, kw_only=True, eq=False):
    """An object as it came out of its file and the layers below; good while these are the same."""

    entry: Entry
    below: tuple[Layer, ...]
    thing: model.Identified
    faults: tuple[Fault, ...]


class Cache(Frozen, frozen=True, kw_only=True, eq=False):
    """What one reading leaves for the next. It is replaced, never changed.

    All but `straight` is keyed by file.
    """

    entries: Mapping[str, Entry] = field(default_factory=dict)
    layers: Mapping[str, Layer] = field(default_factory=dict)
    built: Mapping[str, Built] = field(default_factory=dict)
    # Who waits for whom at start, as far as that was found to have no circle: the one check between
    # files that costs more than a look at each.
    straight: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Loaded(Frozen, frozen=True, kw_only=True, eq=False):
    """What a tree came to. `desired` is None exactly where there are errors.

    `digest` is the SHA-256, in hexadecimal, of one line for every file, sorted by path:
    the SHA-256 of its content, two spaces, its path, a line feed (what `sha256sum` prints).
    """

    desired: Desired | None
    errors: tuple[ConfigError, ...]
    warnings: tuple[ConfigError, ...]
    provenance: Provenance
    cache: Cache
    digest: str


def is_read(path: str) -> bool:
    """Whether a file of the tree is cxm's to read. Others may lie there, and are left alone.

    `.yml` counts, and is then refused: a VM in it would otherwise silently be unmanaged.
    """
    pure = PurePosixPath(path)
    return (
        pure.suffix.lower() in (".yaml", ".yml") and not path.startswith(".") and "/." not in path
    )


def load(files: Mapping[str, bytes], cache: Cache | None = None) -> Loaded:
    """Reads a tree: `files` maps each path, relative to the root, to the file's content.

    Never raises for bad input. `cache` is that of an earlier `Loaded`, of any tree.
    """
    before = cache or Cache()
    entries, lines = _entries(files, before.entries)
    here = list(entries.values())
    shared = layers.shared(here, before.layers)
    paths = _paths(here)
    built = _built(here, shared, paths, before.built)
    waits = crosscheck.waits(here)
    circles = [] if waits == before.straight else list(crosscheck.circles(waits, paths))
    contradictions = chain(*(item.faults for item in built.values() if item.faults))
    faults = list(chain(_between(here, paths), circles, contradictions))
    warned = list(crosscheck.windowless(here))
    errors = arranged(chain(*(e.errors for e in here if e.errors), _located(faults, entries)))
    return Loaded(
        desired=None if errors else _desired(built.values()),
        errors=errors,
        warnings=arranged(_located(warned, entries)),
        provenance=Provenance(entries=entries, layers=shared, paths=paths),
        cache=Cache(entries=entries, layers=shared, built=built, straight={} if circles else waits),
        digest=sha256(b"".join(lines)).hexdigest(),
    )


def digest(files: Mapping[str, bytes]) -> str:
    """The tree's digest alone, as in `Loaded`."""
    return sha256(b"".join(digest_line(path, files[path]) for path in sorted(files))).hexdigest()


def _entries(
    files: Mapping[str, bytes], before: Mapping[str, Entry]
) -> tuple[dict[str, Entry], list[bytes]]:
    """The files that are read, and for every file its line of the digest; both sorted by path."""
    entries: dict[str, Entry] = {}
    lines: list[bytes] = []
    for path in sorted(files):
        content = files[path]
        entry = before.get(path)
        if entry is None or entry.content != content:
            if not is_read(path):
                lines.append(digest_line(path, content))
                continue
            entry = enter(path, content)
        entries[path] = entry
        lines.append(entry.line)
    return entries, lines


def _paths(entries: Iterable[Entry]) -> dict[Key, str]:
    """The file of each object; the first one where a name is used twice."""
    paths: dict[Key, str] = {}
    for entry in entries:
        if entry.path == ROOT:
            paths["Cluster", ""] = ROOT
        elif entry.kind and entry.name:
            paths.setdefault((entry.kind, entry.name), entry.path)
    return paths


def _built(
    entries: Iterable[Entry],
    shared: Mapping[str, Layer],
    paths: Mapping[Key, str],
    before: Mapping[str, Built],
) -> dict[str, Built]:
    profiles = {name: path for (kind, name), path in paths.items() if kind == "Profile"}
    built: dict[str, Built] = {}
    for entry in entries:
        if entry.value is None:
            continue
        below = layers.below(entry.value, shared, profiles) if entry.kind == "VM" else ()
        old = before.get(entry.path)
        if old is not None and old.entry is entry and old.below == below:
            built[entry.path] = old
        else:
            built[entry.path] = _build(entry, entry.value, below)
    return built


def _build(entry: Entry, value: Plain, below: tuple[Layer, ...]) -> Built:
    assert entry.kind is not None
    plain = layers.whole(value, below)
    faults = layers.contradictions(entry, plain, below) if entry.kind == "VM" else ()
    thing = normal(entry.kind, plain)
    return Built(entry=entry, below=below, thing=thing, faults=tuple(faults))


def _between(entries: Sequence[Entry], paths: Mapping[Key, str]) -> Iterator[Fault]:
    known = frozenset(paths)
    # A file that does not say what it is may be what others refer to: no second error for that.
    untold = [PurePosixPath(e.path).stem for e in entries if e.kind is None or e.name is None]
    yield from crosscheck.cluster_file(entries)
    yield from crosscheck.names(entries)
    yield from crosscheck.identities(entries)
    yield from crosscheck.networks(entries)
    yield from crosscheck.references(
        entries, known.union((kind, stem) for stem in untold for kind in KINDS)
    )
    yield from crosscheck.previous_names(entries, known)
    yield from crosscheck.scopes(entries)
    yield from fencecheck.ways(entries)


def _located(faults: Iterable[Fault], entries: Mapping[str, Entry]) -> Iterator[ConfigError]:
    documents: dict[str, Document] = {}
    for path, where, code, message, hint in faults:
        if path not in documents:
            content = entries[path].content if path in entries else b""
            found = dialect.read(path, content).document
            documents[path] = found or NOWHERE
        yield rules.located(path, documents[path], where, code, message, hint)


def _desired(built: Iterable[Built]) -> Desired:
    by_kind: dict[type[model.Identified], dict[str, Any]] = {}
    for item in built:
        by_kind.setdefault(type(item.thing), {})[item.thing.name] = item.thing
    cluster: model.Cluster = next(iter(by_kind[model.Cluster].values()))

    def named(structure: type[model.Identified]) -> Mapping[str, Any]:
        return MappingProxyType(dict(sorted(by_kind.get(structure, {}).items())))

    return Desired(
        cluster=cluster,
        nodes=named(model.Node),
        vms=named(model.VM),
        profiles=named(model.Profile),
        rules=named(model.PlacementRule),
        devices=named(model.FenceDevice),
        policies=named(model.FencingPolicy),
        windows=named(model.MaintenanceWindow),
    )
