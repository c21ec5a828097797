"""Heartbeats on the wire and on the disk: one frame, authenticated as a whole.

    magic (4) | version (1) | key id (4) | body (msgpack map) | HMAC-SHA-256 (32)

A frame that is short, long, altered, or signed by a key that is not ours is nothing. One of another
version is read by what it has in common with ours: keys that are not known are ignored, keys that are
missing have their defaults.
"""

from __future__ import annotations

import hashlib
import hmac
import zlib
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import field

from schema.model import Frozen

MAGIC = b"CXMH"
PROTOCOL = 1
LARGEST = 1400
"""Bytes of a datagram: what every network carries in one piece."""

DISK = 255
"""The channel of the shared disk; 0 is `net1`, 1 is `net2`, and so on."""

_HEAD = len(MAGIC) + 1 + 4
_TAG = 32


class Echo(Frozen, frozen=True, kw_only=True):
    """What the sender knows of the receiver: proof that it was written after the receiver had spoken."""

    generation: int
    nonce: bytes
    seq: int


class Ack(Frozen, frozen=True, kw_only=True):
    """The answer to the receiver's message `seq`, in which it asked, stood or led in `term`.

    `answer`: would (asked), yes (stood or led), no. `own` is the term of who answers.
    """

    term: int
    seq: int
    answer: str
    own: int


class Beat(Frozen, frozen=True, kw_only=True):
    """One heartbeat. `role` is "", asking, candidate or leader, in `term`.

    `ballot` is the highest term for which the sender ever stood; `epoch`, `revision` and `voters_term`
    are those of its voters; `lease_s` is the lease that it counts by (0: it does not say); `disk` is the
    shared disk that it works with; `resigned` is the term from which it has stepped down, for the sake of
    `successor`. Where the names in `sees` would not fit, `bits` has one bit for each member in the
    order of the roster, whose names have the checksum `among`.
    """

    cluster: str
    sender: str
    generation: int
    nonce: bytes
    seq: int
    channel: int
    echo: Echo | None = None
    sees: tuple[str, ...] = ()
    bits: bytes = b""
    among: int = 0
    term: int = 0
    role: str = ""
    ballot: int = 0
    epoch: int = 0
    revision: int = 0
    lease_s: float = 0.0
    ack: Ack | None = None
    notes: Mapping[str, str] = field(default_factory=dict)
    disk: str = ""
    leaving: bool = False
    resigned: int = 0
    successor: str = ""
    boot: str = ""
    voters_term: int = 0

    @property
    def rank(self) -> tuple[int, int]:
        """Of the voters by which the sender goes."""
        return (self.voters_term, self.epoch)


_BODY: msgspec.msgpack.Decoder[Beat] = msgspec.msgpack.Decoder(Beat)


def key_id(key: bytes) -> bytes:
    """By which a receiver finds the key, without learning anything of it."""
    return hashlib.sha256(b"cxm heartbeat key id 1" + key).digest()[:4]


def encode(beat: Beat, key: bytes, version: int = PROTOCOL, names: Sequence[str] = ()) -> bytes:
    """The frame. Where it would not fit into a datagram it says whom it sees in bits (`names` are those
    of the roster), and, where even that is too long, leaves out what `cxmd` tells."""
    frame = _framed(msgspec.msgpack.encode(beat), key, version)
    if len(frame) > LARGEST:
        beat = _shortened(beat, names)
        frame = _framed(msgspec.msgpack.encode(beat), key, version)
    if len(frame) > LARGEST:
        beat = msgspec.structs.replace(beat, notes={})
        frame = _framed(msgspec.msgpack.encode(beat), key, version)
    return frame


def _shortened(beat: Beat, names: Sequence[str]) -> Beat:
    seen = sum(1 << place for place, name in enumerate(names) if name in beat.sees)
    bits = seen.to_bytes(-(-len(names) // 8), "little")
    return msgspec.structs.replace(beat, sees=(), bits=bits, among=_checksum(names))


def named(beat: Beat, names: Sequence[str]) -> Beat:
    """The message with whom it sees by name. Of another roster than ours bits say nothing."""
    if not beat.bits or beat.among != _checksum(names):
        return beat
    seen = int.from_bytes(beat.bits, "little")
    sees = tuple(name for place, name in enumerate(names) if seen >> place & 1)
    return msgspec.structs.replace(beat, sees=sees, bits=b"", among=0)


def _checksum(names: Sequence[str]) -> int:
    return zlib.crc32("\n".join(names).encode())


def _framed(body: bytes, key: bytes, version: int) -> bytes:
    head = MAGIC + bytes([version]) + key_id(key) + body
    return head + hmac.digest(key, head, "sha256")


def decode(frame: bytes, keys: Sequence[bytes]) -> tuple[int, Beat] | None:
    """Version and content of a frame signed by any of `keys`; None for anything else."""
    if not _HEAD + _TAG < len(frame) <= LARGEST or not frame.startswith(MAGIC):
        return None
    head, tag = frame[:-_TAG], frame[-_TAG:]
    named = frame[len(MAGIC) + 1 : _HEAD]
    for key in keys:
        if key_id(key) == named and hmac.compare_digest(hmac.digest(key, head, "sha256"), tag):
            break
    else:
        return None
    try:
        return frame[len(MAGIC)], _BODY.decode(head[_HEAD:])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
