"""Which pool this node belongs to, and by what addresses it was reached: kept across restarts.

A daemon that starts while its pool is down could otherwise take a member that was ejected, and is now
master of a pool of its own, for the master it looks for. The addresses let it find the pool after the
configured members were replaced.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from reconciler.edge import lines
from schema.model import Frozen


class KnownPool(Frozen, frozen=True, kw_only=True):
    """The pool's uuid ("" before it was first observed) and its members' addresses."""

    uuid: str = ""
    addresses: tuple[str, ...] = ()


class KnownPoolFile:
    """`pool.jsonl` in the state directory. Raises DamagedFile on opening, OSError on writing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        payloads = lines.read(path).payloads
        self.known = msgspec.json.decode(payloads[-1], type=KnownPool) if payloads else KnownPool()

    def reached(self, configured: Sequence[str]) -> tuple[str, ...]:
        """The addresses to try: those of the settings first, then what was learnt."""
        return tuple(dict.fromkeys((*configured, *self.known.addresses)))

    def learn(self, uuid: str, addresses: Sequence[str]) -> None:
        """Remember what was seen; written only when it changed."""
        known = KnownPool(uuid=uuid, addresses=tuple(addresses))
        if known != self.known:
            lines.replace(self._path, [msgspec.json.encode(known)])
            self.known = known
