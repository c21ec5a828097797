"""Files written whole: what a reader, or the next start, may find."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from membership.edge.durable import write_all, write_whole


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_was_there_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"long before")
    reader = path.open("rb")
    write_whole(path, b"now")
    assert (reader.read(), path.read_bytes()) == (b"long before", b"now")
    assert names(tmp_path) == ["f"]


def test_the_mode_is_as_given_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o777)
    try:
        write_whole(tmp_path / "open", b"x", 0o644)
        write_whole(tmp_path / "closed", b"x", 0o600)
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("open", "closed")]
    assert modes == [0o644, 0o600]


def test_the_name_that_it_has_meanwhile_leads_nowhere_else(tmp_path: Path) -> None:
    """What a crash left behind, or a link that somebody put there, is not written into."""
    (tmp_path / "other").write_bytes(b"stays")
    (tmp_path / "f.new").symlink_to(tmp_path / "other")
    write_whole(tmp_path / "f", b"x")
    assert (tmp_path / "other").read_bytes() == b"stays"
    assert not (tmp_path / "f").is_symlink()


def test_durable_is_the_content_then_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    replace = Path.replace

    def fsync(file: int) -> None:
        done.append("sync " + Path(f"/proc/self/fd/{file}").readlink().name)

    def replaced(path: Path, target: Path) -> Path:
        done.append(f"rename {path.name}")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replaced)
    write_whole(tmp_path / "f", b"x")
    assert done == ["sync f.new", "rename f.new", f"sync {tmp_path.name}"]


def test_what_a_disk_takes_in_pieces_is_there_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, view: write(file, view[:3]))
    file = os.open(tmp_path / "f", os.O_WRONLY | os.O_CREAT)
    write_all(file, b"0123456789")
    os.close(file)
    assert (tmp_path / "f").read_bytes() == b"0123456789"
