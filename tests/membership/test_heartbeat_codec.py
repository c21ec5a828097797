"""Heartbeats as bytes: what is not signed, whole and ours is nothing, and what was agreed on stays so."""

from __future__ import annotations

import hmac
from random import Random

import msgspec
import pytest
from msgspec.structs import asdict, replace

from membership.heartbeat import LARGEST, PROTOCOL, Ack, Beat, Echo, decode, encode, key_id, named

KEY = bytes(range(32))
OTHER = b"o" * 32
WHOLE = Beat(
    cluster="0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
    sender="xen1",
    generation=7,
    nonce=b"0123456789abcdef",
    seq=4711,
    channel=1,
    echo=Echo(generation=3, nonce=b"fedcba9876543210", seq=815),
    sees=("xen2", "xen3"),
    term=12,
    role="leader",
    ballot=12,
    epoch=4,
    revision=99,
    lease_s=5.0,
    ack=Ack(term=12, seq=814, answer="yes", own=12),
    notes={"ledger": "00ff", "staged": "100"},
    disk="d1",
    resigned=11,
    successor="xen2",
    boot="b1",
    voters_term=10,
)

GOLDEN = bytes.fromhex(
    "43584d4801e60bf042de0018a7636c7573746572d92430663165326433632d346235612d363937382d383739"
    "362d613562346333643265316630a673656e646572a478656e31aa67656e65726174696f6e07a56e6f6e6365"
    "c41030313233343536373839616263646566a3736571cd1267a76368616e6e656c01a46563686f83aa67656e"
    "65726174696f6e03a56e6f6e6365c41066656463626139383736353433323130a3736571cd032fa473656573"
    "92a478656e32a478656e33a462697473c400a5616d6f6e6700a47465726d0ca4726f6c65a66c6561646572a6"
    "62616c6c6f740ca565706f636804a87265766973696f6e63a76c656173655f73cb4014000000000000a36163"
    "6b84a47465726d0ca3736571cd032ea6616e73776572a3796573a36f776e0ca56e6f74657382a66c65646765"
    "72a430306666a6737461676564a3313030a46469736ba26431a76c656176696e67c2a872657369676e65640b"
    "a9737563636573736f72a478656e32a4626f6f74a26231ab766f746572735f7465726d0aea9f92cd19268f19"
    "10ce2d67df1351f48f93246d3a43c577eb1fd922a136d7dc"
)
"""`WHOLE` as it is written. Peers of a cluster are upgraded one after the other: bytes that change here
are a new version, or keys that the others ignore."""

WITHOUT_TERM = bytes.fromhex(
    "43584d4801e60bf042de0017a7636c7573746572d92430663165326433632d346235612d363937382d383739"
    "362d613562346333643265316630a673656e646572a478656e31aa67656e65726174696f6e07a56e6f6e6365"
    "c41030313233343536373839616263646566a3736571cd1267a76368616e6e656c01a46563686f83aa67656e"
    "65726174696f6e03a56e6f6e6365c41066656463626139383736353433323130a3736571cd032fa473656573"
    "92a478656e32a478656e33a462697473c400a5616d6f6e6700a47465726d0ca4726f6c65a66c6561646572a6"
    "62616c6c6f740ca565706f636804a87265766973696f6e63a76c656173655f73cb4014000000000000a36163"
    "6b84a47465726d0ca3736571cd032ea6616e73776572a3796573a36f776e0ca56e6f74657382a66c65646765"
    "72a430306666a6737461676564a3313030a46469736ba26431a76c656176696e67c2a872657369676e65640b"
    "a9737563636573736f72a478656e32a4626f6f74a262310c86b380d79ea99b35e2d6d1a29f4f179a487c27f1"
    "79a52d5f8f4f6f6e73ee07"
)
"""As it was written before voters had a term."""


def seen_by(members: int) -> tuple[list[str], Beat]:
    """A message of a node with a long name that sees so many others."""
    names = [f"hypervisor-{number:03}.example.net" for number in range(members)]
    return names, replace(WHOLE, sender=names[0], sees=tuple(names[1:]))


def test_what_was_written_is_written_and_read_alike() -> None:
    assert encode(WHOLE, KEY) == GOLDEN
    assert decode(GOLDEN, [KEY]) == (1, WHOLE)


