"""A daemon among its peers: facts, views, candidacy, trees and the roster, over real sockets."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec
import pytest

from membership.edge.invitation import accept
from membership.edge.stored import ROSTER
from membership.ledger import Target
from membership.roster import Candidacy, Member, Roster
from reconciler.edge import peering
from reconciler.edge.alone import Alone
from schema import tree
from tests.edge.peer_links import (
    KEY,
    TIMING,
    LinkedNode,
    fact,
    given,
    linked,
    opened,
    until,
    until_open,
)

FILES = {"cluster.yaml": b"apiVersion: cxm/v1\nkind: Cluster\n", "README": b"\xff\x00"}
TARGET = Target(repository="r", revision=3, digest=tree.digest(FILES))


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes on by itself goes on ten times as fast."""
    monkeypatch.setattr(peering, "RENEW_S", 0.05)
    monkeypatch.setattr(peering, "RENEW_WITHIN_S", 0.3)
    monkeypatch.setattr(peering, "WATCH_S", 0.05)
    monkeypatch.setattr(peering, "BIND_AGAIN_S", 0.05)


def facts_of(node: LinkedNode) -> set[str]:
    return set(node.inside.ledger.facts)


def candidacies(node: LinkedNode) -> list[Candidacy]:
    return [asked.candidacy for asked in node.asked if asked.candidacy is not None]


# --- facts ----------------------------------------------------------------------------------------


async def test_what_is_shared_is_with_every_peer_when_it_returns(tmp_path: Path) -> None:
    async with linked(tmp_path, 3, {}) as (one, two, three):
        one.inside.take([fact(1)])
        assert set(await one.link.share([fact(1)])) == {"xen2", "xen3"}
        assert facts_of(two) == facts_of(three) == {"drain/n1"}


async def test_sharing_ends_though_a_peer_is_not_there_or_nobodys(tmp_path: Path) -> None:
    async with linked(tmp_path, 3, {3: b"another-key-of-another-cluster-0123456789"}) as nodes:
        one, two, three = nodes
        await two.link.close()
        await one.link.share([fact(1)])
        assert facts_of(two) == facts_of(three) == set()


async def test_what_a_node_missed_it_gets_once_heartbeats_tell(tmp_path: Path) -> None:
    async with linked(tmp_path, 2, {}) as (one, two):
        two.inside.take([fact(1)])
        one.inside.take([fact(2)])
        one.see("xen2", notes={"ledger": two.inside.ledger.digest})
        await until(lambda: facts_of(one) == facts_of(two) == {"drain/n1", "drain/n2"})


async def test_gathering_brings_all_here_and_names_who_told(tmp_path: Path) -> None:
    async with linked(tmp_path, 3, {}) as (one, two, three):
        two.inside.take([fact(2)])
        three.inside.take([fact(3)])
        assert set(await one.link.gather(3.0)) == {"xen2", "xen3"}
        assert facts_of(one) == {"drain/n2", "drain/n3"}
        await three.link.close()
        assert await one.link.gather(3.0) == ("xen2",)


async def test_who_holds_what_is_asked_of_them(tmp_path: Path) -> None:
    async with linked(tmp_path, 2, {}) as (one, two):
        one.inside.take([fact(1)])
        assert await one.link.holds("xen2")
        assert facts_of(two) == {"drain/n1"}
        await two.link.close()
        assert not await one.link.holds("xen2")


@pytest.mark.parametrize("by", ["a peer", "itself"])
async def test_a_ledger_that_cannot_be_written_ends_the_daemon(tmp_path: Path, by: str) -> None:
    async with linked(tmp_path, 2, {}) as (one, two):
        two.inside.broken = OSError(28, "No space left on device")
        one.inside.take([fact(1)])
        if by == "a peer":
            assert not await one.link.holds("xen2")
        else:
            with pytest.raises(OSError, match="No space"):
                await two.link.gather(3.0)
        with pytest.RaisesGroup(pytest.RaisesExc(OSError, match="No space")):
            await asyncio.wait_for(two.running, 5.0)
        assert not one.running.done()


async def test_seals_are_for_who_has_the_key(tmp_path: Path) -> None:
    async with linked(tmp_path, 3, {3: b"another-key-of-another-cluster-0123456789"}) as nodes:
        one, two, three = nodes
        sealed = one.link.seal("OpaqueRef:x")
        assert "OpaqueRef" not in sealed
        assert two.link.unseal(sealed) == "OpaqueRef:x"
        assert three.link.unseal(sealed) == ""


