"""Single fields of a YAML file, changed in its text: comments and everything else stay as they are.

Only keys that begin a line can be changed so, and lists be added to. What comes of it is read again:
a file whose form does not lend itself to this is refused, never spoilt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from cli.envelope import Failure, Finding, failure, fault_of
from schema import dialect

_BY_HAND = "change the file by hand"


def with_fields(path: str, text: str, changes: Mapping[str, str | None]) -> str:
    """`text` with these keys of its top level set to YAML values, None for taken away.

    Raises Failure: 3 where the file cannot be read, 1 where it cannot be changed in this way.
    """
    fresh = text
    for key, value in changes.items():
        fresh = _with_field(fresh, key, value)
    _kept_the_rest(path, text, fresh, changes)
    return fresh


def _with_field(text: str, key: str, value: str | None) -> str:
    """A key's lines reach to the next line that begins with anything but a blank."""
    written = "" if value is None else f"{key}: {value}\n"
    found = re.search(rf"^{re.escape(key)}[ ]*:.*(?:\n(?:[ \t-].*)?)*(?:\n|\Z)", text, re.MULTILINE)
    if found is None:
        between = "" if text.endswith("\n") or not text else "\n"
        return f"{text}{between}{written}"
    blank = re.search(r"\n\s*\Z", found[0])  # Blank lines after it are not its own.
    gap = blank[0][1:] if blank is not None else ""
    return f"{text[: found.start()]}{written}{gap}{text[found.end() :]}"


def with_uuid(path: str, text: str, old: str, new: str) -> str:
    """`text` with one uuid in the place of another. Raises Failure as above."""
    value = _value(path, text)
    host = value.get("host", {}) if isinstance(value, dict) else {}
    fresh = text.replace(old, new)
    if text.count(old) != 1 or not isinstance(host, dict) or host.get("uuid") != old:
        raise failure("error", "NotSpliced", f"{path}: {old} does not stand there once", _BY_HAND)
    return fresh


def with_item(path: str, text: str, where: Sequence[str], item: str) -> str:
    """`text` with `item`, a string, at the end of the list at `where`. Raises Failure as above."""
    before = _document(path, text)
    value = before.value
    for key in where:
        value = value.get(key) if isinstance(value, dict) else None
    if isinstance(value, list) and value:
        fresh = _appended(before, tuple(where), f'"{item}"')
        value.append(item)
        if fresh is not None and _document(path, fresh).value == before.value:
            return fresh
    name = ".".join(where)
    raise failure("error", "NotSpliced", f"{path}: {name} cannot be added to there", _BY_HAND)


def _appended(document: dialect.Document, where: tuple[str, ...], written: str) -> str | None:
    """In the form that the list has; None where that is another one than these two."""
    text = document.text
    starts = [0, *(found.end() for found in dialect.LINE_END.finditer(text))]
    last = max(place for place in document.places if place[:-1] == where)
    at, list_at = document.places[last].value, document.places[where].value
    end = starts[at.end_line - 1] + at.end_column - 1
    if text.startswith("[", starts[list_at.line - 1] + list_at.column - 1):
        return f"{text[:end]}, {written}{text[end:]}"
    bullet = text[starts[at.line - 1] : starts[at.line - 1] + at.column - 1]
    if not re.fullmatch(" *- +", bullet):
        return None
    ending = dialect.LINE_END.search(text, end)
    stop, feed = (ending.start(), ending[0]) if ending is not None else (len(text), "\n")
    return f"{text[:stop]}{feed}{bullet}{written}{text[stop:]}"


def _kept_the_rest(path: str, old: str, new: str, changes: Mapping[str, str | None]) -> None:
    before, after = _value(path, old), _value(path, new)
    rest = {key: value for key, value in before.items() if key not in changes}
    kept = {key: value for key, value in after.items() if key not in changes}
    gone = {key for key, value in changes.items() if value is None}
    if rest != kept or gone & after.keys():
        keys = ", ".join(changes)
        raise failure("error", "NotSpliced", f"{path}: {keys} cannot be changed there", _BY_HAND)


def _value(path: str, text: str) -> Any:
    return _document(path, text).value


def _document(path: str, text: str) -> dialect.Document:
    """A file that is keys and values. Raises Failure (3)."""
    reading = dialect.read(path, text.encode())
    if reading.document is None or reading.errors or not isinstance(reading.document.value, dict):
        faults = tuple(fault_of(error) for error in reading.errors)
        if not faults:
            raise failure("invalid", "NoMapping", f"{path}: not keys and values")
        raise Failure(Finding("invalid", errors=faults))
    return reading.document