def test_voters_without_a_term_are_those_of_the_founding() -> None:
    assert decode(WITHOUT_TERM, [KEY]) == (1, replace(WHOLE, voters_term=0))
    assert replace(WHOLE, voters_term=0).rank < WHOLE.rank


def test_what_a_later_version_says_is_read_by_what_both_know() -> None:
    said = {**asdict(WHOLE), "colour": "green", "more": {"a": [1, 2]}}
    said["echo"], said["ack"] = asdict(WHOLE.echo), asdict(WHOLE.ack)  # type: ignore[arg-type]
    del said["boot"]
    frame = _signed(msgspec.msgpack.encode(said), version=PROTOCOL + 1)
    assert decode(frame, [KEY]) == (PROTOCOL + 1, replace(WHOLE, boot=""))


def test_any_key_verifies_and_no_other() -> None:
    frame = encode(WHOLE, KEY)
    assert decode(frame, [OTHER, KEY]) == (PROTOCOL, WHOLE)
    assert decode(frame, [OTHER]) is None
    assert decode(frame, []) is None


def test_a_key_that_only_looks_alike_does_not_verify() -> None:
    """The id finds the key; the tag alone decides."""
    forged = bytearray(encode(WHOLE, OTHER))
    forged[5:9] = key_id(KEY)
    assert decode(bytes(forged), [KEY]) is None


def test_every_bit_counts() -> None:
    frame = encode(WHOLE, KEY)
    for place in range(len(frame) * 8):
        altered = bytearray(frame)
        altered[place // 8] ^= 1 << place % 8
        assert decode(bytes(altered), [KEY]) is None, f"bit {place}"


def test_a_part_of_it_or_more_than_it_is_nothing() -> None:
    frame = encode(WHOLE, KEY)
    assert [size for size in range(len(frame)) if decode(frame[:size], [KEY]) is not None] == []
    assert decode(frame + b"\0", [KEY]) is None
    assert decode(frame + frame, [KEY]) is None


@pytest.mark.parametrize("seed", range(4))
def test_rubbish_is_nothing_even_where_it_is_signed(seed: int) -> None:
    """A bug of a peer that has the key must not end this one."""
    chance = Random(seed)
    body = msgspec.msgpack.encode(WHOLE)
    for _ in range(2000):
        cut = chance.randrange(len(body))
        torn = body[:cut] + chance.randbytes(chance.randrange(40)) + body[cut + 3 :]
        found = decode(_signed(torn), [KEY])
        assert found is None or isinstance(found[1], Beat)
        assert decode(chance.randbytes(chance.randrange(1500)), [KEY]) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc0",
        b"\x80",
        msgspec.msgpack.encode([1, 2]),
        msgspec.msgpack.encode({"cluster": 1}),
        msgspec.msgpack.encode({"sender": b"\xff" * 8}),
        b"\x91" * 1200,
        b"\xdd\xff\xff\xff\xff",
        msgspec.msgpack.encode(replace(WHOLE, notes={"x": "y" * LARGEST})),
    ],
)
def test_what_is_signed_and_no_heartbeat_is_nothing(body: bytes) -> None:
    assert decode(_signed(body), [KEY]) is None


@pytest.mark.parametrize("members", [2, 16, 40, 64])
def test_it_fits_into_a_datagram_and_says_whom_it_sees(members: int) -> None:
    names, beat = seen_by(members)
    frame = encode(beat, KEY, names=names)
    assert len(frame) <= LARGEST
    found = decode(frame, [KEY])
    assert found is not None
    assert named(found[1], names) == beat


def test_with_too_much_to_tell_it_leaves_out_what_cxmd_tells_and_nothing_else() -> None:
    names, beat = seen_by(64)
    found = decode(encode(replace(beat, notes={"x": "y" * 1400}), KEY, names=names), [KEY])
    assert found is not None
    assert named(found[1], names) == replace(beat, notes={})


def test_bits_of_another_roster_say_nothing() -> None:
    names, beat = seen_by(64)
    found = decode(encode(beat, KEY, names=names), [KEY])
    assert found is not None
    assert named(found[1], names[1:]).sees == ()


def _signed(body: bytes, version: int = PROTOCOL) -> bytes:
    """A frame with a valid tag around any body: written out here, so that both sides cannot err alike."""
    head = b"CXMH" + bytes([version]) + key_id(KEY) + body
    return head + hmac.new(KEY, head, "sha256").digest()