# --- requests of people ---------------------------------------------------------------------------


async def test_a_request_reaches_the_peer_and_its_answer_comes_back(tmp_path: Path) -> None:
    async with linked(tmp_path, 2, {}) as (one, two):
        assert await one.link.ask("xen2", b'{"ask":"look"}', 5.0) == (
            409,
            b'{"reason":"NotLeader"}',
        )
        assert two.requests == [("xen1", b'{"ask":"look"}')]
        await two.link.close()
        with pytest.raises(OSError, match="xen2"):
            await one.link.ask("xen2", b"{}", 5.0)
        with pytest.raises(OSError, match="no address"):
            await one.link.ask("xen9", b"{}", 5.0)


async def test_a_node_joins_by_a_code_of_ours(tmp_path: Path) -> None:
    async with linked(tmp_path, 1, {}) as (one,):
        joined = await accept(one.host, one.port, await one.link.invite("n3"))
        assert (joined.name, joined.bundle) == ("n3", b"{}")


# --- views ----------------------------------------------------------------------------------------


async def test_a_view_that_is_not_renewed_says_nothing_any_more(tmp_path: Path) -> None:
    async with linked(tmp_path, 2, {}) as (one, two):
        assert one.inside.views[-1] == one.view
        one.beats = False
        began_s = asyncio.get_running_loop().time()
        await until(lambda: one.inside.views[-1].leader is None)
        assert asyncio.get_running_loop().time() - began_s == pytest.approx(TIMING.view_s, abs=0.5)
        lost = one.inside.views[-1]
        assert (lost.me, lost.engine, lost.term, dict(lost.peers)) == ("xen1", "builtin", 3, {})
        assert "cxm-heartbeatd" in lost.reason
        count = len(one.inside.views)
        await asyncio.sleep(0.3)
        assert len(one.inside.views) == count
        # What people ask of this node in the meantime still reaches the peers it knew.
        one.inside.take([fact(1)])
        await one.link.share([fact(1)])
        assert facts_of(two) == {"drain/n1"}
        one.beats = True
        await until(lambda: one.inside.views[-1] == one.view)


async def test_heartbeats_that_were_started_anew_are_heard_again(tmp_path: Path) -> None:
    async with linked(tmp_path, 1, {}) as (one,):
        one.heartbeats.close()
        await until(lambda: one.inside.views[-1].leader is None)
        await one.heartbeats.open(one.shown, one.asked.append)
        await until(lambda: one.inside.views[-1] == one.view)
        count = len(candidacies(one))
        await until(lambda: len(candidacies(one)) > count)


# --- candidacy ------------------------------------------------------------------------------------


async def test_candidacy_says_what_the_reconciler_says(tmp_path: Path) -> None:
    async with linked(tmp_path, 1, {}) as (one,):
        await until(lambda: bool(candidacies(one)))
        digest = one.inside.ledger.digest
        assert candidacies(one)[-1] == Candidacy(floor=7, notes={"ledger": digest})
        assert all(asked.at_s is not None for asked in one.asked)
        assert (one.state / "alive").stat().st_size > 0


async def test_no_candidacy_while_the_reconciler_does_not_answer(tmp_path: Path) -> None:
    async with linked(tmp_path, 1, {}) as (one,):
        await until(lambda: bool(candidacies(one)))
        one.inside.slow_s = 60.0
        await asyncio.sleep(0.2)
        count = len(candidacies(one))
        await asyncio.sleep(1.0)
        assert len(candidacies(one)) == count
        one.inside.slow_s = 0.0
        await until(lambda: len(candidacies(one)) > count)


async def test_no_candidacy_while_the_disk_cannot_be_written(tmp_path: Path) -> None:
    async with linked(tmp_path, 1, {}) as (one,):
        await until(lambda: bool(candidacies(one)))
        proof = one.state / "alive"
        proof.unlink()
        proof.mkdir()
        await asyncio.sleep(0.2)
        count = len(candidacies(one))
        await asyncio.sleep(0.5)
        assert len(candidacies(one)) == count
        assert not one.running.done()
        proof.rmdir()
        await until(lambda: len(candidacies(one)) > count)


