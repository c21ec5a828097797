"""Ledgers become the same: at once where a peer is reached, and afterwards where it was not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from membership.edge import exchange, peer_client, peer_wire
from membership.ledger import Fact, Ledger, read, written
from membership.view import PeerState
from tests.membership.channel.channel_nodes import ChannelNode, fact, running

ALIVE = PeerState.ALIVE


def below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


async def until(met: Callable[[], bool], within_s: float = 5.0) -> None:
    async with asyncio.timeout(within_s):
        while not met():
            await asyncio.sleep(0.01)


async def test_who_is_reached_has_it_durable_when_that_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exchange, "SHARE_S", 0.5)
    names = ("xen1", "xen2", "xen3", "xen4", "xen5")
    nodes = one, two, three, four, five = tuple(map(ChannelNode, names))
    async with running(*nodes):
        one.see({"xen2": ALIVE, "xen3": PeerState.SUSPECT, "xen4": PeerState.DEAD, "xen5": ALIVE})
        await five.server.close()
        silent = await asyncio.start_server(lambda *_: asyncio.sleep(60), *five.door)
        one.take([fact(1)])
        async with silent:
            begun_s = time.monotonic()
            assert await one.exchange.share([fact(1)]) == {
                "xen2": True,
                "xen3": True,
                "xen5": False,
            }
            assert time.monotonic() - begun_s < 2.0
    assert list(two.ledger.facts) == list(three.ledger.facts) == ["drain/n1"]
    assert four.taken == 0


async def test_who_missed_something_acknowledges_nothing_until_it_has_all() -> None:
    """An effect rests on everything that was said before it, not on the last fact alone."""
    one, two = ChannelNode("xen1"), ChannelNode("xen2")
    async with running(one, two):
        one.see({"xen2": ALIVE})
        two.broken = OSError("disk full")
        one.take([fact(1)])
        assert await one.exchange.share([fact(1)]) == {"xen2": False}
        two.broken = None
        one.take([fact(2)])
        assert await one.exchange.share([fact(2)]) == {"xen2": True}
        assert two.ledger == one.ledger


async def test_no_fact_overtakes_one_that_was_said_before_it() -> None:
    """A hold, then the term that it is about: who knows the term asks for no hold any more."""

    class Slow(ChannelNode):
        def take(self, facts: Sequence[Fact]) -> None:
            super().take(facts)
            came.append([fact.seq for fact in facts])

    came: list[list[int]] = []
    one, two = ChannelNode("xen1"), Slow("xen2")
    async with running(one, two):
        one.see({"xen2": ALIVE})
        one.take([fact(1)])
        assert await one.exchange.share([fact(1)]) == {"xen2": True}
        hold, term = fact(2, reason="x" * 3_000_000), fact(3)
        one.take([hold])
        first = asyncio.create_task(one.exchange.share([hold]))
        await asyncio.sleep(0)
        one.take([term])
        assert await one.exchange.share([term]) == {"xen2": True}
        assert await first == {"xen2": True}
    assert came == [[1], [2], [3]]


async def test_who_missed_a_fact_is_not_told_a_later_one_first() -> None:
    """And if the sharing node dies between the two, its peer has the earlier one or none."""

    class Choosy(ChannelNode):
        def take(self, facts: Sequence[Fact]) -> None:
            if two.refuses and any(fact.seq == 2 for fact in facts):
                raise OSError("disk full")
            super().take(facts)

        refuses = True

    one, two = ChannelNode("xen1"), Choosy("xen2")
    async with running(one, two):
        one.see({"xen2": ALIVE})
        one.take([fact(1)])
        assert await one.exchange.share([fact(1)]) == {"xen2": True}
        one.take([fact(2)])
        assert await one.exchange.share([fact(2)]) == {"xen2": False}
        one.take([fact(3)])
        assert await one.exchange.share([fact(3)]) == {"xen2": False}
        assert list(two.ledger.facts.values()) == [fact(1)]
        two.refuses = False
        one.take([fact(4)])
        assert await one.exchange.share([fact(4)]) == {"xen2": True}
        assert two.ledger == one.ledger


async def test_what_a_peer_lacks_comes_in_the_order_in_which_it_was_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An exchange that is broken off in the middle has brought the ground of whatever it brought."""
    monkeypatch.setattr(peer_wire, "LARGEST_BATCH", 1)

    class Noting(ChannelNode):
        def take(self, facts: Sequence[Fact]) -> None:
            super().take(facts)
            came.extend(fact.seq for fact in facts)

    came: list[int] = []
    one, two = Noting("xen1"), Noting("xen2")
    one.take([fact(n, key=key) for n, key in ((3, "a"), (1, "z"), (2, "m"))])
    del came[:]
    async with running(one, two):
        assert await one.exchange.equal("xen2")
        assert came == [1, 2, 3]
        del came[:]
        one.ledger = Ledger()
        assert await one.exchange.equal("xen2")
        assert came == [1, 2, 3]


