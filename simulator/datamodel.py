"""The API's classes as data: fields, methods, enums, read from ``data/classes.json``."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from simulator.values import NEVER, NULL, Record, Value


@dataclass(frozen=True, slots=True)
class Type:
    """A type of the API. ``kind`` is set, map, ref, record, enum, or the name of a plain type.

    ``name`` is the class of a ref or record and the name of an enum; ``inner`` is the element of
    a set and the value of a map (keys are strings on every wire), ``key`` the key of a map.
    """

    kind: str
    name: str = ""
    inner: "Type | None" = None
    key: "Type | None" = None


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a class. ``default`` is what a new object has unless it says otherwise."""

    name: str
    type: Type
    qualifier: str
    default: Value
    has_default: bool

    @property
    def writable(self) -> bool:
        """Whether it has generated setters."""
        return self.qualifier == "RW"

    @property
    def constructed(self) -> bool:
        """Whether ``create`` takes it."""
        return self.qualifier != "RO/runtime"


@dataclass(frozen=True, slots=True)
class Message:
    """One method. ``params`` leaves the session out, ``required`` counts those that must be there."""

    cls: str
    name: str
    params: tuple[tuple[str, Type], ...]
    required: int
    takes_session: bool
    asynchronous: bool

    @property
    def full_name(self) -> str:
        """``class.method``."""
        return f"{self.cls}.{self.name}"


@dataclass(frozen=True, slots=True)
class ClassModel:
    """One class: its fields and methods in the order in which they are published."""

    name: str
    fields: Mapping[str, Field]
    messages: Mapping[str, Message]

    def fresh(self) -> Record:
        """A record with every field at its default."""
        return {field.name: field.default for field in self.fields.values()}


@dataclass(frozen=True, slots=True)
class DataModel:
    """Everything that is declared. ``lower`` finds a class by its name in lower case."""

    classes: Mapping[str, ClassModel]
    enums: Mapping[str, tuple[str, ...]]
    errors: frozenset[str]
    message_priorities: Mapping[str, int]
    lower: Mapping[str, str]

    def message(self, full_name: str) -> Message | None:
        """The method of that name, or None if no class has it."""
        cls, _, name = full_name.partition(".")
        model = self.classes.get(cls)
        return model.messages.get(name) if model else None

    def method_names(self) -> list[str]:
        """What system.listMethods answers; a real server lists no ``Async.`` names there."""
        return [
            message.full_name
            for model in self.classes.values()
            for message in model.messages.values()
        ]


@cache
def data_model() -> DataModel:
    """The declarations, read once."""
    text = resources.files("simulator").joinpath("data/classes.json").read_text("utf-8")
    raw = json.loads(text)
    classes = {name: _class(name, entry) for name, entry in raw["classes"].items()}
    enums = {
        enum: tuple(values)
        for entry in raw["classes"].values()
        for enum, values in entry["enums"].items()
    }
    return DataModel(
        classes=classes,
        enums=enums,
        errors=frozenset(raw["errors"]),
        message_priorities=raw["message_priorities"],
        lower={name.lower(): name for name in classes},
    )


def _class(name: str, entry: dict[str, Any]) -> ClassModel:
    messages = {m: _message(name, m, raw) for m, raw in entry["messages"].items()}
    # Served by every server for every class in the database, though the published list omits them;
    # messages are kept elsewhere.
    if "get_all" in messages and name != "message":
        for query in ("get_all_where", "get_all_records_where"):
            raw = ["", [["session_id", "session ref", True], ["expr", "string", True]], False]
            messages.setdefault(query, _message(name, query, raw))
    fields = {f: _field(f, raw) for f, raw in entry["fields"].items()}
    return ClassModel(name, fields, messages)


def _field(name: str, raw: list[Any]) -> Field:
    kind = parse_type(raw[0])
    default = _value(kind, raw[-1]) if raw[2:] else default_of(kind)
    return Field(name, kind, raw[1], default, has_default=bool(raw[2:]))


def _value(kind: Type, raw: Any) -> Value:
    value: Value = NEVER if kind.kind == "datetime" else raw
    return NULL if kind.kind == "ref" else value


def _message(cls: str, name: str, raw: list[Any]) -> Message:
    params = raw[1]
    takes_session = bool(params) and params[0][0] == "session_id"
    rest = params[1:] if takes_session else params
    return Message(
        cls=cls,
        name=name,
        params=tuple((param[0], parse_type(param[1])) for param in rest),
        required=sum(1 for param in rest if param[2]),
        takes_session=takes_session,
        asynchronous=raw[2],
    )


@cache
def parse_type(text: str) -> Type:
    """The type that the published notation means, for instance ``(string -> VM ref set) map``."""
    if text.endswith(" set"):
        return Type("set", inner=parse_type(text.removesuffix(" set")))
    if text.endswith(" map"):
        key, _, value = text.removesuffix(") map").removeprefix("(").partition(" -> ")
        return Type("map", inner=parse_type(value), key=parse_type(key))
    for kind in ("ref", "record"):
        if text.endswith(f" {kind}"):
            return Type(kind, name=text.removesuffix(f" {kind}"))
    if text.startswith("enum "):
        return Type("enum", name=text.removeprefix("enum "))
    return Type(text)


_DEFAULTS: Mapping[str, Value] = {
    "set": [],
    "map": {},
    "ref": NULL,
    "int": 0,
    "bool": False,
    "float": 0.0,
    "datetime": NEVER,
}


def default_of(kind: Type) -> Value:
    """The empty value of a type: nothing, zero, never, or the null reference."""
    return _DEFAULTS.get(kind.kind, "")
