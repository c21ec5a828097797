"""What peers bring into a daemon: facts that are durable at once, views on its own clock."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from msgspec.structs import replace

from membership.edge.supervision import Supervisor
from membership.ledger import Drain, Fact, Hold
from membership.view import Peer, PeerState, View
from reconciler.edge.alone import Alone
from reconciler.edge.assembly import Assembly, Identity, Memory, Surroundings
from reconciler.edge.ledger_file import stored
from reconciler.edge.revisions import RevisionStore
from reconciler.edge.source import SubversionSource
from reconciler.edge.subversion import Subversion
from reconciler.edge.subversion_wire import Access
from reconciler.edge.telling import Tellers
from reconciler.messages import PoolLost, PoolObserved
from reconciler.mustering import ALONE, Peering
from tests.edge.deaf import Deaf
from tests.edge.lonely import Lonely
from tests.edge.outreach_rig import FakePool, Notes
from tests.edge.unarmed import Unarmed

WALL_S = 1_800_000_000.0
BOOT_S = 5000.0
ME = Identity(node="n1", release="1", cluster_id="c")


class FollowedFake(FakePool, Lonely):
    @property
    def addresses(self) -> tuple[str, ...]:
        return ()

    async def acting_ended(self) -> None:
        await asyncio.Event().wait()

    async def run(self, publish: Callable[[PoolObserved | PoolLost], None]) -> None:
        del publish
        await asyncio.Event().wait()


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Memory]:
    made = Memory(tmp_path, wall=lambda: WALL_S, boot=lambda: BOOT_S)
    yield made
    made.close()


def assembled(memory: Memory, state: Path, peering: Peering) -> Assembly:
    source = SubversionSource(
        Subversion(lambda: Access(config_dir=str(state))), RevisionStore(state), "file:///gone"
    )
    return Assembly(
        ME,
        memory,
        FollowedFake(Notes()),
        source,
        Surroundings(Alone(), Tellers((), "n1", "c"), Unarmed(), Deaf(), peering),
        None,
        Random(1),
        Supervisor({}),
        asyncio.create_task,
    )


def drain(node: str, term: int, seq: int) -> Fact:
    value = Drain(node=node, until_epoch_s=None, reason="", by="alice")
    return Fact(key=f"drain/{node}", term=term, seq=seq, at_epoch_s=0.0, value=value)


async def test_facts_of_a_peer_are_on_disk_when_they_are_taken(
    tmp_path: Path, memory: Memory
) -> None:
    parts = assembled(memory, tmp_path, Peering(engine="builtin"))
    facts = [drain("n2", 3, 1), drain("n3", 3, 2)]
    parts.take(facts)
    assert set(parts.ledger.facts.values()) == set(facts)
    assert stored(tmp_path / "ledger.jsonl") == parts.ledger


async def test_a_hold_that_is_durable_stops_calls_before_the_reconciler_is_told(
    tmp_path: Path, memory: Memory
) -> None:
    parts = assembled(memory, tmp_path, ALONE)
    assert parts.permitted()
    hold = Hold(id="H-n2-1", reason="smoke", by="alice")
    parts.take([Fact(key="hold/H-n2-1", term=3, seq=1, at_epoch_s=0.0, value=hold)])
    assert not parts.permitted()


async def test_what_is_no_news_is_not_written_again(tmp_path: Path, memory: Memory) -> None:
    parts = assembled(memory, tmp_path, Peering(engine="builtin"))
    parts.take([drain("n2", 3, 5)])
    size = (tmp_path / "ledger.jsonl").stat().st_size
    parts.take([drain("n2", 3, 5), drain("n2", 2, 9)])
    parts.take([])
    assert (tmp_path / "ledger.jsonl").stat().st_size == size
    parts.take([drain("n2", 3, 6)])
    assert (tmp_path / "ledger.jsonl").stat().st_size > size


async def test_a_disk_that_fails_takes_nothing(
    tmp_path: Path, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_file: int) -> None:
        raise OSError(28, "No space left on device")

    parts = assembled(memory, tmp_path, Peering(engine="builtin"))
    monkeypatch.setattr(os, "fdatasync", full)
    with pytest.raises(OSError, match="No space"):
        parts.take([drain("n2", 3, 5)])
    assert dict(parts.ledger.facts) == {}


async def test_a_lease_is_on_the_clock_of_the_daemon(tmp_path: Path, memory: Memory) -> None:
    """Heartbeats count from the boot of the machine, the daemon from the epoch."""
    parts = assembled(memory, tmp_path, Peering(engine="builtin"))
    view = View(
        me="n1",
        term=4,
        leader="n1",
        acts_from_s=BOOT_S - 1.0,
        lead_until_s=BOOT_S + 3.0,
        peers={"n1": Peer(state=PeerState.ALIVE)},
        engine="builtin",
    )
    parts.saw(view)
    assert parts.view == replace(view, acts_from_s=WALL_S - 1.0, lead_until_s=WALL_S + 3.0)
    assert parts.view.may_act(WALL_S)
    assert not parts.view.may_act(WALL_S + 3.0)


async def test_before_the_first_heartbeat_nothing_is_known(tmp_path: Path, memory: Memory) -> None:
    memory.ledger.append([drain("n2", 6, 1)])
    view = assembled(memory, tmp_path, Peering(engine="builtin")).view
    assert (view.leader, view.term, view.alone, dict(view.peers)) == (None, 6, False, {})
    assert not view.may_act(WALL_S)


async def test_one_that_is_alone_begins_a_term_above_all_it_knows(
    tmp_path: Path, memory: Memory
) -> None:
    memory.ledger.append([drain("n2", 6, 1)])
    parts = assembled(memory, tmp_path, ALONE)
    assert (parts.view.leader, parts.view.term) == ("n1", 7)
    assert stored(tmp_path / "ledger.jsonl").term == 7