async def test_ledgers_that_differ_become_the_same_in_both_directions() -> None:
    one, two = ChannelNode("xen1"), ChannelNode("xen2")
    both, older, newer = fact(1), fact(2), fact(2, term=2)
    one.take([both, older, fact(3)])
    two.take([both, newer, fact(4)])
    async with running(one, two):
        one.see({"xen2": ALIVE}, {"xen2": two.ledger.digest})
        await until(lambda: one.ledger.digest == two.ledger.digest)
    assert one.ledger == two.ledger
    assert set(one.ledger.facts.values()) == {both, newer, fact(3), fact(4)}
    # What was alike was not sent.
    assert (one.taken, two.taken) == (2, 2)


async def test_a_peer_that_says_nothing_of_its_ledger_may_lack_something() -> None:
    one, two = ChannelNode("xen1"), ChannelNode("xen2")
    one.take([fact(1)])
    async with running(one, two):
        one.see({"xen2": ALIVE}, {"xen2": ""})
        await until(lambda: one.ledger == two.ledger)


async def test_ledgers_that_differ_for_ever_are_compared_once_a_second() -> None:
    one, two = ChannelNode("xen1"), ChannelNode("xen2")
    one.take([fact(1)])
    async with running(one, two):
        two.broken = OSError("disk full")
        asked = 0
        for _ in range(20):
            one.see({"xen2": ALIVE}, {"xen2": "0" * 16})
            asked += len(one.exchange._running)
            await until(lambda: not one.exchange._running)
        assert asked == 1
        assert not await one.exchange.equal("xen2")


async def test_a_peer_that_fails_is_logged_once_and_so_is_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "cxm.peers")
    one, two = ChannelNode("xen1"), ChannelNode("xen2")
    said: list[list[str]] = []
    async with running(one, two):
        one.see({"xen2": ALIVE})
        assert await one.exchange.share([fact(1)]) == {"xen2": True}
        for number in (2, 3):
            two.broken = OSError("disk full")
            one.take([fact(number)])
            for _ in range(5):
                assert await one.exchange.share([fact(number)]) == {"xen2": False}
            two.broken = None
            for _ in range(2):
                assert await one.exchange.share([fact(number)]) == {"xen2": True}
            said.append([row.getMessage() for row in caplog.records if row.module == "exchange"])
            caplog.clear()
    assert said[0] == said[1], "it is news again"
    whole = [line.partition(":")[0] for line in said[0] if not line.startswith("over")]
    assert whole == [
        "xen2 does not acknowledge what it is told",
        "xen2 does not take what it lacks",
    ]
    assert sorted(line for line in said[0] if line.startswith("over")) == [
        f"over: {what}" for what in whole
    ]


async def test_facts_that_do_not_fit_into_one_message_all_arrive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peer_wire, "LARGEST_BATCH", 2000)
    one, two = ChannelNode("xen1"), ChannelNode("xen2")
    one.take([fact(number) for number in range(100)])
    two.take([fact(number) for number in range(50, 200)])
    two.take([fact(300, reason="x" * 5000)])
    async with running(one, two):
        assert await one.exchange.equal("xen2")
        assert one.ledger == two.ledger
        many = [fact(number) for number in range(400, 500)]
        two.take(many)
        assert await two.exchange.share(many) == {"xen1": True}
    assert one.ledger == two.ledger
    assert len(one.ledger.facts) == 301
    assert one.taken > 10


async def test_gathering_finds_what_a_peer_got_while_an_exchange_was_under_way() -> None:
    """The last intent of the old leader may reach a peer just after it told us what it knew."""

    class Late(ChannelNode):
        def take(self, facts: Sequence[Fact]) -> None:
            super().take(facts)
            if self.taken == 1:
                two.take([fact(9)])
                gathering.append(asyncio.create_task(self.exchange.gather(5.0)))

    gathering: list[asyncio.Task[tuple[str, ...]]] = []
    one, two, three = Late("xen1"), ChannelNode("xen2"), ChannelNode("xen3")
    two.take([fact(1)])
    async with running(one, two, three):
        one.see({"xen2": ALIVE, "xen3": ALIVE})
        await three.server.close()
        await one.exchange.equal("xen2")
        assert await gathering[0] == ("xen2",)
    assert set(one.ledger.facts.values()) == {fact(1), fact(9)}


