"""The YAML that cxm reads, turned into plain values with the place of each.

A subset of YAML 1.2: UTF-8, string keys, one document; no anchors, aliases, merge keys, tags or
directives. Only the event stream shows all of these (composing hides tags, directives and doubled
keys), so the values are built here from ruamel.yaml's events, and what is not in the dialect is
reported with its place while reading goes on. Only a syntax error or too deep a nest ends it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
)

from schema.errors import ConfigError
from schema.model import Frozen
from schema.scalars import Doubtful, resolve

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32

Value = Any  # str | int | float | bool | None | list[Value] | dict[str, Value]
Path = tuple[str | int, ...]

# What the reader below counts as the end of a line; a lone carriage return is one.
LINE_END = re.compile(r"\r\n|\r|\n")
# Controls, and the separators that some editors show as line ends although YAML 1.2 does not.
_CONTROL = re.compile(
    "[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)

# Only an escape can bring one in; no text that holds it can be written out again.
_SURROGATE = re.compile("[\ud800-\udfff]")

_DIRECTIVE = re.compile("^%\\S*", re.MULTILINE)
_CONFLICT = re.compile("^<{7} ", re.MULTILINE)


class Span(NamedTuple):
    """A stretch of text: lines and columns from 1, the end is exclusive."""

    line: int
    column: int
    end_line: int
    end_column: int

    @property
    def length(self) -> int:
        """Columns on the first line, at least 1; a stretch over several lines counts as 1."""
        return max(1, self.end_column - self.column) if self.line == self.end_line else 1


class Place(NamedTuple):
    """Where a value stands, and where its key does (None for items of a list and the whole)."""

    value: Span
    key: Span | None


START = Span(1, 1, 1, 2)
TOP = Place(START, None)


class Document(Frozen, frozen=True, kw_only=True):
    """One file: its text, its value, and the place of every value in it by the path of keys."""

    text: str
    value: Value
    places: Mapping[Path, Place]

    def nearest(self, path: Path) -> Place:
        """The place of `path`, or of the closest thing around it that is in the file."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, TOP)

    def spot(self, path: Path) -> Span:
        """What to underline for the value at `path`: itself, or its key where it is not a word."""
        value: Value = self.value
        for step in path if path in self.places else ():
            value = value[step]
        place = self.nearest(path)
        bulky = value is None or isinstance(value, dict | list) or path not in self.places
        return place.key if bulky and place.key else place.value

    def written(self, path: Path) -> str:
        """The value at `path` as it stands in the text, on its first line."""
        span = self.nearest(path).value
        line = LINE_END.split(self.text)[span.line - 1]
        return line[span.column - 1 : span.column - 1 + span.length]


NOWHERE = Document(text="", value=None, places={})


class Reading(Frozen, frozen=True, kw_only=True):
    """What came of reading one file. `document` is None where nothing could be made of it."""

    document: Document | None
    errors: tuple[ConfigError, ...] = ()


def read(path: str, content: bytes) -> Reading:
    """Reads one file of at most 256 KiB. Never raises for bad input: the errors are in the result."""
    reader = _Reader(path)
    try:
        text = _text(content)
        value = reader.value(text)
    except _Unreadable as stop:
        reader.note(stop.code, stop.span, stop.message, stop.hint)
        return Reading(document=None, errors=tuple(reader.errors))
    document = Document(text=text, value=value, places=reader.places)
    return Reading(document=document, errors=tuple(reader.errors))


class _Unreadable(Exception):
    """Nothing can be made of the file, or of what follows."""

    def __init__(self, code: str, span: Span, message: str, hint: str) -> None:
        super().__init__(message)
        self.code, self.span, self.message, self.hint = code, span, message, hint


def _text(content: bytes) -> str:
    if len(content) > MAX_BYTES:
        size = f"the file has {len(content)} bytes, at most {MAX_BYTES} are read"
        raise _Unreadable("V011", START, size, "write one object a file")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        span = _spot(content[: error.start].decode("utf-8"))
        message = f"byte 0x{content[error.start]:02x} is not UTF-8"
        raise _Unreadable("V002", span, message, "save the file as UTF-8") from None
    directive = _DIRECTIVE.search(text)
    if directive is not None:
        # Before ruamel.yaml sees it: %YAML 1.9 makes it fail an assertion of its own.
        span = _spot(text[: directive.start()])
        raise _Unreadable("V007", span, f"the directive {directive[0]}", "remove the line")
    bad = _CONTROL.search(text)
    if bad is None:
        return text
    if bad[0] == "\ufeff" and bad.start() == 0:
        message, hint = "the file begins with a byte order mark", "save it as UTF-8 without one"
    else:
        message = f"the character U+{ord(bad[0]):04X} may not stand in a file"
        hint = f'remove it, or write "\\u{ord(bad[0]):04x}" in double quotes'
    raise _Unreadable("V002", _spot(text[: bad.start()]), message, hint)


def _spot(before: str) -> Span:
    lines = LINE_END.split(before)
    line, column = len(lines), len(lines[-1]) + 1
    return Span(line, column, line, column + 1)


def _span(event: Any) -> Span:
    start, end = event.start_mark, event.end_mark
    # tuple.__new__: the constructor of a NamedTuple costs as much as the rest of this line, and
    # there are two spans for every value of every file.
    return tuple.__new__(Span, (start.line + 1, start.column + 1, end.line + 1, end.column + 1))


