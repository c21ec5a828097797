"""The mark of a state directory: the same at every start, another one in every directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.edge.mark import stored_mark


def folder(tmp_path: Path, name: str) -> Path:
    made = tmp_path / name
    made.mkdir()
    return made


def test_it_stays_and_is_nobody_elses(tmp_path: Path) -> None:
    one, two = folder(tmp_path, "one"), folder(tmp_path, "two")
    mark = stored_mark(one)
    assert len(mark) == 16
    assert stored_mark(one) == mark
    assert stored_mark(two) != mark
    assert [path.name for path in one.iterdir()] == ["mark"]


@pytest.mark.parametrize("content", [b"", b"beef\n", b"\0" * 16, b"\xff" * 16, b"x" * 4096])
def test_what_is_no_mark_is_replaced_by_one(tmp_path: Path, content: bytes) -> None:
    """It tells claims apart and nothing else: a fresh one only makes earlier claims another's."""
    (tmp_path / "mark").write_bytes(content)
    mark = stored_mark(tmp_path)
    assert len(mark) == 16
    assert int(mark, 16) >= 0
    assert stored_mark(tmp_path) == mark


def test_a_disk_that_cannot_be_read_or_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "mark").mkdir()
    with pytest.raises(OSError, match="mark"):
        stored_mark(tmp_path)