async def test_gathering_counts_who_told_all_even_if_it_cannot_take_ours() -> None:
    one, two = ChannelNode("xen1"), ChannelNode("xen2")
    one.take([fact(1)])
    two.take([fact(2)])
    two.broken = OSError("disk full")
    async with running(one, two):
        assert await one.exchange.gather(5.0) == ("xen2",)
        assert not await one.exchange.equal("xen2")
    assert set(one.ledger.facts.values()) == {fact(1), fact(2)}


async def test_gathering_ends_in_time() -> None:
    one, two = ChannelNode("xen1"), ChannelNode("xen2")
    async with running(one, two):
        await two.server.close()
        silent = await asyncio.start_server(lambda *_: asyncio.sleep(60), *two.door)
        async with silent:
            begun_s = time.monotonic()
            assert await one.exchange.gather(0.3) == ()
            assert time.monotonic() - begun_s < 2.0


async def test_our_own_disk_is_never_taken_for_a_silent_peer() -> None:
    one, two = ChannelNode("xen1"), ChannelNode("xen2")
    two.take([fact(1)])
    one.broken = OSError("disk full")
    async with running(one, two):
        with pytest.raises(OSError, match="disk full"):
            await one.exchange.gather(5.0)


async def test_facts_of_a_newer_version_pass_through_and_keep_ledgers_the_same() -> None:
    one, two, three = ChannelNode("xen1"), ChannelNode("xen2"), ChannelNode("xen3")
    new = b'{"key":"fence/xen4","term":2,"seq":7,"at_epoch_s":1.0,"value":{"fact":"shot","n":[1]}}'
    more = written(fact(1))[:-2] + b',"colour":"green"}}'
    async with running(one, two, three):
        two.take([read(new), read(more)])
        assert await one.exchange.equal("xen2")
        assert await three.exchange.equal("xen1")
    assert {written(known) for known in three.ledger.facts.values()} == {new, more}
    assert one.ledger.digest == two.ledger.digest == three.ledger.digest


# --- trees ----------------------------------------------------------------------------------------


async def test_a_tree_arrives_as_it_is(tmp_path: Path) -> None:
    one, two = ChannelNode("xen1"), ChannelNode("xen2")
    files = {
        "cluster.yaml": b"kind: Cluster\n",
        "vms/web/a.yaml": b"\0\xff",
        "empty": b"",
        "not-\udcff-text": b"x",
        "large": b"z" * 3_000_000,
    }
    two.trees = {(7, "ab"): files}
    async with running(one, two):
        await one.exchange.fetch_tree("xen2", 7, "ab", tmp_path / "tree", 10.0)
        with pytest.raises(ConnectionError, match="xen2 does not have r8"):
            await one.exchange.fetch_tree("xen2", 8, "ab", tmp_path / "other", 10.0)
    assert below(tmp_path / "tree") == sorted([*files, "vms", "vms/web"])
    assert {name: (tmp_path / "tree" / name).read_bytes() for name in files} == files
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", ["../out", "a/../../out", "/out", "", ".", "..", "a\0b"])
async def test_no_name_leads_out_of_the_tree(tmp_path: Path, name: str) -> None:
    one, two = ChannelNode("xen1"), ChannelNode("xen2")
    two.trees = {(7, "ab"): {name: b"x"}}
    async with running(one, two):
        with pytest.raises(ConnectionError, match="cannot be in a tree"):
            await one.exchange.fetch_tree("xen2", 7, "ab", tmp_path / "tree", 10.0)
    assert below(tmp_path) == ["tree"]


async def test_a_tree_that_is_too_much_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = ChannelNode("xen1"), ChannelNode("xen2")
    two.trees = {
        (1, "ab"): {str(number): b"" for number in range(11)},
        (2, "ab"): {"a": b"x" * 600, "b": b"x" * 600},
        (3, "ab"): {"a": b"x" * 5000},
    }
    monkeypatch.setattr(peer_client, "MOST_FILES", 10)
    monkeypatch.setattr(peer_client, "LARGEST_TREE", 1000)
    monkeypatch.setattr(peer_client, "NAMES", 1000)
    async with running(one, two):
        for revision, why in ((1, "11 files"), (2, "1200 bytes"), (3, "more than 2000 bytes")):
            with pytest.raises(ConnectionError, match=why):
                await one.exchange.fetch_tree("xen2", revision, "ab", tmp_path / "tree", 10.0)
    assert below(tmp_path) == []


def test_what_is_no_tree_is_told(tmp_path: Path) -> None:
    for body in (b"", b"\xc1", msgspec.msgpack.encode({"a": 1}), b"\x91" * 100_000):
        with pytest.raises(ConnectionError, match="xen2 sends what is no tree"):
            peer_client._unpacked("xen2", body, tmp_path / "tree")
    assert list(tmp_path.iterdir()) == []
