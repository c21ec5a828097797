"""The mark of a state directory: what tells this installation from any other of the same name."""

from __future__ import annotations

import secrets
from pathlib import Path

from membership.edge.durable import write_whole

_LENGTH = 16
_DIGITS = frozenset("0123456789abcdef")


def stored_mark(state_dir: Path) -> str:
    """The mark, made at the first start. Raises OSError.

    It goes into the pool with each term that is claimed: two nodes that were given one name, or a
    state directory that was copied before its first start, do not take each other's claim for theirs.
    """
    path = state_dir / "mark"
    try:
        mark = path.read_bytes().decode("ascii", "replace").strip()
    except FileNotFoundError:
        mark = ""
    if len(mark) == _LENGTH and set(mark) <= _DIGITS:
        return mark
    mark = secrets.token_hex(_LENGTH // 2)
    write_whole(path, f"{mark}\n".encode())
    return mark
