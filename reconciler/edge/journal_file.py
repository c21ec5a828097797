"""The journal on disk: `journal/NNNNNNNN.jsonl`, of which the file with the highest number counts.

A line is a `Record` as JSON, with the wall time `at` for whoever reads it and a checksum. Times need
no conversion: see `clock`. When the file has grown enough, the records that still matter are written
to a file with the next number and the older one is removed; a crash in between leaves both, and the
newer one holds everything.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from membership.edge.durable import sync_folder
from reconciler.edge import lines
from reconciler.edge.compaction import compacted
from reconciler.journal import JournalState, replay
from reconciler.records import Record

ROTATE_OVER = 16 * 1024 * 1024
"""Bytes beyond which a file of the journal is compacted, unless most of it still mattered last time."""

LIVE = 1000
"""Newest lines kept in memory for those who follow."""

_RECORDS: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)


class JournalFile:
    """The open journal. Only one may exist on a folder (`StateLock`).

    Raises DamagedFile where the file does not hold what was written. `torn` is the number of bytes of
    an unfinished line that were cut off, `state` what the records come to.
    """

    def __init__(
        self,
        folder: Path,
        wall: Callable[[], float] = time.time,
        rotate_over: int = ROTATE_OVER,
    ) -> None:
        folder.mkdir(mode=0o750, exist_ok=True)
        self._folder = folder
        self._wall = wall
        self._rotate_over = rotate_over
        self._number = _newest(folder)
        found = lines.read(self._path)
        self._file = lines.LineFile(self._path, found.size)
        records = [_decoded(self._path, row, n) for n, row in enumerate(found.payloads, start=1)]
        self._remove_older()
        self.torn = found.torn
        self.state: JournalState = replay(records)
        self.last_s = max((record.at_s for record in records), default=0.0)
        self._last_seq = self.state.last_seq
        self._limit = max(rotate_over, found.size)
        self._live: deque[tuple[int, bytes]] = deque(maxlen=LIVE)
        self._news = asyncio.Event()

    @property
    def _path(self) -> Path:
        return self._folder / f"{self._number:08}.jsonl"

    def append(self, records: Sequence[Record]) -> None:
        """Durable when it returns, in this order. An OSError ends the daemon (see `LineFile`)."""
        at = datetime.fromtimestamp(self._wall(), UTC).isoformat(timespec="milliseconds")
        rows = [(record.seq, _encoded(record, at)) for record in records]
        for seq, _ in rows:
            assert seq > self._last_seq, f"record {seq} after {self._last_seq}"
            self._last_seq = seq
        self._file.append(row for _, row in rows)
        self._live.extend(rows)
        self._news.set()
        self._news = asyncio.Event()
        if self._file.size > self._limit:
            self._rotate()

    def since(self, seq: int) -> Iterator[tuple[int, bytes]]:
        """Numbers and lines (JSON objects) of the records from `seq` on that are still there."""
        if self._live and self._live[0][0] <= seq:
            yield from [row for row in self._live if row[0] >= seq]
            return
        for payload in lines.read(self._path).payloads:
            number = msgspec.json.decode(payload, type=_Numbered).seq
            if number >= seq:
                yield number, payload

    async def follow(self, seq: int) -> AsyncIterator[bytes]:
        """Lines from `seq` on, for ever."""
        while True:
            news = self._news
            for number, payload in self.since(seq):
                yield payload
                seq = number + 1
            await news.wait()

    def close(self) -> None:
        self._file.close()

    def _rotate(self) -> None:
        rows = lines.read(self._path).payloads
        records = [_RECORDS.decode(row) for row in rows]
        kept = {record.seq for record in compacted(records)}
        self._file.close()
        self._number += 1
        fresh = [row for row, r in zip(rows, records, strict=True) if r.seq in kept]
        lines.replace(self._path, fresh)
        self._file = lines.LineFile(self._path, self._path.stat().st_size)
        self._limit = max(self._rotate_over, 2 * self._file.size)
        self._remove_older()

    def _remove_older(self) -> None:
        for path in self._folder.glob("*.jsonl*"):
            if path != self._path:
                path.unlink()
        sync_folder(self._folder)


class _Numbered(msgspec.Struct):
    seq: int


def stored(folder: Path) -> list[Record]:
    """The records of a journal that a daemon may have open: read, never repaired or changed.

    Raises DamagedFile, and OSError where the files may not be read.
    """
    path = folder / f"{_newest(folder):08}.jsonl"
    rows = lines.read(path).payloads
    return [_decoded(path, row, number) for number, row in enumerate(rows, start=1)]


def _newest(folder: Path) -> int:
    return max((int(path.stem) for path in folder.glob("[0-9]*.jsonl")), default=1)


def _encoded(record: Record, at: str) -> bytes:
    return msgspec.json.encode(record)[:-1] + b',"at":"%s"}' % at.encode()


def _decoded(path: Path, payload: bytes, number: int) -> Record:
    try:
        return _RECORDS.decode(payload)
    except msgspec.ValidationError as error:
        raise lines.DamagedFile(
            path, number, f"a record this version of cxm does not know: {error}"
        ) from error
