"""What lies in files: the memory that must not be lost, the roster, the keys, the log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from membership.edge.key_file import read_keys
from membership.edge.secret_files import SecretError
from membership.edge.starting import CannotStart
from membership.edge.stored import (
    MEMORY,
    MemoryFile,
    Unusable,
    Watched,
    read_roster,
)
from membership.events import Memory
from membership.roster import Member, Roster
from tests.membership.edge.beaters import CLUSTER

LONG = "x" * 32


def test_each_start_is_a_generation_of_its_own(tmp_path: Path) -> None:
    file = MemoryFile(tmp_path)
    assert file.begin() == Memory(generation=1)
    file.store(Memory(generation=1, term=7, voted_for="n2", disk_id="d"))
    again = MemoryFile(tmp_path)
    assert again.begin() == Memory(generation=2, term=7, voted_for="n2", disk_id="d")
    assert MemoryFile(tmp_path).begin().generation == 3


def test_half_a_writing_is_none(tmp_path: Path) -> None:
    MemoryFile(tmp_path).begin()
    (tmp_path / (MEMORY + ".new")).write_text('{"memory":{"gen')
    assert MemoryFile(tmp_path).begin().generation == 2


@pytest.mark.parametrize("at", range(0, 70, 3))
def test_any_byte_that_changed_is_seen(tmp_path: Path, at: int) -> None:
    MemoryFile(tmp_path).store(Memory(generation=5, term=17, voted_for="node-17"))
    path = tmp_path / MEMORY
    content = bytearray(path.read_bytes())
    content[at] ^= 0x04
    path.write_bytes(content)
    with pytest.raises(CannotStart, match="not guessed") as caught:
        MemoryFile(tmp_path).begin()
    assert caught.value.status == 65


def test_a_folder_that_cannot_be_written_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        MemoryFile(tmp_path / "none").begin()


def test_a_change_of_a_file_is_seen_once(tmp_path: Path) -> None:
    path = tmp_path / "f"
    watched = Watched(path)
    assert not watched.changed()
    path.write_text("1")
    assert watched.changed()
    assert not watched.changed()
    fresh = tmp_path / "g"
    fresh.write_text("2")
    fresh.replace(path)
    assert watched.changed()
    path.unlink()
    assert not watched.changed()


def roster(**other: object) -> bytes:
    members = (Member(name="n1"), Member(name="n2"))
    given = {"cluster_id": CLUSTER, "me": "n1", "members": members, **other}
    return msgspec.json.encode(Roster(**given))  # type: ignore[arg-type]


def test_a_roster_is_that_of_this_very_node(tmp_path: Path) -> None:
    path = tmp_path / "membership.json"
    path.write_bytes(roster())
    assert read_roster(path, "n1", CLUSTER).names == ("n1", "n2")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "membership.json"),
        (b"{}", "required field"),
        (roster()[:-9], "membership.json"),
        (roster(cluster_id="other"), "of cluster other"),
        (roster(me="n2"), "of node n2"),
        (roster(members=()), "of node n1"),
    ],
)
def test_another_roster_is_not_used(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "membership.json"
    path.write_bytes(content)
    with pytest.raises(Unusable, match=why):
        read_roster(path, "n1", CLUSTER)


def key_file(folder: Path, content: str, mode: int = 0o600) -> Path:
    path = folder / "cluster-key"
    path.write_text(content)
    path.chmod(mode)
    return path


def test_each_line_is_a_key_and_the_first_signs(tmp_path: Path) -> None:
    path = key_file(tmp_path, f"a{LONG}\n\n  b{LONG}  \r\n")
    assert read_keys(path) == (f"a{LONG}".encode(), f"b{LONG}".encode())


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [
        ("", 0o600, "empty"),
        ("\n \n", 0o600, "empty"),
        (f"{LONG}\nsecret\n", 0o600, "key 2 has 6 characters"),
        (f"{LONG}\n" * 1000, 0o600, "longer than"),
        (f"{LONG}\n", 0o640, "chmod 0600"),
        (f"{LONG}\n", 0o604, "chmod 0600"),
    ],
)
def test_keys_that_protect_nothing_are_refused(
    tmp_path: Path, content: str, mode: int, why: str
) -> None:
    with pytest.raises(SecretError, match=why) as caught:
        read_keys(key_file(tmp_path, content, mode))
    assert "secret" not in str(caught.value)


def test_a_key_file_is_a_plain_file(tmp_path: Path) -> None:
    path = key_file(tmp_path, LONG)
    (tmp_path / "link").symlink_to(path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("link", "none", "pipe"):
        with pytest.raises(SecretError, match=f"/{name}: "):
            read_keys(tmp_path / name)


LOGGING = """
from pathlib import Path
from membership.edge import log
log.warning("seen", revision=3, path=Path("y"))
"""


def test_the_log_is_json_on_stderr_and_never_raises() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOGGING], capture_output=True, text=True, check=True
    )
    row = json.loads(done.stderr)
    assert {"event": "seen", "level": "warning", "path": "PosixPath('y')"}.items() <= row.items()
    assert row["timestamp"].endswith("Z")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", LOGGING + "print('on')"],
            stdout=subprocess.PIPE,
            stderr=full,
            text=True,
            check=True,
        )
    assert done.stdout == "on\n"
