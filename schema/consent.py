"""What a revision would do that is not undone by another revision, and whether its author says so.

A bad `sed` over 300 files must stop at the first few: what goes beyond `limits` of the Cluster is
done only with a trailer in the commit message that says what it does. Old and new tree suffice to
tell, so that the commit hook, which has neither network nor pool, decides as the daemon does.

Trailers: lines `Cxm-Accept: removals=vm/old1 restarts=12 uuid=vm/web1 survival=0 source-changed`,
items parted by commas or spaces; several lines add up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from schema.model import VM, Desired, Frozen, Limits, Restart, VmState
from schema.suggest import listed

TRAILER = "Cxm-Accept"
# More names than this are not written out in a trailer; their number is.
_NAMED = 8
_LINE = re.compile(rf"^{TRAILER}:(.*)$", re.IGNORECASE | re.MULTILINE)


_DOWN = (VmState.HALTED, VmState.SUSPENDED)


class Impact(Frozen, frozen=True, kw_only=True):
    """What a change from one tree to the next would do. Objects as `vm/NAME`, sorted.

    `removals`: VMs whose file is gone, unless renamed, or whose state became retired.
    `restarts`: VMs to run that are to be halted or suspended now, and VMs to run whose memory or
    number of processors changes, where `restart` permits.
    `uuids`: VMs whose file now means another VM. `source_changed`: another Cluster.id, or, where
    the caller knows it, another repository.
    """

    removals: tuple[str, ...] = ()
    restarts: tuple[str, ...] = ()
    uuids: tuple[str, ...] = ()
    source_changed: bool = False


class Missing(Frozen, frozen=True, kw_only=True):
    """Consent that is not there: the exact line to add to the message, and what it is about."""

    trailer_line: str
    reason: str


def changes(old: Desired | None, new: Desired, *, other_repository: bool = False) -> Impact:
    """The impact of going from `old` to `new`; without an `old` there is nothing to lose."""
    if old is None:
        return Impact(source_changed=other_repository)
    pairs = _pairs(old.vms, new.vms)
    kept = [(was, vm) for was, vm in pairs if vm is not None and was is not vm]
    return Impact(
        removals=_names(
            (was if vm is None else vm) for was, vm in pairs if was is not vm and _removed(was, vm)
        ),
        restarts=_names(vm for was, vm in kept if _restarted(was, vm)),
        uuids=_names(vm for was, vm in kept if was.match.uuid and was.match.uuid != vm.match.uuid),
        source_changed=other_repository or old.cluster.id != new.cluster.id,
    )


def _pairs(old: Mapping[str, VM], new: Mapping[str, VM]) -> list[tuple[VM, VM | None]]:
    """Each VM of before with what became of it: under its name, renamed, or None."""
    renamed = {past: vm for vm in new.values() for past in vm.previous_names}
    gone = [vm for name, vm in old.items() if name not in new and name not in renamed]
    by_uuid = {vm.match.uuid: vm for vm in new.values() if vm.match.uuid} if gone else {}
    return [
        (vm, new.get(name) or renamed.get(name) or by_uuid.get(vm.match.uuid or ""))
        for name, vm in old.items()
    ]


def _names(vms: Iterable[VM]) -> tuple[str, ...]:
    return tuple(sorted(f"vm/{vm.name}" for vm in vms))


def _removed(was: VM, vm: VM | None) -> bool:
    if was.state is VmState.RETIRED:
        return False
    return vm is None or vm.state is VmState.RETIRED


def _restarted(was: VM, vm: VM) -> bool:
    """Whether guests notice: a stop that nobody undoes weighs no less than one that is undone."""
    if was.state is VmState.RUNNING and vm.state in _DOWN:
        return True
    if vm.state is not VmState.RUNNING or vm.restart is Restart.NEVER:
        return False
    pairs = ((was.memory, vm.memory), (was.vcpus, vm.vcpus))
    return any(now is not None and before != now for before, now in pairs)


def missing_consent(impact: Impact, limits: Iterable[Limits], message: str) -> tuple[Missing, ...]:
    """What the commit message `message` would have to say and does not.

    `limits` are those of the old and of the new tree: the stricter hold, or the revision that is
    to be stopped could lift them. A consent counts only if it says what the change really does: the
    very objects, or their exact number.
    """
    given = trailers(message)
    strict = list(limits)
    bounds = (
        ("removals", impact.removals, min((x.removals_per_revision for x in strict), default=0)),
        ("restarts", impact.restarts, min((x.restarts_per_revision for x in strict), default=0)),
        ("uuid", impact.uuids, 0),
    )
    missing = [
        _missing(word, objects, bound)
        for word, objects, bound in bounds
        if len(objects) > bound and not _accepted(given.get(word, ()), objects)
    ]
    if impact.source_changed and "source-changed" not in given:
        reason = "makes the tree that of another cluster or repository"
        missing.append(Missing(trailer_line=f"{TRAILER}: source-changed", reason=reason))
    return tuple(missing)


def _accepted(given: Iterable[str], objects: tuple[str, ...]) -> bool:
    named = set(given)
    return str(len(objects)) in named or set(objects) <= named


_REASONS: Mapping[str, str] = {
    "removals": "removes or retires {n} ({names}); without consent at most {bound}",
    "restarts": "restarts {n} ({names}); without consent at most {bound}",
    "uuid": "gives {n} another uuid ({names}): another VM would be meant",
}


def _missing(word: str, objects: tuple[str, ...], bound: int) -> Missing:
    few = ",".join(objects) if len(objects) <= _NAMED else str(len(objects))
    number = f"{len(objects)} VM{'' if len(objects) == 1 else 's'}"
    reason = _REASONS[word].format(n=number, names=listed(objects, 4), bound=bound)
    written = str(len(objects)) if word == "restarts" else few
    return Missing(trailer_line=f"{TRAILER}: {word}={written}", reason=reason)


def trailers(message: str) -> dict[str, tuple[str, ...]]:
    """The consents in a commit message: word -> what follows `=`; a bare word has nothing."""
    found: dict[str, list[str]] = {}
    for line in _LINE.findall(message.replace("\r", "\n")):
        for word, value in _items(line):
            found.setdefault(word, []).extend(value)
    return {word: tuple(values) for word, values in found.items()}


def _items(line: str) -> Iterator[tuple[str, list[str]]]:
    word = ""
    for item in filter(None, re.split(r"[\s,]+", line)):
        name, equals, value = item.partition("=")
        if equals:
            word = name
            yield word, [value] if value else []
        elif word and ("/" in item or item.isdigit()):
            # `removals=vm/a, vm/b`: what has no word of its own goes on with the last one.
            yield word, [item]
        else:
            yield item, []
