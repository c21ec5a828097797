"""The shared disk: a header, then one slot of 4 KiB for each peer, each written by that peer alone."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

from membership.heartbeat import Beat, decode
from schema.model import Frozen

BLOCK = 4096
SLOTS = 64

_MAGIC = b"CXMDISK1"
_LENGTH = struct.Struct(">I")
_HEADER = struct.Struct(">8s36s32sI")


class Header(Frozen, frozen=True, kw_only=True):
    """What the disk says of itself. `disk_id` is made anew by each formatting."""

    cluster_id: str
    disk_id: str
    slots: int = SLOTS


def pack_header(header: Header) -> bytes:
    """Block 0 of the disk."""
    body = _HEADER.pack(_MAGIC, header.cluster_id.encode(), header.disk_id.encode(), header.slots)
    return (body + _LENGTH.pack(zlib.crc32(body))).ljust(BLOCK, b"\0")


def unpack_header(block: bytes) -> Header | None:
    """None where the block is no header of ours, or was damaged."""
    body, end = block[: _HEADER.size], block[_HEADER.size : _HEADER.size + _LENGTH.size]
    if len(end) < _LENGTH.size or _LENGTH.unpack(end)[0] != zlib.crc32(body):
        return None
    magic, cluster, disk, slots = _HEADER.unpack(body)
    if magic != _MAGIC or not 0 < slots <= SLOTS:
        return None
    return Header(
        cluster_id=cluster.rstrip(b"\0").decode("ascii", "replace"),
        disk_id=disk.rstrip(b"\0").decode("ascii", "replace"),
        slots=slots,
    )


def pack(frame: bytes) -> bytes:
    """A frame as a slot."""
    return (_LENGTH.pack(len(frame)) + frame).ljust(BLOCK, b"\0")


def unpack(slot: bytes) -> bytes | None:
    """The frame in a slot; b"" where none was ever written, None where it makes no sense."""
    if not slot.strip(b"\0"):
        return b""
    if len(slot) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack_from(slot)
    frame = slot[_LENGTH.size : _LENGTH.size + length]
    return frame if 0 < length == len(frame) else None


def read(slot: bytes, keys: Sequence[bytes]) -> Beat | None:
    """What a peer wrote; None where that is not to be known."""
    frame = unpack(slot)
    found = decode(frame, keys) if frame else None
    return found[1] if found is not None else None
