"""The shared disk: really written, really read, and never waited for."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from membership import slots
from membership.edge import device, disk_keeping
from membership.edge.disk import Answer, Disk
from membership.edge.disk_keeping import Refused, make, show
from membership.edge.slot_file import SIZE, SlotFile, TooSmall
from membership.events import DiskFailed, SlotsRead
from membership.heartbeat import Beat, encode
from membership.slots import BLOCK, SLOTS
from tests.membership.edge.beaters import CLUSTER

KEY = b"k" * 32
PLACES = ("file", "memory", *(("device",) if os.geteuid() == 0 else ()))
"""A file on the disk of this machine, one in memory (no direct access), a block device (root)."""


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_keeping, "LIVES_WITHIN_S", 0.1)


@pytest.fixture
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """An unformatted heartbeat disk of the kind that is asked for."""
    kind = getattr(request, "param", "file")
    folder = Path("/dev/shm") if kind == "memory" else tmp_path
    path = folder / f"cxm-{os.getpid()}-disk"
    path.write_bytes(bytes(4 * 1024 * 1024))
    if kind != "device":
        yield path
        path.unlink(missing_ok=True)
        return
    command = ["losetup", "--find", "--show", "--direct-io=on", str(path)]
    loop = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    yield Path(loop)
    subprocess.run(["losetup", "--detach", loop], check=True)


def beat(name: str, seq: int) -> bytes:
    message = Beat(
        cluster=CLUSTER, sender=name, generation=3, nonce=b"n" * 16, seq=seq, channel=255
    )
    return slots.pack(encode(message, KEY))


# --- blocks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES, indirect=True)
def test_what_one_writes_another_reads(place: Path) -> None:
    ours, theirs = SlotFile(place, writing=True), SlotFile(place, writing=True)
    for seq in range(3):
        ours.write(1, beat("n1", seq))
        theirs.write(64, beat("n2", seq))
        for reader in (ours, theirs):
            blocks = reader.read(SLOTS)
            assert (len(blocks), blocks[0]) == (1 + SLOTS, bytes(BLOCK))
            assert blocks[1] == beat("n1", seq)
            assert blocks[64] == beat("n2", seq)
    assert ours.read(2) == ours.read(SLOTS)[:3]
    ours.close()
    theirs.close()


def test_a_disk_that_is_too_small_says_so(tmp_path: Path) -> None:
    path = tmp_path / "small"
    path.write_bytes(bytes(SIZE - 1))
    with pytest.raises(TooSmall, match=str(SIZE)):
        SlotFile(path, writing=True)


# --- the worker -----------------------------------------------------------------------------------


class Answers:
    """What a disk said, and a way to wait for the next."""

    def __init__(self) -> None:
        self.all: list[Answer] = []

    async def next(self) -> Answer:
        count = len(self.all)
        async with asyncio.timeout(5.0):
            while len(self.all) == count:
                await asyncio.sleep(0.005)
        return self.all[-1]


async def test_an_exchange_writes_our_slot_and_reads_all(place: Path) -> None:
    answers = Answers()
    disk = Disk(place, asyncio.get_running_loop(), answers.all.append)
    disk.exchange(2, beat("n3", 1), 3, 5.0)
    answer = await answers.next()
    assert isinstance(answer, SlotsRead)
    assert answer.slots == (bytes(BLOCK), bytes(BLOCK), beat("n3", 1))
    await disk.settled()
    disk.close()


@pytest.mark.parametrize(
    ("size", "reason"), [(None, "missing: "), (SIZE - 1, "unformatted: "), (-1, "Is a directory")]
)
async def test_what_is_wrong_is_said(tmp_path: Path, size: int | None, reason: str) -> None:
    path, answers = tmp_path / "d", Answers()
    if size == -1:
        path.mkdir()
    elif size is not None:
        path.write_bytes(bytes(size))
    disk = Disk(path, asyncio.get_running_loop(), answers.all.append)
    disk.exchange(0, bytes(BLOCK), 1, 5.0)
    answer = await answers.next()
    assert isinstance(answer, DiskFailed)
    assert reason in answer.reason
    path.rename(tmp_path / "away") if path.exists() else None
    path.write_bytes(bytes(SIZE))
    disk.exchange(0, bytes(BLOCK), 1, 5.0)
    assert isinstance(await answers.next(), SlotsRead)
    disk.close()


async def test_a_file_that_was_replaced_is_opened_anew(place: Path, tmp_path: Path) -> None:
    answers = Answers()
    disk = Disk(place, asyncio.get_running_loop(), answers.all.append)
    disk.exchange(0, beat("n1", 1), 2, 5.0)
    await answers.next()
    other = tmp_path / "other"
    other.write_bytes(bytes(BLOCK) * 2 + beat("n2", 9) + bytes(SIZE))
    other.replace(place)
    disk.exchange(0, beat("n1", 2), 2, 5.0)
    answer = await answers.next()
    assert isinstance(answer, SlotsRead)
    assert answer.slots == (beat("n1", 2), beat("n2", 9))
    disk.close()


class Frozen:
    """Blocks whose writing does not end before it is let go."""

    def __init__(self, _path: Path) -> None:
        self.writes = 0
        self.let_go = threading.Semaphore(0)
        self.closed = False

    def replaced(self) -> bool:
        return False

    def write(self, block: int, data: bytes) -> None:
        del block, data
        self.writes += 1
        self.let_go.acquire()

    def read(self, slots: int) -> tuple[bytes, ...]:
        return (bytes(BLOCK),) * (1 + slots)

    def close(self) -> None:
        self.closed = True


async def test_a_frozen_disk_is_told_of_and_left_alone(tmp_path: Path) -> None:
    answers, frozen = Answers(), Frozen(tmp_path)
    disk = Disk(tmp_path, asyncio.get_running_loop(), answers.all.append, lambda _path: frozen)
    disk.exchange(0, bytes(BLOCK), 1, 0.1)
    disk.exchange(0, bytes(BLOCK), 1, 0.1)
    assert answers.all == []
    slow = await answers.next()
    assert isinstance(slow, DiskFailed)
    assert slow.reason.startswith("slow: no answer for ")
    disk.exchange(0, bytes(BLOCK), 1, 0.1)
    assert isinstance(await answers.next(), DiskFailed)
    assert (frozen.writes, len(answers.all)) == (1, 2)
    # What comes back so late is no news; the next exchange is.
    frozen.let_go.release()
    await disk.settled()
    assert len(answers.all) == 2
    frozen.let_go.release()
    disk.exchange(0, bytes(BLOCK), 1, 5.0)
    assert isinstance(await answers.next(), SlotsRead)
    disk.close()


async def test_a_disk_that_was_closed_says_no_more(tmp_path: Path) -> None:
    answers, frozen = Answers(), Frozen(tmp_path)
    disk = Disk(tmp_path, asyncio.get_running_loop(), answers.all.append, lambda _path: frozen)
    disk.exchange(0, bytes(BLOCK), 1, 0.05)
    disk.close()
    await asyncio.sleep(0.15)
    frozen.let_go.release()
    await disk.settled()
    assert answers.all == []
    async with asyncio.timeout(5.0):
        while not frozen.closed:
            await asyncio.sleep(0.005)


# --- formatting -----------------------------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES, indirect=True)
def test_an_empty_place_is_formatted_and_shown(place: Path) -> None:
    header = make(place, CLUSTER, force=False)
    shown = show(place, (), 0.0)
    assert shown.header == header
    assert (header.cluster_id, len(header.disk_id), shown.slots) == (CLUSTER, 32, ())
    with pytest.raises(Refused, match=f"heartbeat disk of cluster {CLUSTER}"):
        make(place, CLUSTER, force=False)
    assert make(place, CLUSTER, force=True).disk_id != header.disk_id


def test_slots_are_shown_with_what_is_known_of_them(place: Path) -> None:
    make(place, CLUSTER, force=False)
    disk = SlotFile(place, writing=True)
    disk.write(1, beat("n1", 5))
    disk.write(3, b"rubbish".ljust(BLOCK, b"!"))
    disk.close()
    first, second = show(place, (KEY,), 0.0).slots
    assert first.beat is not None
    assert (first.number, first.verified, first.beat.sender, first.beat.seq) == (0, True, "n1", 5)
    assert (second.number, second.verified, second.beat) == (2, False, None)
    (first, _) = show(place, (b"x" * 32,), 0.0).slots
    assert first.beat is not None
    assert (first.verified, first.beat.sender) == (False, "n1")


def test_a_disk_that_lives_is_never_formatted(place: Path) -> None:
    make(place, CLUSTER, force=False)
    over = threading.Event()

    def live() -> None:
        disk, seq = SlotFile(place, writing=True), 0
        while not over.wait(0.02):
            seq += 1
            disk.write(8, beat("n8", seq))
        disk.close()

    thread = threading.Thread(target=live)
    thread.start()
    try:
        with pytest.raises(Refused, match="writes slot 7"):
            make(place, CLUSTER, force=True)
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize(
    ("command", "found"),
    [
        (["mkfs.ext4", "-q", "-F"], "an ext2, ext3 or ext4 file system"),
        (["mkswap"], "swap space"),
    ],
)
def test_data_is_not_overwritten_unasked(place: Path, command: list[str], found: str) -> None:
    subprocess.run([*command, place], check=True, capture_output=True)
    assert device.contents(place) == found
    with pytest.raises(Refused, match=found) as caught:
        make(place, CLUSTER, force=False)
    assert caught.value.hint == "--force overwrites it"
    make(place, CLUSTER, force=True)
    assert device.contents(place).startswith("a heartbeat disk")


def test_data_anywhere_is_data(place: Path) -> None:
    with place.open("r+b") as file:
        file.seek(-10, os.SEEK_END)
        file.write(b"x")
    assert device.contents(place) == "data at its end"
    with place.open("r+b") as file:
        file.seek(300_000)
        file.write(b"x")
    assert device.contents(place).startswith("data of a kind")


def test_what_is_no_disk_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="neither a file nor a block device"):
        make(tmp_path, CLUSTER, force=True)
    with pytest.raises(Refused, match="is not there"):
        make(Path("/dev/no-such-disk"), CLUSTER, force=True)


def test_a_file_is_made_where_there_is_none(tmp_path: Path) -> None:
    path = tmp_path / "new"
    make(path, CLUSTER, force=False)
    assert path.stat().st_size == SIZE
    assert path.stat().st_mode & 0o007 == 0


@pytest.mark.parametrize("place", PLACES[-1:], indirect=True)
def test_what_the_kernel_uses_is_refused_by_force_too(place: Path, tmp_path: Path) -> None:
    """As root a real mount; anybody else sees at least that a file lies behind a device."""
    if not place.is_block_device():
        assert device.uses(place) == ()
        return
    (backing,) = [p for p in tmp_path.iterdir() if p.name.startswith("cxm-")]
    assert device.uses(backing) == (f"behind {place}",)
    subprocess.run(["mkfs.ext4", "-q", place], check=True, capture_output=True)
    mount = tmp_path / "mount"
    mount.mkdir()
    subprocess.run(["mount", place, mount], check=True)
    try:
        with pytest.raises(Refused, match=f"mounted at {mount}"):
            make(place, CLUSTER, force=True)
    finally:
        subprocess.run(["umount", mount], check=True)
