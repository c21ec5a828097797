"""What lies in the state directory for the heartbeats: the roster, the memory."""

from __future__ import annotations

import zlib
from pathlib import Path

import msgspec

from membership.edge.durable import write_whole
from membership.edge.starting import EX_DATAERR, CannotStart
from membership.events import Memory
from membership.roster import Roster
from schema.model import Frozen

ROSTER, MEMORY = "membership.json", "heartbeat.json"


class Unusable(Exception):
    """A roster that cannot be used. The text says which file and why."""


class Watched:
    """A file of which only others decide when it changes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, ...] | None = None

    def changed(self) -> bool:
        """Whether there is a file, and another one than at the last call."""
        try:
            found = self.path.stat()
        except OSError:
            return False
        now = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        before, self._seen = self._seen, now
        return now != before


def read_roster(path: Path, node: str, cluster_id: str) -> Roster:
    """The roster that `cxmd` compiled. Raises Unusable where it is not one of this very node."""
    try:
        roster = msgspec.json.decode(path.read_bytes(), type=Roster)
    except OSError as error:
        raise Unusable(f"{path}: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise Unusable(f"{path}: {error}; cxmd writes it anew when it starts") from None
    if roster.cluster_id != cluster_id:
        raise Unusable(f"{path}: of cluster {roster.cluster_id}; node.yaml says {cluster_id}")
    if roster.me != node or roster.member(node) is None:
        raise Unusable(f"{path}: of node {roster.me}; node.yaml says {node}")
    return roster


class _Sealed(Frozen, frozen=True, kw_only=True):
    """`crc`: CRC-32 of the bytes of `memory`, eight hexadecimal digits."""

    memory: msgspec.Raw
    crc: str


class MemoryFile:
    """The durable memory: written whole, there as it was or as it is, never in between."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / MEMORY

    def begin(self) -> Memory:
        """The memory of this start: one generation more, and durable. Raises CannotStart, OSError."""
        before = self._read()
        memory = (
            Memory(generation=1)
            if before is None
            else msgspec.structs.replace(before, generation=before.generation + 1)
        )
        self.store(memory)
        return memory

    def store(self, memory: Memory) -> None:
        """Durable when it returns. Raises OSError; what is on the disk then is not known."""
        raw = msgspec.json.encode(memory)
        sealed = _Sealed(memory=msgspec.Raw(raw), crc=f"{zlib.crc32(raw):08x}")
        write_whole(self._path, msgspec.json.encode(sealed) + b"\n")

    def _read(self) -> Memory | None:
        """None where there never was one. A damaged one is never guessed around: who votes twice in
        a term makes two leaders."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            sealed = msgspec.json.decode(content, type=_Sealed)
            whole = sealed.crc == f"{zlib.crc32(sealed.memory):08x}"
            memory = msgspec.json.decode(sealed.memory, type=Memory) if whole else None
        except msgspec.DecodeError:
            memory = None
        if memory is None:
            raise CannotStart(
                EX_DATAERR,
                f"{self._path}: not what was written there: the disk lost data, or something other "
                "than cxm wrote to it. For whom this node voted is not guessed. Keep a copy, make "
                "sure that another peer leads (cxm leader), then move the file away",
            )
        return memory
