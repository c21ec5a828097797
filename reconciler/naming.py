"""Naming: how many of many are named to people."""

from __future__ import annotations

from collections.abc import Sequence

NAMED = 10
"""So many are named; of the others people hear how many there are."""


def listed(names: Sequence[str]) -> str:
    """`web1, web2 and 3 more`."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def counted(count: int, one: str) -> str:
    """`1 VM`, `2 VMs`."""
    return f"{count} {one}" if count == 1 else f"{count} {one}s"
