"""etcd killed, frozen, locked: who leads then, what is told, and that it ends by itself."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from membership.edge.etcd import EtcdEngine
from membership.edge.node_settings import EngineAccess
from membership.view import Standing
from tests.membership.engines.engine_sets import EtcdSet
from tests.membership.etcd.contender_process import TIMING, boot_s
from tests.membership.etcd.real_etcd import PASSWORD, Authority, EtcdCluster

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.xdist_group("etcd")


async def until(true: Callable[[], object], within_s: float = 15.0) -> None:
    end_s = boot_s() + within_s
    while not true():
        assert boot_s() < end_s, "it did not come to pass"
        await asyncio.sleep(0.02)


def leader(nodes: EtcdSet) -> str | None:
    """The one that all know, or None."""
    known = {nodes.watch.last(name).leader for name in nodes.names}
    return known.pop() if len(known) == 1 else None


async def led(nodes: EtcdSet, not_by: str | None = None) -> tuple[str, int]:
    """Who leads and in which term, once all stand."""
    for each in nodes.names:
        nodes.stand(each, True, 0)
    await until(lambda: leader(nodes) not in (None, not_by))
    name = leader(nodes)
    assert name is not None
    return name, nodes.watch.last(name).term


# --- members of etcd -------------------------------------------------------------------------------


async def test_a_member_that_is_killed_is_left_for_another(
    nodes: EtcdSet, etcd: EtcdCluster
) -> None:
    name, _ = await led(nodes)
    etcd.kill(etcd.leader())
    await until(lambda: any("connection" in text for text in nodes.troubles))
    await until(lambda: leader(nodes) is not None)
    first, term = await led(nodes)
    await asyncio.sleep(3.0)
    assert (leader(nodes), nodes.watch.last(first).term) == (first, term)
    assert name in nodes.names


@pytest.mark.parametrize("hurt", [EtcdCluster.kill, EtcdCluster.freeze])
async def test_without_a_majority_leadership_lapses_in_time_and_resumes_in_a_higher_term(
    nodes: EtcdSet, etcd: EtcdCluster, hurt: Callable[..., None]
) -> None:
    name, term = await led(nodes)
    hurt(etcd, 0, 1)
    until_s = nodes.watch.last(name).lead_until_s
    await until(lambda: nodes.watch.last(name).leader is None)
    assert boot_s() - until_s < 0.3, "it must lapse when it lapses, whatever is being asked"
    await until(lambda: {nodes.watch.last(each).leader for each in nodes.names} == {None})
    await asyncio.sleep(3.0)
    assert {nodes.watch.last(each).leader for each in nodes.names} == {None}
    assert nodes.engines[name].reason == "etcd does not answer"
    etcd.heal()
    _, higher = await led(nodes)
    assert higher > term


async def test_all_of_etcd_killed_and_back_knows_no_token_and_is_logged_in_to_again(
    nodes: EtcdSet, etcd: EtcdCluster
) -> None:
    await led(nodes)
    etcd.kill(0, 1, 2)
    await asyncio.sleep(2.5)
    etcd.heal()
    await led(nodes)
    nodes.troubles.clear()
    await asyncio.sleep(2.0)
    assert nodes.troubles == []


# --- a holder in a process of its own ----------------------------------------------------------------


class Process:
    """A contender that can be killed and frozen."""

    def __init__(self, etcd: EtcdCluster, cluster_id: str, name: str, folder: Path) -> None:
        self._out = folder / f"{name}.out"
        access = msgspec.json.encode(etcd.access()).decode()
        module = "tests.membership.etcd.contender_process"
        with self._out.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, access, cluster_id, name], cwd=ROOT, stdout=out
            )

    def told(self) -> list[tuple[float, Standing]]:
        lines = self._out.read_bytes().rpartition(b"\n")[0].splitlines()
        rows = [msgspec.json.decode(line) for line in lines]
        return [(row["at_s"], msgspec.convert(row["standing"], Standing)) for row in rows]

    @property
    def last(self) -> Standing:
        told = self.told()
        return told[-1][1] if told else Standing()


@pytest.fixture
def holder(etcd: EtcdCluster, nodes: EtcdSet, tmp_path: Path) -> Iterator[Process]:
    """Leads the same cluster as `nodes`, which only look on."""
    process = Process(etcd, nodes.cluster_id, "z", tmp_path)
    yield process
    process.process.kill()
    process.process.wait()


async def test_a_holder_that_is_killed_is_followed_after_its_lease(
    nodes: EtcdSet, holder: Process
) -> None:
    await until(lambda: holder.last.leader == "z" and leader(nodes) == "z")
    holder.process.kill()
    old = holder.last
    _, term = await led(nodes, not_by="z")
    assert term > old.term
    acts_from_s = max(nodes.watch.last(name).acts_from_s for name in nodes.names)
    assert acts_from_s > old.lead_until_s + 2.9, "what it began has 3 s to end"


async def test_a_holder_that_was_frozen_wakes_as_a_follower(
    nodes: EtcdSet, holder: Process
) -> None:
    await until(lambda: holder.last.leader == "z" and leader(nodes) == "z")
    holder.process.send_signal(signal.SIGSTOP)
    frozen = holder.last
    name, term = await led(nodes, not_by="z")
    woken_s = boot_s()
    holder.process.send_signal(signal.SIGCONT)
    await until(lambda: holder.last.leader == name)
    late = [standing for at_s, standing in holder.told() if at_s > woken_s]
    assert all(standing.lead_until_s <= frozen.lead_until_s + 0.5 for standing in late)
    assert (holder.last.leader, holder.last.term) == (name, term)


async def test_who_leaves_lets_the_next_one_lead_at_once(nodes: EtcdSet) -> None:
    first, _ = await led(nodes)
    begun_s = boot_s()
    await nodes.engines[first].leave()
    assert boot_s() - begun_s < 1.0
    others = [name for name in nodes.names if name != first]
    await until(lambda: nodes.watch.last(others[0]).leader in others, within_s=1.5)


# --- what is told ----------------------------------------------------------------------------------


class Lone:
    """One engine with settings of its own, and what it told."""

    def __init__(self, access: EngineAccess) -> None:
        self.told: list[str] = []
        self.standing = Standing()
        self.engine = EtcdEngine(
            access, str(uuid.uuid4()), "a", TIMING, self._granted, boot_s, self.told.append
        )
        self.engine.stand(True, 0)
        self.task = asyncio.get_running_loop().create_task(self.engine.run())

    def _granted(self, standing: Standing) -> None:
        self.standing = standing

    async def keep_trying(self) -> list[str]:
        """What it told in a while in which it could try a dozen times."""
        await asyncio.sleep(3.0)
        assert not self.task.done()
        assert self.standing == Standing()
        return sorted(self.told)

    def close(self) -> None:
        self.task.cancel()


async def test_a_wrong_password_is_told_once_a_member_and_a_corrected_one_is_taken_up(
    etcd: EtcdCluster, tmp_path: Path
) -> None:
    secret = tmp_path / "etcd"
    secret.write_text("wrong\n")
    secret.chmod(0o600)
    lone = Lone(replace(etcd.access(), credential=str(secret)))
    assert await lone.keep_trying() == sorted(
        f"etcd {endpoint}: etcdserver: authentication failed, invalid user ID or password;"
        " check engine.user (cxm) and the file of its credentialsRef"
        for endpoint in etcd.endpoints
    )
    secret.write_text(f"{PASSWORD}\n")
    await until(lambda: lone.standing.leader == "a")
    lone.close()


@pytest.mark.parametrize(
    ("mode", "says"), [(0o644, "others can read it; run chmod 0600"), (None, "No such file")]
)
async def test_a_password_that_cannot_be_trusted_is_not_used(
    etcd: EtcdCluster, tmp_path: Path, mode: int | None, says: str
) -> None:
    secret = tmp_path / "etcd"
    if mode is not None:
        secret.write_text(f"{PASSWORD}\n")
        secret.chmod(mode)
    lone = Lone(replace(etcd.access(), credential=str(secret)))
    told = await lone.keep_trying()
    assert len(told) == len(etcd.endpoints)
    assert all(f"{secret}: {says}" in text for text in told)
    lone.close()


async def test_members_that_another_authority_vouches_for_are_not_spoken_to(
    etcd: EtcdCluster, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other")
    lone = Lone(replace(etcd.access(), ca_file=str(other.ca)))
    told = await lone.keep_trying()
    assert len(told) == len(etcd.endpoints)
    assert all(f"its certificate is not proven by {other.ca}: " in text for text in told)
    lone.close()


async def test_a_login_that_is_missing_or_not_asked_for_is_told(etcd: EtcdCluster) -> None:
    lone = Lone(replace(etcd.access(), user=None, credential=None))
    told = await lone.keep_trying()
    assert len(told) == len(etcd.endpoints)
    assert all("it wants a login: set engine.user" in text for text in told)
    lone.close()


async def test_what_others_wrote_to_the_keys_is_told_and_left_alone(
    nodes: EtcdSet, etcd: EtcdCluster
) -> None:
    key = f"/cxm/{nodes.cluster_id}/base"
    etcd.etcdctl("put", key, "rubbish")
    nodes.stand("a", True, 0)
    await until(lambda: len(nodes.troubles) == len(nodes.names))
    await asyncio.sleep(1.5)
    says = f"etcd: key {key} does not hold what cxm writes there; remove it (etcdctl del {key})"
    assert nodes.troubles == [says] * len(nodes.names)
    assert "rubbish" in etcd.etcdctl("get", key)
    etcd.etcdctl("del", key)
    await until(lambda: leader(nodes) == "a")


async def test_a_key_that_is_held_by_a_stranger_is_waited_for(
    nodes: EtcdSet, etcd: EtcdCluster
) -> None:
    key = f"/cxm/{nodes.cluster_id}/leader"
    etcd.etcdctl("put", key, "rubbish")
    nodes.stand("a", True, 0)
    await until(lambda: "a stranger" in nodes.engines["a"].reason)
    await asyncio.sleep(1.0)
    assert nodes.watch.last("a").leader is None
    etcd.etcdctl("del", key)
    await until(lambda: leader(nodes) == "a")
