"""What lies on a file or block device, and who uses it: before it is overwritten for ever."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from membership.slots import BLOCK, unpack_header

LOOKED_AT = 1024 * 1024
"""Bytes at the beginning and at the end: there every file system, partition table and raid signs."""

_SIGNATURES = (
    (510, b"\x55\xaa", "a partition table or boot sector"),
    (512, b"EFI PART", "a GUID partition table"),
    (512, b"LABELONE", "an LVM physical volume"),
    (0, b"LUKS\xba\xbe", "a LUKS volume"),
    (0, b"XFSB", "an XFS file system"),
    (1080, b"\x53\xef", "an ext2, ext3 or ext4 file system"),
    (4086, b"SWAPSPACE2", "swap space"),
    (4096, b"\xfc\x4e\x2b\xa9", "a member of a raid"),
    (65600, b"_BHRfS_M", "a btrfs file system"),
    (0, b"QFI\xfb", "a disk image (qcow2)"),
    (0, b"conectix", "a disk image (VHD)"),
)


def uses(path: Path) -> tuple[str, ...]:
    """Who uses what is there now: "mounted at /srv", "swap", "held by dm-0", ... Raises OSError."""
    found = path.stat()
    if stat.S_ISBLK(found.st_mode):
        return tuple(dict.fromkeys(_uses_of_device(path, found.st_rdev)))
    if not stat.S_ISREG(found.st_mode):
        return ("neither a file nor a block device",)
    return tuple(_uses_of_file(path.resolve()))


def contents(path: Path) -> str:
    """What seems to lie there; "" where beginning and end are empty. Raises OSError."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.lseek(file, 0, os.SEEK_END)
        head = os.pread(file, LOOKED_AT, 0)
        tail = os.pread(file, LOOKED_AT, max(0, size - LOOKED_AT))
    finally:
        os.close(file)
    ours = unpack_header(head[:BLOCK])
    if ours is not None:
        return f"a heartbeat disk of cluster {ours.cluster_id}"
    for at, mark, what in _SIGNATURES:
        if head[at : at + len(mark)] == mark:
            return what
    if head.strip(b"\0"):
        return "data of a kind that is not known here"
    return "data at its end" if tail.strip(b"\0") else ""


def _uses_of_device(path: Path, device: int) -> Iterator[str]:
    numbers = {_number(device)}
    folder = Path("/sys/dev/block") / _number(device)
    for part in sorted(folder.glob("*/partition")):
        yield f"divided into partitions ({part.parent.name})"
        numbers.add((part.parent / "dev").read_text().strip())
    for number in sorted(numbers):
        for holder in sorted((Path("/sys/dev/block") / number / "holders").glob("*")):
            yield f"held by {holder.name}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        words = line.split()
        if words[2] in numbers:
            yield f"mounted at {words[4]}"
    for swap in _swaps():
        if swap.exists() and _number(swap.stat().st_rdev) in numbers:
            yield "in use as swap"
    if _busy(path):
        yield "in use by the kernel (mounted, or part of a raid or a volume group)"


def _uses_of_file(path: Path) -> Iterator[str]:
    if path in _swaps():
        yield "in use as swap"
    for loop in sorted(Path("/sys/block").glob("loop*/loop/backing_file")):
        try:
            backing = loop.read_text().strip()
        except OSError:
            continue
        if backing == str(path):
            yield f"behind /dev/{loop.parts[-3]}"


def _busy(path: Path) -> bool:
    """The kernel lets nobody else open exclusively what it uses itself."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return True
    return False


def _swaps() -> tuple[Path, ...]:
    rows = Path("/proc/swaps").read_text().splitlines()[1:]
    return tuple(Path(row.split()[0]) for row in rows if row.split())


def _number(device: int) -> str:
    return f"{os.major(device)}:{os.minor(device)}"
