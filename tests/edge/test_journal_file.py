"""What a journal and a ledger promise: durable before the answer, torn is mended, damage is told."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from membership.clock import Now
from membership.ledger import Fact, Freeze, Ledger, Withdrawn
from reconciler.actions import (
    Action,
    Answer,
    Call,
    Cause,
    CleanShutdown,
    DeclareDead,
    DisableNode,
    Done,
    EnableNode,
    Outcome,
    ResetPower,
    Retry,
    SetMemory,
    Stalled,
    StartOn,
    Unsure,
    Verb,
)
from reconciler.edge import journal_file, lines
from reconciler.edge.compaction import compacted
from reconciler.edge.journal_file import JournalFile
from reconciler.edge.ledger_file import LedgerFile
from reconciler.edge.ledger_file import stored as stored_ledger
from reconciler.edge.lines import DamagedFile
from reconciler.journal import replay
from reconciler.observed import PowerState
from reconciler.records import (
    Answered,
    AnyEntry,
    Cleared,
    Converged,
    DaemonStarted,
    Diverged,
    HeadSeen,
    Intended,
    Noticed,
    Record,
    Rejected,
    Retried,
    Settled,
    Sighted,
    Sighting,
    SourceBack,
    SourceLost,
    Targeted,
)

NOON = 1_800_000_000.0


def record(seq: int, entry: AnyEntry | None = None) -> Record:
    said = entry or HeadSeen(revision=seq, author="alice", summary="größer")
    return Record(seq=seq, at_s=NOON + seq, entry=said)


def journal(folder: Path, rotate_over: int = journal_file.ROTATE_OVER) -> JournalFile:
    return JournalFile(folder, wall=lambda: NOON, rotate_over=rotate_over)


def content(folder: Path) -> Path:
    (path,) = folder.glob("*.jsonl")
    return path


def test_records_come_back(tmp_path: Path) -> None:
    first = journal(tmp_path)
    first.append([record(1), record(2)])
    first.append([record(3)])
    first.close()
    again = journal(tmp_path)
    assert (again.state.last_seq, again.last_s, again.torn) == (3, NOON + 3, 0)
    assert journal_file.stored(tmp_path) == [record(1), record(2), record(3)]


def test_a_line_is_a_json_object_for_people_too(tmp_path: Path) -> None:
    journal(tmp_path).append([record(1)])
    row = json.loads(content(tmp_path).read_text())
    assert row["at"] == "2027-01-15T08:00:00.000+00:00"
    assert row["entry"]["entry"] == "head"
    assert len(row["crc"]) == 8


def test_one_fsync_for_the_records_of_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    opened = journal(tmp_path)
    monkeypatch.setattr(os, "fdatasync", synced.append)
    opened.append([record(1), record(2), record(3)])
    assert len(synced) == 1


@pytest.mark.parametrize("cut", [1, 2, 10, 60])
def test_a_torn_tail_is_cut_off_and_told(tmp_path: Path, cut: int) -> None:
    first = journal(tmp_path)
    first.append([record(1)])
    first.append([record(2)])
    first.close()
    path = content(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    again = journal(tmp_path)
    assert again.torn > 0
    assert again.state.last_seq == 1
    again.append([record(2)])
    again.close()
    assert path.read_bytes() == whole


def test_every_prefix_of_a_file_opens(tmp_path: Path) -> None:
    """A crash may leave any length: what was durable before the cut is all there, and of what was
    appended at once either all or nothing."""
    source = tmp_path / "whole"
    first = journal(source)
    first.append([record(1)])
    first.append([record(2), record(3)])
    whole = content(source).read_bytes()
    ends = [n for n in range(len(whole) + 1) if whole[:n].endswith(b"\n")]
    for length in range(len(whole) + 1):
        path = tmp_path / f"cut-{length}.jsonl"
        path.write_bytes(whole[:length])
        whole_lines = sum(end <= length for end in ends)
        assert len(lines.read(path).payloads) == (1 if whole_lines == 2 else whole_lines)


def test_blocks_that_were_never_written_are_a_torn_tail(tmp_path: Path) -> None:
    first = journal(tmp_path)
    first.append([record(1)])
    first.close()
    with content(tmp_path).open("ab") as file:
        file.write(b"\0" * 4096)
    assert journal(tmp_path).torn == 4096


@pytest.mark.parametrize("line", [1, 2])
def test_damage_is_never_guessed_around(tmp_path: Path, line: int) -> None:
    """Also in the last line: whole, it was durable, and may be the only trace of a call in flight."""
    first = journal(tmp_path)
    first.append([record(1), record(2)])
    first.close()
    path = content(tmp_path)
    rows = path.read_bytes().split(b"\n")
    rows[line - 1] = rows[line - 1].replace(b"alice", b"alicf")
    path.write_bytes(b"\n".join(rows))
    with pytest.raises(DamagedFile, match=f"{path.name}:{line}: ") as caught:
        journal(tmp_path)
    assert "Keep a copy" in str(caught.value)


def test_a_record_of_a_newer_version_is_told(tmp_path: Path) -> None:
    path = tmp_path / "00000001.jsonl"
    path.write_bytes(lines.seal(b'{"seq":1,"at_s":1.0,"entry":{"entry":"teleported"}}'))
    with pytest.raises(DamagedFile, match="does not know"):
        journal(tmp_path)


def test_a_number_never_repeats(tmp_path: Path) -> None:
    opened = journal(tmp_path)
    opened.append([record(4)])
    with pytest.raises(AssertionError):
        opened.append([record(4)])


def test_a_disk_that_fails_is_not_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_file: int) -> None:
        raise OSError(28, "No space left on device")

    opened = journal(tmp_path)
    monkeypatch.setattr(os, "fdatasync", full)
    with pytest.raises(OSError, match="No space"):
        opened.append([record(1)])


# --- following ------------------------------------------------------------------------------------


async def test_follow_gives_the_past_and_then_the_news(tmp_path: Path) -> None:
    first = journal(tmp_path)
    first.append([record(n) for n in range(1, 6)])
    first.close()
    opened = journal(tmp_path)
    seen: list[int] = []

    async def follow() -> None:
        async for row in opened.follow(3):
            seen.append(json.loads(row)["seq"])

    task = asyncio.create_task(follow())
    await asyncio.sleep(0)
    opened.append([record(6)])
    opened.append([record(7), record(8)])
    await asyncio.sleep(0.01)
    opened.append([record(9)])
    await asyncio.sleep(0.01)
    task.cancel()
    assert seen == [3, 4, 5, 6, 7, 8, 9]


async def test_a_follower_outlives_a_rotation(tmp_path: Path) -> None:
    opened = journal(tmp_path, rotate_over=20_000)
    seen: list[int] = []

    async def follow() -> None:
        async for row in opened.follow(1):
            seen.append(json.loads(row)["seq"])

    task = asyncio.create_task(follow())
    for seq in range(1, 301):
        opened.append([record(seq)])
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    task.cancel()
    assert seen == list(range(1, 301))


# --- rotation -------------------------------------------------------------------------------------


def test_a_file_that_grew_is_compacted_and_the_old_one_goes(tmp_path: Path) -> None:
    opened = journal(tmp_path, rotate_over=100_000)
    for seq in range(1, 8001):
        opened.append([record(seq)])
    opened.close()
    path = content(tmp_path)
    assert path.name > "00000001.jsonl"
    assert path.stat().st_size < 800_000
    assert journal(tmp_path).state.last_seq == 8000


def test_a_crash_between_the_new_file_and_the_old_ones_end(tmp_path: Path) -> None:
    first = journal(tmp_path)
    first.append([record(1), record(2)])
    first.close()
    lines.replace(tmp_path / "00000002.jsonl", lines.read(content(tmp_path)).payloads)
    (tmp_path / "00000003.jsonl.new").write_bytes(b"half")
    assert journal(tmp_path).state.last_seq == 2
    assert [path.name for path in tmp_path.iterdir()] == ["00000002.jsonl"]


VMS, NODES = ("vm-a", "vm-b"), ("host-a",)
SUBJECTS = st.sampled_from(VMS + NODES)
OUTCOMES: st.SearchStrategy[Outcome] = st.sampled_from(
    [Done(), Retry(reason="r"), Stalled(reason="s")]
)
ANSWERS: st.SearchStrategy[Answer] = st.sampled_from([Done(), Unsure(reason="cut")])
REASONS = st.sampled_from(["one", "two"])


def calls(subject: str) -> Sequence[Call]:
    if subject in NODES:
        return (DisableNode(node=subject), EnableNode(node=subject), DeclareDead(node=subject))
    return (
        CleanShutdown(vm=subject),
        ResetPower(vm=subject),
        StartOn(vm=subject, node="host-a"),
        SetMemory(vm=subject, size=1, static_min=1),
    )


@st.composite
def histories(draw: st.DrawFn) -> list[Record]:
    """Journals as a daemon would write them: a call is intended before it is settled."""
    open_calls: dict[str, str] = {}
    entries: list[AnyEntry] = []
    for number in range(draw(st.integers(1, 60))):
        subject = draw(SUBJECTS)
        entry: AnyEntry
        match draw(st.integers(0, 9)):
            case 0 if subject not in open_calls:
                entry = intended(f"t{number}", subject, draw(st.sampled_from(calls(subject))), draw)
                open_calls[subject] = entry.txn
            case 1 if subject in open_calls:
                entry = Answered(txn=open_calls[subject], answer=draw(ANSWERS))
            case 2 | 3 if subject in open_calls:
                txn = open_calls.pop(subject)
                entry = settled(txn, subject, draw(OUTCOMES))
            case 4:
                power = draw(st.sampled_from([PowerState.RUNNING, PowerState.HALTED]))
                unmet = draw(st.sampled_from([{}, {"power": NOON}]))
                entry = Sighted(
                    vm=draw(st.sampled_from(VMS)),
                    sighting=Sighting(power=power, node=None, met={"power": "x"}, unmet=unmet),
                )
            case 5:
                entry = DaemonStarted(version="1", node="n", term=number)
            case 6:
                entry = Retried(object="vm/x", subject=subject, by="alice")
            case 7:
                reason = draw(REASONS)
                cleared = Cleared(object="vm/x", reason=reason)
                noticed = Noticed(object="vm/x", reason=reason, message=str(number))
                entry = noticed if draw(st.booleans()) else cleared
            case _:
                entry = draw(st.sampled_from(revision_entries(number)))
        entries.append(entry)
    return [record(seq, entry) for seq, entry in enumerate(entries, start=1)]


def intended(txn: str, subject: str, call: Call, draw: st.DrawFn) -> Intended:
    verb = draw(st.sampled_from([Verb.STOP, Verb.RESTART]))
    action = Action(
        id=txn,
        object="vm/x",
        verb=verb,
        cause=Cause.INTENT,
        reason="r",
        message="m",
        call=call,
    )
    return Intended(txn=txn, action=action, subject=subject)


def settled(txn: str, subject: str, outcome: Outcome) -> Settled:
    return Settled(txn=txn, object="vm/x", subject=subject, outcome=outcome, failures=1)


def revision_entries(number: int) -> list[AnyEntry]:
    return [
        SourceLost(reason="unreachable", message=str(number)),
        SourceBack(),
        Rejected(revision=number, author="a", reason="r", message="m"),
        Targeted(revision=number, author="a", summary="s", digest="d"),
        Converged(revision=number),
        Diverged(revision=number),
        HeadSeen(revision=number, author="a", summary="s"),
    ]


@settings(max_examples=400, deadline=None)
@given(histories(), st.integers(1, 20))
def test_compaction_keeps_the_state(history: list[Record], recent: int) -> None:
    assert replay(compacted(history, recent)) == replay(history)


@settings(max_examples=200, deadline=None)
@given(histories(), st.integers(1, 20), st.data())
def test_compaction_keeps_the_future_too(
    history: list[Record], recent: int, data: st.DataObject
) -> None:
    """What comes afterwards (an answer, a settlement) must find what it refers to."""
    cut = data.draw(st.integers(0, len(history)))
    kept = list(compacted(history[:cut], recent))
    assert replay(kept + history[cut:]) == replay(history)


def test_compaction_forgets_what_no_longer_matters() -> None:
    many = [
        record(seq, Sighted(vm="vm-a", sighting=Sighting(power=PowerState.HALTED, node=None)))
        for seq in range(1, 1001)
    ]
    assert [kept.seq for kept in compacted(many, 10)] == list(range(990, 1001))


# --- ledger ---------------------------------------------------------------------------------------


def fact(seq: int, *, gone: bool = False) -> Fact:
    freeze = Freeze(object="vm/x", scopes=("intent",), until_epoch_s=NOON, reason="r", by="alice")
    value = Withdrawn(by="alice") if gone else freeze
    return Fact(key="freeze/vm/x", term=1, seq=seq, at_epoch_s=NOON, value=value)


def test_facts_come_back_merged_and_the_file_stays_small(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    first = LedgerFile(path)
    first.append([fact(1), fact(2)])
    first.append([fact(3, gone=True)])
    first.close()
    assert len(path.read_bytes().splitlines()) == 3
    again = LedgerFile(path)
    assert again.ledger == Ledger().merge([fact(3, gone=True)]) == stored_ledger(path)
    assert len(path.read_bytes().splitlines()) == 1


def test_each_start_begins_a_new_term(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    now = Now(mono_s=1.0, epoch_s=NOON)
    terms = []
    for _ in range(3):
        opened = LedgerFile(path)
        terms.append(opened.claim("xen1", now))
        opened.close()
    assert terms == [1, 2, 3]
    assert stored_ledger(path).term == 3


def test_a_torn_ledger_loses_only_what_was_not_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    first = LedgerFile(path)
    first.append([fact(1)])
    first.append([fact(2)])
    first.close()
    path.write_bytes(path.read_bytes()[:-3])
    again = LedgerFile(path)
    assert again.torn > 0
    assert again.ledger == Ledger().merge([fact(1)])


def test_a_damaged_ledger_is_told(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    LedgerFile(path).append([fact(1), fact(2)])
    path.write_bytes(path.read_bytes().replace(b"alice", b"mallo"))
    with pytest.raises(DamagedFile, match=r"ledger\.jsonl:1"):
        LedgerFile(path)
