"""The daemon's records as people select them: by object, by cause, from a moment on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from cli.envelope import failure
from cli.render.events import minor, object_of
from reconciler.actions import Cause
from reconciler.records import Answered, Intended, Record, Settled

_DECODER = msgspec.json.Decoder(Record)


def decoded(rows: Iterable[bytes]) -> Iterator[Record]:
    """`at_s` of a record that was read is wall time (epoch seconds)."""
    for row in rows:
        try:
            yield _DECODER.decode(row)
        except msgspec.DecodeError as error:
            message = f"an event of the daemon is not understood: {error}"
            hint = "is cxmd of the same version as cxm? (restart it after an upgrade)"
            raise failure("error", "Protocol", message, hint) from None


class Filter:
    """Lets records through. It remembers what each call was begun for: its end has the same cause."""

    def __init__(
        self,
        objects: frozenset[str] | None,
        cause: Cause | None,
        since_epoch_s: float | None,
        *,
        everything: bool,
    ) -> None:
        self._objects, self._cause = objects, cause
        self._since_epoch_s, self._everything = since_epoch_s, everything
        self._begun: dict[str, Intended] = {}

    def wants(self, record: Record) -> bool:
        """`objects` None: all of them, and what is about the cluster."""
        entry = record.entry
        if isinstance(entry, Intended):
            self._begun[entry.txn] = entry
        begun = self._begun.get(entry.txn) if isinstance(entry, Answered | Settled) else None
        if isinstance(entry, Settled):
            self._begun.pop(entry.txn, None)
        if minor(entry) and not self._everything:
            return False
        if self._since_epoch_s is not None and record.at_s < self._since_epoch_s:
            return False
        intent = entry if isinstance(entry, Intended) else begun
        if self._cause is not None and (intent is None or intent.action.cause is not self._cause):
            return False
        about = intent.action.object if intent is not None else object_of(entry)
        return self._objects is None or about in self._objects