async def test_no_candidacy_while_the_disk_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    freed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hangs(_path: Path) -> None:
        asyncio.run_coroutine_threadsafe(freed.wait(), loop).result()

    async with linked(tmp_path, 1, {}) as (one,):
        await until(lambda: bool(candidacies(one)))
        monkeypatch.setattr(peering, "_prove_disk", hangs)
        await asyncio.sleep(0.2)
        count = len(candidacies(one))
        await asyncio.sleep(1.0)
        assert len(candidacies(one)) == count
        freed.set()
        await until(lambda: len(candidacies(one)) > count)


@pytest.mark.parametrize(("to", "asked"), [("xen2", "xen2"), ("", None)])
async def test_leadership_is_handed_over(tmp_path: Path, to: str, asked: str | None) -> None:
    async with linked(tmp_path, 2, {}) as (one, _two):
        one.link.hand_over(to)
        await until(lambda: any(line.hand_over is not None for line in one.asked))
        (line,) = [line.hand_over for line in one.asked if line.hand_over is not None]
        assert line.to == asked


# --- trees ----------------------------------------------------------------------------------------


async def test_a_tree_comes_from_whichever_peer_has_it(tmp_path: Path) -> None:
    async with linked(tmp_path, 3, {}) as (one, two, three):
        assert (await given(three, FILES, TARGET)).tree is not None
        staged = await one.link.stage(TARGET, 0, 10.0)
        assert staged.target == TARGET
        assert staged.tree is not None
        assert staged.tree.digest == TARGET.digest
        folder = one.source.folder(TARGET.revision, TARGET.digest)
        assert folder is not None
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
        one.source.keep(TARGET.revision, TARGET.digest)
        assert two.source.folder(TARGET.revision, TARGET.digest) is None
        # From now on it is one more that has it.
        await three.link.close()
        assert (await two.link.stage(TARGET, 0, 10.0)).tree is not None


async def test_a_tree_that_nobody_has_is_told(tmp_path: Path) -> None:
    async with linked(tmp_path, 2, {}) as (one, two):
        assert (await one.link.stage(TARGET, 0, 10.0)).message == "xen2 does not have r3"
        await two.link.close()
        assert (await one.link.stage(TARGET, 0, 10.0)).message.startswith("xen2: ")
        one.see()
        await until(lambda: "xen2" not in one.inside.views[-1].peers)
        staged = await one.link.stage(TARGET, 0, 10.0)
        assert (staged.tree, staged.message) == (None, "no peer that could be reached has it")


async def test_a_tree_that_was_changed_on_the_peers_disk_is_not_taken(tmp_path: Path) -> None:
    async with linked(tmp_path, 3, {}) as (one, two, three):
        for node in (two, three):
            await given(node, FILES, TARGET)
        folder = two.source.folder(TARGET.revision, TARGET.digest)
        assert folder is not None
        (folder / "README").write_bytes(b"changed")
        staged = await one.link.stage(TARGET, 0, 10.0)
        assert staged.tree is not None
        await three.link.close()
        own = one.source.folder(TARGET.revision, TARGET.digest)
        assert own is not None
        assert (own / "README").read_bytes() == FILES["README"]


async def test_what_cannot_be_read_is_not_served(tmp_path: Path) -> None:
    async with linked(tmp_path, 2, {}) as (one, two):
        await given(two, FILES, TARGET)
        folder = two.source.folder(TARGET.revision, TARGET.digest)
        assert folder is not None
        (folder / "README").unlink()
        (folder / "README").mkdir()
        (folder / "README" / "x").symlink_to("/etc/passwd")
        assert await two.link.tree(TARGET.revision, TARGET.digest) == {
            "cluster.yaml": FILES["cluster.yaml"],
            "README/x": b"link /etc/passwd",
        }
        assert (await one.link.stage(TARGET, 0, 10.0)).tree is None
        assert await two.link.tree(99, "ab") is None


# --- the roster, and where to listen --------------------------------------------------------------


def written(node: LinkedNode) -> Roster:
    return msgspec.json.decode((node.state / ROSTER).read_bytes(), type=Roster)


async def test_the_roster_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    async with linked(tmp_path, 1, {}) as (one,):
        first = one.roster(one.member, revision=2)
        one.link.muster(first)
        assert written(one) == first
        assert not (one.state / (ROSTER + ".new")).exists()
        (one.state / (ROSTER + ".new")).mkdir()
        with pytest.raises(IsADirectoryError):
            one.link.muster(one.roster(one.member, revision=3))
        assert written(one) == first


