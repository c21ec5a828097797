"""The ledger as this node keeps it: `ledger.jsonl`, one fact a line.

On opening, the facts are merged and the file is written anew with those that won, so it stays as
small as what it says.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from membership.clock import Now
from membership.ledger import Fact, Ledger, TermClaim
from reconciler.edge import lines

TERM_KEY = "term"

_FACTS: msgspec.json.Decoder[Fact] = msgspec.json.Decoder(Fact)


class LedgerFile:
    """The open ledger. `ledger` is the merge of everything appended. Raises DamagedFile."""

    def __init__(self, path: Path) -> None:
        found = lines.read(path)
        facts = [_decoded(path, row, number) for number, row in enumerate(found.payloads, start=1)]
        self.torn = found.torn
        self.ledger = Ledger().merge(facts)
        rows = [msgspec.json.encode(fact) for fact in self.ledger.facts.values()]
        if found.torn or len(rows) != len(facts):
            lines.replace(path, rows)
            found = lines.read(path)
        self._file = lines.LineFile(path, found.size)

    def append(self, facts: Sequence[Fact]) -> None:
        """Durable when it returns. An OSError ends the daemon."""
        self._file.append(msgspec.json.encode(fact) for fact in facts)
        self.ledger = self.ledger.merge(facts)

    def claim(self, node: str, now: Now) -> int:
        """Begin a new term, one above every term known here, before anything is done in it."""
        term = self.ledger.term + 1
        claim = Fact(
            key=TERM_KEY,
            term=term,
            seq=self.ledger.next_seq,
            at_epoch_s=now.epoch_s,
            value=TermClaim(node=node),
        )
        self.append([claim])
        return term

    def close(self) -> None:
        self._file.close()


def stored(path: Path) -> Ledger:
    """The ledger that a daemon may have open: read, never changed. Raises DamagedFile, OSError."""
    rows = lines.read(path).payloads
    return Ledger().merge(_decoded(path, row, n) for n, row in enumerate(rows, start=1))


def _decoded(path: Path, payload: bytes, number: int) -> Fact:
    try:
        return _FACTS.decode(payload)
    except msgspec.ValidationError as error:
        raise lines.DamagedFile(
            path, number, f"a fact this version of cxm does not know: {error}"
        ) from error
