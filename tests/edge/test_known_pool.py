"""The pool that a node belongs to is kept across restarts, and only what changed is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.edge.known_pool import KnownPoolFile
from reconciler.edge.lines import DamagedFile


def test_what_was_learnt_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    first = KnownPoolFile(path)
    assert first.known.uuid == ""
    first.learn("p1", ["10.0.0.1", "10.0.0.2"])
    again = KnownPoolFile(path)
    assert again.known.uuid == "p1"
    assert again.reached(["10.0.0.9", "10.0.0.2"]) == ("10.0.0.9", "10.0.0.2", "10.0.0.1")


def test_the_same_knowledge_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    file = KnownPoolFile(path)
    file.learn("p1", ["10.0.0.1"])
    before = path.stat().st_ino
    file.learn("p1", ["10.0.0.1"])
    assert path.stat().st_ino == before


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    KnownPoolFile(path).learn("p1", ["10.0.0.1"])
    path.write_bytes(path.read_bytes().replace(b"p1", b"p2"))
    with pytest.raises(DamagedFile):
        KnownPoolFile(path)
