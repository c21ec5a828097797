"""Compares an answer with a recorded one by shape: types, keys and their order, codes, positions.

Values that name the recorded pool (references, uuids, dates, sizes) are compared by kind. Values
that tell what happened (power states, task status, error codes and texts) are compared exactly.
"""

from __future__ import annotations

import re
import xmlrpc.client
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

NULL = "OpaqueRef:NULL"

# Told from one object's record, so compared only where both records are of the same object.
EXACT = frozenset(
    {"power_state", "status", "is_a_template", "is_control_domain", "live", "domain_type"}
)
# References whose being null or not says something about the object's state.
TELLING = frozenset({"resident_on", "suspend_VDI", "scheduled_to_be_resident_on"})
# Sets of words that are compared word by word; an empty place is system.listMethods.
WORDS = frozenset({"", "Value", "result", "allowed_operations"})
# Structs that are not records, by a key that gives them away.
_FIXED = frozenset({"uuid", "Status", "events", "operation", "jsonrpc", "error"})

_KINDS = (
    ("reference", re.compile(r"OpaqueRef:.+")),
    ("uuid", re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")),
    ("date", re.compile(r"\d{8}T\d\d:\d\d:\d\dZ")),
    ("address", re.compile(r"\d+\.\d+\.\d+\.\d+")),
    ("number", re.compile(r"-?\d+")),
    ("token", re.compile(r"\d{20},\d{20}")),
)
_REFERENCE = re.compile(r"OpaqueRef:[-0-9a-f]{36}")
# A text field may hold any of these by chance; only the first three are promises.
_PROMISED = frozenset({"reference", "date", "token"})


def kind(value: Any) -> str:
    """What a value is, seen from outside."""
    match value:
        case str():
            return next((name for name, form in _KINDS if form.fullmatch(value)), "text")
        case xmlrpc.client.DateTime():
            return "dateTime"
        case bool():
            return "boolean"
        case list():
            return "list"
        case dict():
            return "struct"
    return {int: "int", float: "double", type(None): "null"}[type(value)]


def differences(recorded: Any, ours: Any, place: str = "", same: bool = True) -> Iterator[str]:
    """Every way in which ``ours`` differs in shape; ``same`` if both tell of the same object."""
    one, other = kind(recorded), kind(ours)
    if isinstance(recorded, str) and isinstance(ours, str):
        yield from _text(recorded, ours, place, same)
    elif one != other:
        yield f"{place}: {one} recorded, {other} answered"
    elif isinstance(recorded, list):
        yield from _lists(recorded, ours, place, same)
    elif isinstance(recorded, dict):
        yield from _structs(recorded, ours, place, same)
    elif isinstance(recorded, bool) and same and _field(place) in EXACT | {"Value", "result"}:
        yield from _equal(recorded, ours, place)


def _field(place: str) -> str:
    return place.rpartition("/")[2]


def _equal(recorded: Any, ours: Any, place: str) -> Iterator[str]:
    if recorded != ours:
        yield f"{place}: {recorded!r} recorded, {ours!r} answered"


def _text(recorded: str, ours: str, place: str, same: bool) -> Iterator[str]:
    one, other = kind(recorded), kind(ours)
    lone = _field(place) in ("Value", "result") and one == "text"
    if same and (_field(place) in EXACT or lone):
        yield from _equal(_anonymous(recorded), _anonymous(ours), place)
    elif (one in _PROMISED or place.endswith("/uuid")) and one != other:
        yield f"{place}: {one} recorded, {ours!r} answered"
    elif same and _field(place) in TELLING and (recorded == NULL) != (ours == NULL):
        yield f"{place}: {recorded!r} recorded, {ours!r} answered"


def _anonymous(text: str) -> str:
    return _REFERENCE.sub("a reference", text)


def _lists(recorded: Sequence[Any], ours: Sequence[Any], place: str, same: bool) -> Iterator[str]:
    if _field(place) in ("ErrorDescription", "error", "data"):
        yield from _failure(recorded, ours, place)
    elif _field(place) == "events":
        yield from _events(recorded, ours, place)
    elif same and _field(place) in WORDS and recorded and kind(recorded[0]) in ("text", "number"):
        yield from _words(recorded, ours, place)
    elif recorded:
        for index, item in enumerate(ours):
            like = recorded[index] if index < len(recorded) else recorded[-1]
            yield from differences(like, item, f"{place}/{index}", same=False)


def _words(recorded: Sequence[str], ours: Sequence[str], place: str) -> Iterator[str]:
    """A set of words with a meaning, in whatever order. Of methods a simulator may lack some."""
    wanted, found = ({_anonymous(word) for word in words} for words in (recorded, ours))
    if found - wanted or (wanted - found and place):
        yield f"{place}: not recorded {sorted(found - wanted)}, missing {sorted(wanted - found)}"


def _failure(recorded: Sequence[str], ours: Sequence[str], place: str) -> Iterator[str]:
    """Code, number of parameters, and each parameter: equal, or of the same kind of name."""
    if len(recorded) != len(ours):
        yield f"{place}: {recorded} recorded, {ours} answered"
        return
    for one, other in zip(recorded, ours, strict=True):
        if kind(one) in ("reference", "uuid", "address") and one != NULL:
            fits = kind(one) == kind(other)
        elif one.startswith("trackid="):
            fits = other.startswith("trackid=")
        else:
            fits = one == other
        if not fits:
            yield f"{place}: {one!r} recorded, {other!r} answered"


def _events(recorded: Sequence[Any], ours: Sequence[Any], place: str) -> Iterator[str]:
    """Each event like a recorded one of its class; both empty or neither."""
    if bool(recorded) != bool(ours):
        yield f"{place}: {len(recorded)} events recorded, {len(ours)} answered"
    for index, event in enumerate(ours):
        # A new object that changed is one "add"; how much of that falls together is chance.
        alike = [
            one
            for one in recorded
            if one["class"] == event["class"] and ("snapshot" in one) == ("snapshot" in event)
        ]
        if ("snapshot" in event) == (event["operation"] == "del"):
            yield f"{place}/{index}: a snapshot belongs to every event but del"
        yield from _like_one_of(alike, event, f"{place}/{index}")


def _like_one_of(recorded: Sequence[Any], event: Any, place: str) -> Iterator[str]:
    """Like one of the events of the same object, or if there is none like any other one."""
    label = _label(event.get("snapshot"))
    same = [one for one in recorded if label and _label(one.get("snapshot")) == label]
    found = [list(differences(one, event, place, same=bool(same))) for one in same or recorded[:1]]
    yield from min(found, key=len, default=[])


def _label(record: Any) -> str:
    return record.get("name_label", "") if isinstance(record, dict) else ""


def _structs(
    recorded: Mapping[str, Any], ours: Mapping[str, Any], place: str, same: bool
) -> Iterator[str]:
    if _FIXED & recorded.keys() or _field(place) == "valid_ref_counts":
        if list(recorded) != list(ours):
            yield _keys(recorded, ours, place)
        # The recorded control domains are stand-ins that one could start and destroy.
        same = same and not recorded.get("is_control_domain", False)
        for key in recorded.keys() & ours.keys() - _of_another_moment(recorded, ours):
            yield from differences(recorded[key], ours[key], f"{place}/{key}", same)
    elif recorded and all(kind(key) == "reference" for key in recorded):
        yield from _records(recorded, ours, place)
    elif recorded and ours:
        like = next(iter(recorded.values()))
        for key, value in ours.items():
            yield from differences(recorded.get(key, like), value, f"{place}/{key}", same=False)


def _of_another_moment(recorded: Mapping[str, Any], ours: Mapping[str, Any]) -> set[str]:
    """What may be done differs while something is being done, and that may be seen or missed."""
    busy = [bool(record.get("current_operations")) for record in (recorded, ours)]
    return {"allowed_operations"} if busy[0] != busy[1] else set()


def _keys(recorded: Mapping[str, Any], ours: Mapping[str, Any], place: str) -> str:
    missing = [key for key in recorded if key not in ours]
    extra = [key for key in ours if key not in recorded]
    if missing or extra:
        return f"{place}: keys missing {missing}, not recorded {extra}"
    return f"{place}: keys in another order: {list(ours)}"


def _records(recorded: Mapping[str, Any], ours: Mapping[str, Any], place: str) -> Iterator[str]:
    """A map from references to records (or operations): ours must hold some, each as recorded."""
    first = next(iter(recorded.values()))
    if not ours and isinstance(first, dict):
        yield f"{place}: {len(recorded)} objects recorded, none answered"
    one, other = _by_label(recorded), _by_label(ours)
    for ref, record in ours.items():
        if kind(ref) != "reference":
            yield f"{place}: key {ref!r} is no reference"
        label = _label(record)
        same = label in one and label in other
        yield from differences(one[label] if same else first, record, f"{place}/{ref}", same)


def _by_label(records: Mapping[str, Any]) -> dict[str, Any]:
    """The records whose label is theirs alone; tasks of one kind share theirs."""
    labels = [_label(record) for record in records.values()]
    return {
        label: record
        for label, record in zip(labels, records.values(), strict=True)
        if label and labels.count(label) == 1
    }
