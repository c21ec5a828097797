"""The ledger as this node keeps it: `ledger.jsonl`, one fact a line.

On opening, and whenever most of its lines say what no longer counts, the file is written anew with the
facts that won, so it stays about as small as what it says.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from membership.clock import Now
from membership.ledger import Fact, Ledger, TermClaim, read, written
from reconciler.edge import lines

TERM_KEY = "term"

LEAST_LINES = 1000
MOST_PER_FACT = 4
"""A file of more lines than the first, and more than this many for each fact that counts, is rewritten."""


class LedgerFile:
    """The open ledger. `ledger` is the merge of everything appended. Raises DamagedFile."""

    def __init__(self, path: Path) -> None:
        self._path = path
        found = lines.read(path)
        facts = [_decoded(path, row, number) for number, row in enumerate(found.payloads, start=1)]
        self.torn = found.torn
        self.ledger = Ledger().merge(facts)
        self._lines = len(self.ledger.facts)
        if found.torn or self._lines != len(facts):
            self._rewrite()
            found = lines.read(path)
        self._file = lines.LineFile(path, found.size)

    def append(self, facts: Sequence[Fact]) -> None:
        """Durable when it returns. An OSError ends the daemon."""
        self._file.append(written(fact) for fact in facts)
        self.ledger = self.ledger.merge(facts)
        self._lines += len(facts)
        if self._lines > max(LEAST_LINES, MOST_PER_FACT * len(self.ledger.facts)):
            self._file.close()
            self._rewrite()
            self._lines = len(self.ledger.facts)
            self._file = lines.LineFile(self._path, self._path.stat().st_size)

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

    def _rewrite(self) -> None:
        lines.replace(self._path, [written(fact) for fact in self.ledger.facts.values()])


def stored(path: Path) -> Ledger:
    """The ledger that a daemon may have open: read, never changed. Raises DamagedFile, OSError."""
    rows = lines.read(path).payloads
    return Ledger().merge(_decoded(path, row, n) for n, row in enumerate(rows, start=1))


def _decoded(path: Path, payload: bytes, number: int) -> Fact:
    try:
        return read(payload)
    except msgspec.DecodeError as error:
        raise lines.DamagedFile(path, number, f"not a fact: {error}") from error