def _at(mark: Any) -> Span:
    return Span(mark.line + 1, mark.column + 1, mark.line + 1, mark.column + 2)


def _events(text: str) -> Iterator[Any]:
    """ruamel.yaml's events, with its failures made ours."""
    try:
        # A new YAML() for each file: parse() keeps a record of every document it has seen.
        yield from YAML(typ="safe", pure=True).parse(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = " ".join(filter(None, (error.problem, error.context and f"({error.context})")))
        hint = "look at this line and the one before it"
        if _CONFLICT.search(text):
            hint = "the file holds a conflict of Subversion: choose a side, then svn resolve"
        raise _Unreadable("V001", _at(mark) if mark else START, message, hint) from None
    except (YAMLError, ValueError):
        # The scanner trips over an escape beyond Unicode ("\U00110000") with a bare ValueError.
        raise _Unreadable("V001", START, "the file cannot be read as YAML", "") from None


class _Reader:
    """Builds the value of one document. It recurses, to a depth that is bounded."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.errors: list[ConfigError] = []
        self.places: dict[Path, Place] = {}

    def note(self, code: str, span: Span, message: str, hint: str) -> None:
        self.errors.append(
            ConfigError(
                path=self._path,
                line=span.line,
                column=span.column,
                code=code,
                message=message,
                hint=hint,
                length=span.length,
            )
        )

    def value(self, text: str) -> Value:
        self._events = _events(text)
        next(self._events)
        start = next(self._events)
        if isinstance(start, StreamEndEvent):
            raise _Unreadable("V011", START, "the file is empty", "write an object, or remove it")
        event = next(self._events)
        value = self._node(event, ())
        self.places[()] = Place(_span(event), None)
        next(self._events)
        after = next(self._events)
        if isinstance(after, DocumentStartEvent):
            hint = "put each object into a file of its own"
            self.note("V008", _span(after), "a second document begins here", hint)
        return value

    def _node(self, event: Any, path: Path) -> Value:
        if event.anchor is not None:
            self._anchored(event)
            if isinstance(event, AliasEvent):
                return ""
        if event.ctag is not None:
            self.note(
                "V006", _span(event), f"the tag {event.tag}", "remove it; write the plain value"
            )
        if isinstance(event, ScalarEvent):
            return self._scalar(event)
        if len(path) >= MAX_DEPTH:
            message = f"nested more than {MAX_DEPTH} deep"
            raise _Unreadable("V011", _at(event.start_mark), message, "")
        if isinstance(event, MappingStartEvent):
            return self._mapping(path)
        return self._sequence(path)

    def _anchored(self, event: Any) -> None:
        sign, word = ("*", "alias") if isinstance(event, AliasEvent) else ("&", "anchor")
        span = _span(event)
        span = span._replace(end_line=span.line, end_column=span.column + 1 + len(event.anchor))
        self.note("V005", span, f"the {word} {sign}{event.anchor}", "write the value itself")

    def _scalar(self, event: Any) -> Value:
        text: str = event.value
        if event.style is not None or not event.implicit[0]:
            if _SURROGATE.search(text):
                self.note(
                    "V002", _span(event), "half a surrogate pair", "write the character itself"
                )
            return text
        try:
            return resolve(text)
        except Doubtful as doubt:
            message = f"the bare value {text} {doubt}"
            self.note("V010", _span(event), message, f'write "{text}" if it is text')
            return text

    def _sequence(self, path: Path) -> list[Value]:
        items: list[Value] = []
        while not isinstance(event := next(self._events), SequenceEndEvent):
            inner = (*path, len(items))
            items.append(self._node(event, inner))
            self.places[inner] = Place(_span(event), None)
        return items

    def _mapping(self, path: Path) -> dict[str, Value]:
        values: dict[str, Value] = {}
        while not isinstance(event := next(self._events), MappingEndEvent):
            key, key_span = self._key(event, path), _span(event)
            event = next(self._events)
            if key is None or key in values:
                # Read all the same, for the errors in it, but under a path that no key can have.
                self._node(event, (*path, -1))
                if key is not None:
                    first = self.places[(*path, key)].key
                    line = first.line if first else 0
                    hint = f"the first one is in line {line}; keep one"
                    self.note("V004", key_span, f'the key "{key}" a second time', hint)
                continue
            inner = (*path, key)
            values[key] = self._node(event, inner)
            self.places[inner] = Place(_span(event), key_span)
        return values

    def _key(self, event: Any, path: Path) -> str | None:
        if not isinstance(event, ScalarEvent):
            self._node(event, (*path, -1))
            if not isinstance(event, AliasEvent):
                self.note("V009", _at(event.start_mark), "a key that is a list or a mapping", "")
            return None
        if event.value == "<<" and event.style is None:
            self.note(
                "V005",
                _span(event),
                "the merge key <<",
                "write the keys themselves, or use a Profile",
            )
            return None
        before = len(self.errors)
        key = self._node(event, (*path, -1))
        if isinstance(key, str):
            return key
        if len(self.errors) == before:
            written = event.value or "an empty key"
            self.note(
                "V009", _span(event), f"the key {written} is not text", f'write "{event.value}"'
            )
        return None
