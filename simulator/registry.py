"""Which function carries out which method of the API."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from simulator.values import Value

Handler: TypeAlias = "Callable[..., Awaitable[Value | None]]"
"""Takes the call and its coerced arguments; None is void."""

H = TypeVar("H", bound=Handler)


@dataclass(frozen=True, slots=True)
class Operation:
    """``tracked``: a task shows it even when called synchronously. ``changes``: it is logged."""

    handler: Handler
    tracked: bool
    changes: bool


OPERATIONS: dict[str, Operation] = {}


def operation(*methods: str, tracked: bool = False, changes: bool = True) -> Callable[[H], H]:
    """Declare a function as the one that carries out these methods."""

    def declare(handler: H) -> H:
        for method in methods:
            OPERATIONS[method] = Operation(handler, tracked, changes)
        return handler

    return declare


def look(*methods: str) -> Callable[[H], H]:
    """As ``operation``, for methods that only look."""
    return operation(*methods, changes=False)
