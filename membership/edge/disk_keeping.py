"""Making a heartbeat disk, and looking at one. Nothing here is for the daemon."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from membership import slots
from membership.edge import device
from membership.edge.slot_file import SIZE, SlotFile, TooSmall
from membership.heartbeat import Beat
from membership.slots import BLOCK, SLOTS, Header
from schema.model import Frozen

LIVES_WITHIN_S = 3.0
"""Twice the longest sensible interval and more: who writes at all writes within it."""

_BEFORE, _AFTER = 9, 32
"""Bytes of a frame before its body (magic, version, key id) and after it (the tag)."""


class Refused(Exception):
    """It is not formatted. The text says what is there; `hint` what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class Slot(Frozen, frozen=True, kw_only=True):
    """A slot that is not empty. `changed`: somebody wrote it while we looked. `verified`: its tag is
    one of the keys that were given; `beat` is None where the content makes no sense."""

    number: int
    changed: bool
    verified: bool
    beat: Beat | None


class Shown(Frozen, frozen=True, kw_only=True):
    """`header` is None on a disk that is not formatted."""

    header: Header | None
    slots: tuple[Slot, ...]
    direct: bool


def make(path: Path, cluster_id: str, *, force: bool) -> Header:
    """Format the file or device. A file that is not there is made. Raises Refused, OSError.

    `force` overwrites data; what is in use, or alive, is refused in any case.
    """
    if not path.exists():
        _create(path)
    else:
        _may_overwrite(path, force=force)
    header = Header(cluster_id=cluster_id, disk_id=os.urandom(16).hex())
    disk = SlotFile(path, writing=True)
    try:
        # The header goes first and comes last: half a formatting is no formatting.
        for block in range(1 + SLOTS):
            disk.write(block, bytes(BLOCK))
        disk.write(0, slots.pack_header(header))
    finally:
        disk.close()
    return header


def show(path: Path, keys: Sequence[bytes], watched_s: float) -> Shown:
    """What is on the disk, looked at twice. Raises OSError; TooSmall where there is no room for it."""
    disk = SlotFile(path, writing=False)
    try:
        first = disk.read(SLOTS)
        time.sleep(watched_s)
        second = disk.read(SLOTS)
        direct = disk.direct
    finally:
        disk.close()
    found = [
        _slot(number, before, after, keys)
        for number, (before, after) in enumerate(zip(first[1:], second[1:], strict=True))
        if after.strip(b"\0")
    ]
    return Shown(header=slots.unpack_header(second[0]), slots=tuple(found), direct=direct)


def _slot(number: int, before: bytes, after: bytes, keys: Sequence[bytes]) -> Slot:
    known = slots.read(after, keys)
    return Slot(
        number=number,
        changed=before != after,
        verified=known is not None,
        beat=known if known is not None else _unverified(after),
    )


def _unverified(slot: bytes) -> Beat | None:
    """What a slot says, whoever wrote it: for people to read, never to act on."""
    frame = slots.unpack(slot) or b""
    try:
        return msgspec.msgpack.decode(frame[_BEFORE:-_AFTER], type=Beat)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _create(path: Path) -> None:
    if path.is_relative_to("/dev"):
        raise Refused(f"{path} is not there", "attach the device first")
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o660)
    try:
        os.posix_fallocate(file, 0, SIZE)
        os.fsync(file)
    finally:
        os.close(file)


def _may_overwrite(path: Path, *, force: bool) -> None:
    used = device.uses(path)
    if used:
        raise Refused(f"{path} is {', '.join(used)}", "give a device that nothing else uses")
    living = _living(path)
    if living:
        listed = ", ".join(map(str, living))
        raise Refused(
            f"{path} is alive: somebody writes slot {listed}",
            "stop cxm-heartbeatd on every peer that uses it",
        )
    found = device.contents(path)
    if found and not force:
        raise Refused(f"{path} holds {found}", "--force overwrites it")
    if stat.S_ISREG(path.stat().st_mode) and path.stat().st_size < SIZE:
        os.truncate(path, SIZE)


def _living(path: Path) -> list[int]:
    try:
        shown = show(path, (), LIVES_WITHIN_S)
    except TooSmall:
        return []
    return [slot.number for slot in shown.slots if slot.changed]
