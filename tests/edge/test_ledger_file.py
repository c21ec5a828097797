"""The ledger's file: it stays small while the daemon runs, and keeps what newer versions wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from membership.ledger import Fact, Ledger, Withdrawn, written
from reconciler.edge import ledger_file, lines
from reconciler.edge.ledger_file import LedgerFile, stored


def fact(seq: int, key: str = "drain/xen1") -> Fact:
    return Fact(key=key, term=1, seq=seq, at_epoch_s=0.0, value=Withdrawn(by="a"))


def count(path: Path) -> int:
    return path.read_bytes().count(b"\n")


def test_a_file_is_rewritten_once_most_of_it_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    opened = LedgerFile(path)
    for seq in range(1, ledger_file.LEAST_LINES + 1):
        opened.append([fact(seq)])
    assert count(path) == ledger_file.LEAST_LINES
    opened.append([fact(ledger_file.LEAST_LINES + 1), fact(1, "drain/xen2")])
    assert count(path) == 2
    # And it goes on as before.
    opened.append([fact(5000), fact(2, "drain/xen3")])
    assert count(path) == 4
    expected = Ledger().merge([fact(5000), fact(1, "drain/xen2"), fact(2, "drain/xen3")])
    assert opened.ledger == expected == stored(path)
    opened.close()
    assert LedgerFile(path).ledger == expected


def test_up_to_four_lines_for_each_fact_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_file, "LEAST_LINES", 4)
    path = tmp_path / "ledger.jsonl"
    opened = LedgerFile(path)
    sizes = []
    for seq in range(1, 7):
        opened.append([fact(seq, "drain/xen1"), fact(seq, "drain/xen2")])
        sizes.append(count(path))
    assert sizes == [2, 4, 6, 8, 2, 4]


def test_what_newer_versions_wrote_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    new = b'{"key":"shot/a","term":3,"seq":7,"at_epoch_s":1.5,"value":{"fact":"shot","n":1}}'
    lines.replace(path, [new, written(fact(1)), written(fact(2))])
    for _ in range(2):
        opened = LedgerFile(path)
        assert [written(known) for known in opened.ledger.facts.values()] == [written(fact(2)), new]
        opened.close()
    assert count(path) == 2


def test_a_line_that_is_no_fact_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    lines.replace(path, [written(fact(1)), b'{"key":"k","term":-1}'])
    with pytest.raises(lines.DamagedFile, match=r"ledger\.jsonl:2: not a fact"):
        LedgerFile(path)
