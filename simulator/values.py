"""Values as they cross the simulated API, and its two ways to refuse a call."""

import datetime
from collections.abc import Mapping, Sequence
from typing import TypeAlias

Value: TypeAlias = "str | int | float | bool | Sequence[Value] | Mapping[str, Value]"
"""What a call takes and answers: really lists and dicts, declared as what may only be read.

Void is ``""``; a reference is a plain string.
"""

Record: TypeAlias = dict[str, Value]

NULL = "OpaqueRef:NULL"
"""The null reference."""


class DateTime(str):
    """A moment in its wire form ``20260822T10:15:30Z`` (UTC, whole seconds)."""

    __slots__ = ()

    @classmethod
    def at(cls, epoch: float) -> "DateTime":
        """The wire form of ``epoch`` seconds since 1970."""
        moment = datetime.datetime.fromtimestamp(int(epoch), datetime.UTC)
        return cls(moment.strftime("%Y%m%dT%H:%M:%SZ"))

    @property
    def epoch(self) -> float:
        """Seconds since 1970; the trailing Z may be missing, as older servers leave it out."""
        text = self.removesuffix("Z") + "+0000"
        return datetime.datetime.strptime(text, "%Y%m%dT%H:%M:%S%z").timestamp()


NEVER = DateTime("19700101T00:00:00Z")
"""How the API spells a moment that has not come."""


class ApiError(Exception):
    """A failure that the API reports: ``ErrorDescription`` is the code and its parameters."""

    def __init__(self, code: str, *params: str) -> None:
        super().__init__(code, *params)
        self.code = code
        self.params = params

    @property
    def description(self) -> list[str]:
        """The code and its parameters in one list, as the wire and task.error_info want it."""
        return [self.code, *self.params]


class InEmergency(ApiError):
    """The answer to every call outside the emergency list, by a host in emergency mode."""


class Unreachable(Exception):
    """The host gives no answer at all: it is off, or its toolstack is down or went down mid-call."""


def handle_invalid(cls: str, ref: str) -> ApiError:
    """The error for a reference that names no object of the class."""
    return ApiError("HANDLE_INVALID", cls, ref)


def as_text(value: Value) -> str:
    """``value`` where the data model promises a string; anything else is a defect of ours."""
    assert isinstance(value, str), value
    return value


def as_number(value: Value) -> int:
    """``value`` where the data model promises an int."""
    assert type(value) is int, value
    return value


def as_list(value: Value) -> list[str]:
    """``value`` where the data model promises a set of strings, enums or references."""
    assert isinstance(value, list), value
    return [as_text(item) for item in value]


def as_map(value: Value) -> dict[str, str]:
    """``value`` where the data model promises a map of strings to strings."""
    assert isinstance(value, dict), value
    return {key: as_text(item) for key, item in value.items()}
