"""What simulated objects usually have in their records, from ``data/records.json``."""

import json
from copy import deepcopy
from functools import cache
from importlib import resources
from typing import Any


@cache
def _all() -> dict[str, Any]:
    text = resources.files("simulator").joinpath("data/records.json").read_text("utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def usual(kind: str) -> Any:
    """The usual fields, or values, of a kind of object; the caller's own copy."""
    return deepcopy(_all()[kind])
