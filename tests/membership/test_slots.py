"""The shared disk as bytes: what is torn, empty, strange or another's is known to be no evidence."""

from __future__ import annotations

from random import Random

import pytest

from membership import slots
from membership.events import SlotsRead
from membership.heartbeat import DISK, Beat, encode
from membership.roster import Member, Roster, Timing, Voters
from membership.shared_disk import SharedDisk, own_slot
from membership.slots import BLOCK, Header

KEY = b"k" * 32
CLUSTER = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
HEADER = Header(cluster_id=CLUSTER, disk_id="ab" * 16)
NONCE = b"a" * 8


def beat(sender: str, seq: int = 5, ballot: int = 0, nonce: bytes = NONCE) -> Beat:
    return Beat(
        cluster=CLUSTER,
        sender=sender,
        generation=1,
        nonce=nonce,
        seq=seq,
        channel=DISK,
        ballot=ballot,
    )


def slot(beat: Beat, key: bytes = KEY) -> bytes:
    return slots.pack(encode(beat, key))


def roster(*names: str, voters: tuple[str, ...] = (), numbers: tuple[int, ...] = ()) -> Roster:
    places = numbers or tuple(range(len(names)))
    members = tuple(Member(name=n, slot=s) for n, s in zip(names, places, strict=True))
    return Roster(
        cluster_id=CLUSTER,
        me=names[0],
        members=members,
        voters=Voters(epoch=1, names=voters or names),
        timing=Timing(interval_s=1.0, suspect_after_s=5.0),
        disk="/disk",
    )


def read(*blocks: bytes, header: Header = HEADER) -> SlotsRead:
    return SlotsRead(began_s=9.0, header=slots.pack_header(header), slots=blocks)


def used(seq: int = 5, disk_id: str = HEADER.disk_id) -> SharedDisk:
    """A disk into which number `seq` was just written."""
    disk = SharedDisk(disk_id)
    disk.written, disk.outstanding = seq, True
    return disk


def test_a_header_comes_back() -> None:
    block = slots.pack_header(HEADER)
    assert len(block) == BLOCK
    assert slots.unpack_header(block) == HEADER


def test_every_bit_of_a_header_counts() -> None:
    block = slots.pack_header(HEADER)
    size = len(block.rstrip(b"\0"))
    for place in range(size * 8):
        altered = bytearray(block)
        altered[place // 8] ^= 1 << place % 8
        assert slots.unpack_header(bytes(altered)) is None, f"bit {place}"


def test_what_is_no_header_is_none() -> None:
    chance = Random(1)
    strange = [b"", b"CXM", bytes(BLOCK), b"\xff" * BLOCK, slots.pack_header(HEADER)[:60]]
    strange += [chance.randbytes(chance.randrange(BLOCK)) for _ in range(500)]
    assert [block for block in strange if slots.unpack_header(block) is not None] == []


def test_a_slot_comes_back_an_empty_one_is_empty_and_a_torn_one_is_unknown() -> None:
    frame = encode(beat("a"), KEY)
    block = slots.pack(frame)
    assert len(block) == BLOCK
    assert slots.unpack(block) == frame
    assert slots.unpack(bytes(BLOCK)) == b""
    assert slots.unpack(b"\0\0\x10\0" + b"x" * (BLOCK - 4)) is None
    assert slots.unpack(b"x") is None


@pytest.mark.parametrize("sector", [1, 2])
def test_a_slot_of_which_a_part_is_older_is_unknown(sector: int) -> None:
    """A write that was cut off between two sectors: neither the new message nor the old one."""
    long = "n" * 300
    notes = [{"ledger": f"{n}{long}", "staged": long, "boot": long} for n in (1, 2)]
    old, new = (
        slot(
            Beat(
                cluster=CLUSTER, sender="a", generation=1, nonce=NONCE, seq=s, channel=DISK, notes=n
            )
        )
        for s, n in zip((5, 6), notes, strict=True)
    )
    torn = new[: sector * 512] + old[sector * 512 :]
    assert torn not in (old, new)
    assert slots.read(torn, [KEY]) is None


def test_what_makes_sense_is_taken_and_the_rest_is_unknown() -> None:
    members = roster("a", "b", "c", "d", "e")
    blocks = (
        slot(beat("a")),
        slot(beat("b", ballot=3)),
        slot(beat("b")),
        slot(beat("d"), key=b"?" * 32),
        Random(2).randbytes(BLOCK),
    )
    disk = used()
    contents = disk.take(read(*blocks), members, [KEY], NONCE, 10.0)
    assert contents is not None
    assert contents.own == beat("a")
    assert contents.others == {"b": beat("b", ballot=3)}
    assert (disk.problem, disk.outstanding, disk.ballots) == ("", False, {"b": 3})


def test_a_disk_with_fewer_slots_than_members_knows_nothing_of_the_rest() -> None:
    contents = used().take(read(slot(beat("a"))), roster("a", "b", "c"), [KEY], NONCE, 10.0)
    assert contents is not None
    assert contents.others == {}
    none = used()
    assert none.take(read(), roster("a", "b"), [KEY], NONCE, 10.0) is None
    assert none.problem == "what was written does not come back"


@pytest.mark.parametrize(
    "own",
    [
        bytes(BLOCK),
        slot(beat("a", seq=4)),
        slot(beat("a", nonce=b"another!")),
        slot(beat("b")),
    ],
)
def test_a_disk_that_does_not_give_back_what_was_written_is_of_no_use(own: bytes) -> None:
    disk = used()
    assert disk.take(read(own, slot(beat("b"))), roster("a", "b"), [KEY], NONCE, 10.0) is None
    assert disk.problem == "what was written does not come back"
    assert not disk.votes


def test_another_cluster_s_disk_is_not_used() -> None:
    disk = used()
    strange = Header(cluster_id="another", disk_id=HEADER.disk_id)
    found = disk.take(read(slot(beat("a")), header=strange), roster("a", "b"), [KEY], NONCE, 10.0)
    assert found is None
    assert disk.problem == "belongs to cluster another"


def test_another_disk_than_before_does_not_vote_until_the_others_are_seen_on_it() -> None:
    disk = used(disk_id="cd" * 16)
    votes = [disk.votes]
    disk.take(read(slot(beat("a"))), roster("a", "b"), [KEY], NONCE, 10.0)
    for live in ([], ["b"]):
        votes.append(disk.votes)
        disk.judge(["b"], live, [])
    assert [*votes, disk.votes] == [True, False, False, True]
    assert disk.disk_id == HEADER.disk_id


def test_a_disk_on_which_another_voter_is_no_more_but_elsewhere_does_not_vote() -> None:
    disk = used()
    disk.judge(["b"], [], ["b"])
    assert not disk.votes
    assert disk.disk_id != HEADER.disk_id


def test_a_disk_that_fails_does_not_vote_and_may_be_written_again() -> None:
    disk = used()
    disk.failed("EIO")
    assert (disk.votes, disk.outstanding, disk.problem, disk.seen_id) == (False, False, "EIO", "")


def test_nobody_writes_a_slot_that_is_a_voter_s() -> None:
    assert own_slot(roster("a", "b")) == 0
    assert own_slot(roster("c", "a", "b", voters=("a", "b"), numbers=(0, 0, 1))) is None
    assert own_slot(roster("a", "b", "c", voters=("a", "b"), numbers=(0, 1, 0))) == 0
    assert own_slot(roster("a", "b", numbers=(0, 0))) is None
    assert own_slot(roster("c", "a", "b", voters=("a", "b"), numbers=(2, 0, 1))) == 2
