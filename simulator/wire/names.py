"""The second name that a real server has for each of its methods.

``event.from`` cannot be written in Python, where ``from`` is a keyword; so every method may also
be called with underscores, as ``event_from`` and ``Async_VM_start``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from simulator.datamodel import data_model

_ASYNC = "Async_"


def dotted(method: str) -> str:
    """The ordinary name of a method; unchanged if it is that already, or nobody's."""
    if "." in method:
        return method
    prefix = "Async." if method.startswith(_ASYNC) else ""
    found = _underscored().get(method.removeprefix(_ASYNC))
    return f"{prefix}{found}" if found else method


@cache
def _underscored() -> Mapping[str, str]:
    return {name.replace(".", "_", 1): name for name in data_model().method_names()}
