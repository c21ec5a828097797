"""Append-only files of JSON lines, each with its checksum: what the journal and the ledger rest on.

A line is a JSON object whose last member is `crc`, the CRC-32 (eight hexadecimal digits) of all bytes
of the line before it. What is appended at once is one thing: every line of it but the last has `and`
in place of `crc`, which says that more belongs to it. A line without end, or with bytes that were
never written (a crash leaves zeros), can only be the last one: nobody was told that it is durable, so
it is cut off, together with the lines before it whose `and` leads to it. Half of a step would be
worse than none: a call settled whose effect was not noted down is a change by somebody unknown.
Anything else that does not fit is damage, and damage is never guessed around.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from membership.edge.durable import sync_folder, write_all, write_whole
from schema.model import Frozen

_SEAL = b',"crc":"'
_SEAL_OF_MORE = b',"and":"'
_SEALED = len(_SEAL) + 8 + len(b'"}')


class DamagedFile(Exception):
    """A durable file does not hold what was written. A human must look at it."""

    def __init__(self, path: Path, line: int, message: str) -> None:
        super().__init__(
            f"{path}:{line}: {message}. Something other than cxm wrote to this file, or the disk lost "
            f"data; what the rest means is not guessed. Keep a copy, make sure that no task of cxm is "
            f"pending in the pool, then move the file away: cxm starts without that memory"
        )
        self.path = path
        self.line = line


class Read(Frozen, frozen=True, kw_only=True):
    """The payloads of a file, and how many bytes of it are good. `torn`: bytes after them."""

    payloads: tuple[bytes, ...] = ()
    size: int = 0
    torn: int = 0


def seal(payload: bytes, *, more: bool = False) -> bytes:
    """The line of a JSON object that has at least one member. `more`: the next line belongs to it."""
    body = payload[:-1]
    return b'%s%s%08x"}\n' % (body, _SEAL_OF_MORE if more else _SEAL, zlib.crc32(body))


def unseal(line: bytes) -> bytes | None:
    """The object of a line (without its line feed); None where the checksum does not fit."""
    body, mark = line[:-_SEALED], line[-_SEALED:]
    if not body or mark[: len(_SEAL)] not in (_SEAL, _SEAL_OF_MORE):
        return None
    return body + b"}" if mark[len(_SEAL) :] == b'%08x"}' % zlib.crc32(body) else None


def _says_more(line: bytes) -> bool:
    return line[-_SEALED - 1 :].startswith(_SEAL_OF_MORE)


def read(path: Path) -> Read:
    """Everything in the file; nothing where there is no file. Raises DamagedFile."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return Read()
    good: list[bytes] = []
    whole = size = end = 0
    lines = _split(content)
    for number, line in enumerate(lines, start=1):
        payload = unseal(line[:-1]) if line.endswith(b"\n") else None
        if payload is None:
            if number == len(lines) and (not line.endswith(b"\n") or b"\0" in line):
                break
            raise DamagedFile(path, number, "the checksum does not fit the line")
        good.append(payload)
        end += len(line)
        if not _says_more(line):
            whole, size = len(good), end
    return Read(payloads=tuple(good[:whole]), size=size, torn=len(content) - size)


def _split(content: bytes) -> list[bytes]:
    """Lines with their line feed; JSON never holds a raw one."""
    *whole, rest = content.split(b"\n")
    return [line + b"\n" for line in whole] + ([rest] if rest else [])


class LineFile:
    """A file opened for appending, its torn tail cut off."""

    def __init__(self, path: Path, size: int) -> None:
        new = not path.exists()
        self._path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        os.ftruncate(self._file, size)
        os.fsync(self._file)
        self.size = size
        if new:
            sync_folder(path.parent)

    def append(self, payloads: Iterable[bytes]) -> None:
        """All durable when it returns; after a crash all there, or none. After an OSError the file
        must not be used any more:

        what a failed fsync left behind is not known, and asking again would hide it.
        """
        *earlier, last = payloads
        data = b"".join(seal(payload, more=True) for payload in earlier) + seal(last)
        write_all(self._file, data)
        os.fdatasync(self._file)
        self.size += len(data)

    def close(self) -> None:
        os.close(self._file)


def replace(path: Path, payloads: Sequence[bytes]) -> None:
    """Write a file whole: it is there with all its lines, or not at all."""
    write_whole(path, b"".join(seal(payload) for payload in payloads))
