"""An agent's own description of itself: which options it has, and of what type.

The text comes from a program of the system, and is read as if it did not: bounded, no document
type, no entities.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from xml.parsers import expat

from msgspec.structs import replace

from schema.model import Frozen

LONGEST = 256 * 1024
"""Bytes of metadata; the longest of all agents' is 11 KiB."""


class MetadataError(ValueError):
    """The text is no description of a fence agent. Says what is wrong with it."""


_TYPES: Mapping[str, tuple[re.Pattern[str], str]] = MappingProxyType(
    {
        "integer": (re.compile(r"-?[0-9]{1,18}"), "a whole number"),
        "second": (re.compile(r"[0-9]{1,9}"), "a number of seconds"),
        "boolean": (re.compile(r"1|0|yes|no|on|off|true|false", re.IGNORECASE), "0 or 1"),
    }
)

_NO = ("0", "no", "off", "false")


class Parameter(Frozen, frozen=True, kw_only=True):
    """One option. `name_now` is what replaces a deprecated one; empty where nothing does."""

    name: str
    type: str = "string"
    required: bool = False
    default: str | None = None
    deprecated: bool = False
    name_now: str = ""
    choices: tuple[str, ...] = ()

    def accepts(self, value: str) -> bool:
        if self.choices:
            return value in self.choices
        pattern, _ = _TYPES.get(self.type, (None, ""))
        return pattern is None or pattern.fullmatch(value) is not None

    def denies(self, value: str) -> bool:
        """Whether this is a flag, and `value` a no."""
        return self.type == "boolean" and value.lower() in _NO

    @property
    def on_by_default(self) -> bool:
        return self.type == "boolean" and self.default is not None and not self.denies(self.default)

    @property
    def wanted(self) -> str:
        """What would be accepted, for people."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        return _TYPES[self.type][1] if self.type in _TYPES else "text"


class Metadata(Frozen, frozen=True, kw_only=True):
    name: str
    parameters: Mapping[str, Parameter]
    actions: frozenset[str]


class _Draft:
    """What has been read so far."""

    def __init__(self) -> None:
        self.name: str | None = None
        self.parameters: dict[str, Parameter] = {}
        self.actions: set[str] = set()
        self.new_names: dict[str, str] = {}
        self._now = ""

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        if self.name is None:
            if tag != "resource-agent":
                raise MetadataError(f"it begins with <{tag}>, not with <resource-agent>")
            self.name = attributes.get("name", "")
        elif tag == "parameter":
            self._parameter(attributes)
        elif tag == "content" and self._now:
            self._change(type=attributes.get("type", "string"), default=attributes.get("default"))
        elif tag == "option" and self._now:
            choices = self.parameters[self._now].choices
            self._change(choices=(*choices, attributes.get("value", "")))
        elif tag == "action":
            self.actions.add(attributes.get("name", ""))

    def _parameter(self, attributes: Mapping[str, str]) -> None:
        self._now = attributes.get("name", "")
        self.parameters[self._now] = Parameter(
            name=self._now,
            required=attributes.get("required") == "1",
            deprecated=attributes.get("deprecated") == "1",
        )
        if "obsoletes" in attributes:
            self.new_names[attributes["obsoletes"]] = self._now

    def _change(self, **changes: object) -> None:
        self.parameters[self._now] = replace(self.parameters[self._now], **changes)

    def whole(self) -> Metadata:
        named = {
            name: replace(parameter, name_now=self.new_names.get(name, ""))
            for name, parameter in self.parameters.items()
        }
        return Metadata(
            name=self.name or "",
            parameters=MappingProxyType(dict(sorted(named.items()))),
            actions=frozenset(self.actions),
        )


def metadata(text: bytes) -> Metadata:
    """What the answer to `metadata` says. Raises MetadataError."""
    if len(text) > LONGEST:
        raise MetadataError(f"longer than {LONGEST} bytes")
    draft, parser = _Draft(), expat.ParserCreate()
    parser.StartElementHandler = draft.start
    parser.StartDoctypeDeclHandler = _no_document_type
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        raise MetadataError(f"no well-formed XML: {error}") from None
    return draft.whole()


def _no_document_type(*_: object) -> None:
    # Entities can be declared nowhere else.
    raise MetadataError("it has a document type, which no fence agent's has")