async def test_what_a_crash_left_of_a_roster_does_no_harm(tmp_path: Path) -> None:
    async with linked(tmp_path, 1, {}) as (one,):
        (one.state / (ROSTER + ".new")).write_bytes(b"{" * 100_000)
        roster = one.roster(one.member, revision=2)
        one.link.muster(roster)
        assert written(one) == roster


async def test_it_listens_where_the_tree_says_and_moves_with_it(tmp_path: Path) -> None:
    async with linked(tmp_path, 2, {}) as (one, two):
        moved = Member(name="xen2", doors=(("127.0.4.22", two.port),))
        for node in (one, two):
            node.link.muster(node.roster(one.member, moved, revision=2))
        await until_open("127.0.4.22", two.port)
        assert not await opened(two.host, two.port)
        one.inside.take([fact(1)])
        await one.link.share([fact(1)])
        assert facts_of(two) == {"drain/n1"}


async def test_an_address_that_is_not_ours_yet_is_tried_again(tmp_path: Path) -> None:
    async with linked(tmp_path, 2, {}) as (one, two):
        taken = await asyncio.start_server(lambda *_: None, "127.0.4.22", two.port)
        moved = Member(name="xen2", doors=(("127.0.4.22", two.port),))
        for node in (one, two):
            node.link.muster(node.roster(one.member, moved, revision=2))
        await asyncio.sleep(0.3)
        assert not two.running.done()
        assert not await opened(two.host, two.port)
        taken.close()
        await taken.wait_closed()
        await until_open("127.0.4.22", two.port)
        one.inside.take([fact(1)])
        await one.link.share([fact(1)])
        assert facts_of(two) == {"drain/n1"}


# --- other keys -----------------------------------------------------------------------------------

NEW = b"second-key-of-the-cluster-32-chars-or-more"


async def reaches(one: LinkedNode, two: LinkedNode) -> bool:
    try:
        return (await one.link.ask(two.name, b"{}", 5.0))[0] == 409
    except OSError:
        return False


async def speak_by(one: LinkedNode, two: LinkedNode) -> None:
    """They reach each other, both ways, again or still."""
    end_s = time.monotonic() + 10.0
    while not (await reaches(one, two) and await reaches(two, one)):
        assert time.monotonic() < end_s, "they do not reach each other"
        await asyncio.sleep(0.05)


async def test_keys_change_in_rounds_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peering, "KEYS_EVERY_S", 0.05)
    async with linked(tmp_path, 2, {}) as (one, two):
        sealed = one.link.seal("OpaqueRef:x")
        await speak_by(one, two)
        for keys in ((KEY, NEW), (NEW, KEY), (NEW,)):
            for node in (one, two):
                before = node.link._identity.fingerprint
                node.have_keys(*keys)
                await until(lambda n=node, b=before: n.link._identity.fingerprint != b)  # type: ignore[misc]
                await speak_by(one, two)
                assert two.link.unseal(one.link.seal("OpaqueRef:y")) == "OpaqueRef:y"
        assert two.link.unseal(sealed) == "", "the old key is no longer known"
        one.have_keys(KEY)
        await until(lambda: one.link._identity.keys == (KEY,))
        assert not await reaches(one, two)
        assert not await reaches(two, one)


async def test_keys_that_cannot_be_used_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(peering, "KEYS_EVERY_S", 0.05)
    async with linked(tmp_path, 2, {}) as (one, two):
        one.have_keys(b"short")
        await until(lambda: "cluster-key-unusable" in capsys.readouterr().out)
        assert await reaches(one, two)
        one.have_keys(KEY, NEW)
        await until(lambda: one.link._identity.keys == (KEY, NEW))
        await speak_by(one, two)


# --- nobody else ----------------------------------------------------------------------------------


async def test_one_that_is_alone_has_nobody_to_wait_for() -> None:
    alone = Alone()
    alone.attach(object())
    await alone.run()
    await alone.share([fact(1)])
    assert await alone.gather(60.0) == ()
    staged = await alone.stage(TARGET, 0, 60.0)
    assert (staged.target, staged.tree) == (TARGET, None)
    assert not await alone.holds("xen2")
    assert await alone.invite("n3") == ""
    assert alone.unseal(alone.seal("OpaqueRef:x")) == "OpaqueRef:x"
    with pytest.raises(OSError, match="xen2"):
        await alone.ask("xen2", b"", 1.0)
    await alone.close()
