"""SEL: which objects a command means.

`all`, `vm/web1`, `node/xen2`, `vm/*`, a bare name that only one object has, `label=value`; several
of them with commas. What stands for nothing is an error that names what is near.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from cli.envelope import failure
from schema.model import Desired
from schema.suggest import nearest

ALL = "all"
Objects = Mapping[str, Mapping[str, str]]
"""Name for people (`vm/web1`) -> its labels."""


def objects_of(desired: Desired) -> Objects:
    """The nodes and VMs of a tree."""
    nodes = {f"node/{name}": node.labels for name, node in desired.nodes.items()}
    return {**nodes, **{f"vm/{name}": vm.labels for name, vm in desired.vms.items()}}


def selected(text: str, objects: Objects) -> tuple[str, ...]:
    """The objects that `text` stands for, sorted; all of them for `all`. Raises Failure (exit 1)."""
    chosen: set[str] = set()
    for word in filter(None, (part.strip() for part in text.split(","))):
        chosen.update(_matches(word, objects))
    if not chosen:
        raise failure("error", "NoSuchObject", "no object is named", f"write {ALL} for all of them")
    return tuple(sorted(chosen))


def whole(text: str) -> bool:
    """True where `text` stands for everything, whatever there is."""
    return ALL in (part.strip() for part in text.split(","))


def _matches(word: str, objects: Objects) -> Iterable[str]:
    if word == ALL:
        return objects
    if "=" in word:
        key, _, value = word.partition("=")
        found = [name for name, labels in objects.items() if labels.get(key) == value]
    elif "/" in word:
        found = [name for name in objects if fnmatchcase(name, word)]
    else:
        found = _bare(word, objects)
    if not found:
        raise failure("error", "NoSuchObject", *_unknown(word, objects))
    return found


def _bare(word: str, objects: Objects) -> list[str]:
    found = [name for name in objects if fnmatchcase(name.partition("/")[2], word)]
    if len(found) > 1 and "*" not in word:
        names = " and ".join(sorted(found))
        raise failure("error", "Ambiguous", f'"{word}" may mean {names}', "write which of them")
    return found


def _unknown(word: str, objects: Objects) -> tuple[str, str]:
    if "=" in word:
        labels = {f"{k}={v}" for found in objects.values() for k, v in found.items()}
        near = nearest(word, labels)
        return f'no object has the label "{word}"', f"there is {near}" if near else ""
    bare = {name.partition("/")[2]: name for name in objects}
    near = nearest(word, objects) or bare.get(nearest(word.partition("/")[2] or word, bare) or "")
    return f'there is no "{word}"', f"did you mean {near}?" if near else ""
