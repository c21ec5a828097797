"""`cxm init --join` against the peer channel of a member: real TLS, real codes."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from cli.demo.children import free_port
from membership.edge.bundle import packed
from membership.edge.identity import Identity
from membership.edge.invitation import Invitations
from membership.edge.peer_server import PeerServer
from membership.ledger import Fact, Ledger
from schema.settings import read_settings
from tests.cli.conftest import Cxm

CLUSTER = "6caf76a5-7035-48ae-8280-ad3729a6f2e7"
KEY = "k" * 43


class Member:
    """What a member of the cluster answers with: nothing but the way in."""

    ledger = Ledger()

    def __init__(self, config: Path) -> None:
        identity = Identity("xen1", CLUSTER, [KEY.encode()])
        self._invitations = Invitations(identity, lambda: packed(config), time.monotonic)
        self._server = PeerServer(identity, self)
        self._loop = asyncio.new_event_loop()
        self.address = ("127.0.0.1", free_port())

    def take(self, facts: Sequence[Fact]) -> None:
        raise AssertionError(facts)

    async def asked(self, peer: str, body: bytes) -> tuple[int, bytes]:
        raise AssertionError(peer, body)

    async def tree(self, revision: int, digest: str) -> Mapping[str, bytes] | None:
        raise AssertionError(revision, digest)

    async def joining(self, body: bytes) -> tuple[int, bytes]:
        return await self._invitations.joining(body)

    def __enter__(self) -> Member:
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        assert self._run(self._server.listen([self.address])) == {}
        return self

    def __exit__(self, *raised: object) -> None:
        self._run(self._server.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def invite(self, name: str = "xen2") -> str:
        return str(self._run(self._invitations.invite(name)))

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)


@pytest.fixture
def member(tmp_path: Path) -> Iterator[Member]:
    folder = tmp_path / "xen1"
    (folder / "secrets.d").mkdir(parents=True)
    for name, secret in (("pool", "p"), ("subversion", "s"), ("cluster-key", KEY)):
        (folder / "secrets.d" / name).write_text(f"{secret}\n", encoding="utf-8")
    (folder / "ca.pem").write_text("CERTIFICATE\n", encoding="utf-8")
    (folder / "node.yaml").write_text(
        f"""\
node: xen1
cluster: {{id: {CLUSTER}}}
source: {{url: "svn://10.0.0.9/lyon", user: cxm, credentialsRef: subversion}}
xenapi: {{addresses: [10.0.0.1], credentialsRef: pool, caFile: {folder}/ca.pem}}
clusterKeyRef: cluster-key
engine: {{kind: builtin}}
listen: {{heartbeat: 7000/udp, peer: 7001}}
stateDir: /srv/state
""",
        encoding="utf-8",
    )
    with Member(folder / "node.yaml") as up:
        yield up


def join(cxm: Cxm, member: Member, tmp_path: Path, code: str) -> Any:
    host, port = member.address
    place = ("--dir", tmp_path / "xen2", "--name", "xen2")
    return cxm("init", "--join", f"{host}:{port}", "--code", code, *place)


def test_a_code_gives_settings_and_secrets(cxm: Cxm, member: Member, tmp_path: Path) -> None:
    found = join(cxm, member, tmp_path, member.invite())
    assert found.exit == 0, found.err
    folder = tmp_path / "xen2"
    settings = read_settings((folder / "node.yaml").read_bytes()).settings
    assert settings is not None
    assert (settings.node, settings.cluster_id) == ("xen2", CLUSTER)
    assert (settings.engine.kind, settings.listen.heartbeat.port) == ("builtin", 7000)
    assert settings.state_dir == "/var/lib/cxm"
    assert settings.xenapi.ca_file == str(folder / "authority-1.pem")
    assert (folder / "authority-1.pem").read_text(encoding="utf-8") == "CERTIFICATE\n"
    for name, secret in (("pool", "p"), ("subversion", "s"), ("cluster-key", KEY)):
        file = folder / "secrets.d" / name
        assert file.read_text(encoding="utf-8") == f"{secret}\n"
        assert file.stat().st_mode & 0o777 == 0o600
    assert KEY not in found.out + found.err
    assert "cxm-heartbeatd" in found.out


def test_a_code_is_good_once(cxm: Cxm, member: Member, tmp_path: Path) -> None:
    code = member.invite()
    assert join(cxm, member, tmp_path / "one", code).exit == 0
    again = join(cxm, member, tmp_path / "two", code)
    assert again.exit == 4
    assert "NotJoined" in again.err
    assert "cxm node add NAME --again gives a new one" in again.err
    assert not (tmp_path / "two" / "xen2").exists()


def test_a_code_names_the_node_and_is_good_for_no_other(
    cxm: Cxm, member: Member, tmp_path: Path
) -> None:
    host, port = member.address
    words = ("init", "--join", f"{host}:{port}", "--code", member.invite("xen2"))
    found = cxm(*words, "--dir", tmp_path / "new", "--name", "xen3")
    assert found.exit == 4
    assert "for xen2, not for xen3" in found.err
    assert cxm(*words, "--dir", tmp_path / "new", "--name", "Xen 2").exit == 64
    assert not (tmp_path / "new").exists()
    found = cxm(*words, "--dir", tmp_path / "new")
    assert found.exit == 0, "neither has spent it"
    settings = read_settings((tmp_path / "new" / "node.yaml").read_bytes()).settings
    assert settings is not None
    assert settings.node == "xen2"
    assert "lost its state" in found.out


@pytest.mark.parametrize("there", [True, False])
def test_a_tree_in_a_folder_of_another_machine_is_no_source(
    cxm: Cxm, member: Member, tmp_path: Path, there: bool
) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    if there:
        (repository / "format").write_text("5\n", encoding="utf-8")
    config = tmp_path / "xen1" / "node.yaml"
    text = config.read_text(encoding="utf-8")
    source = f'{{url: "file://{repository}/lyon"}}'
    config.write_text(re.sub(r"source: .*", f"source: {source}", text), encoding="utf-8")
    found = join(cxm, member, tmp_path, member.invite())
    assert found.exit == (0 if there else 4), found.err
    assert (tmp_path / "xen2" / "node.yaml").exists() is there
    if not there:
        assert f"file://{repository}/lyon" in found.err
        assert "serve it" in found.err


def test_a_machine_that_belongs_to_a_cluster_stays_there(
    cxm: Cxm, member: Member, tmp_path: Path
) -> None:
    assert join(cxm, member, tmp_path, member.invite()).exit == 0
    before = (tmp_path / "xen2" / "node.yaml").read_bytes()
    code = member.invite()
    found = join(cxm, member, tmp_path, code)
    assert found.exit == 4
    assert "belongs to a cluster" in found.err
    assert (tmp_path / "xen2" / "node.yaml").read_bytes() == before
    assert join(cxm, member, tmp_path / "other", code).exit == 0, "the code was not spent on it"


def test_what_is_no_code_is_told_as_such(cxm: Cxm, member: Member, tmp_path: Path) -> None:
    found = join(cxm, member, tmp_path, "cxm1-XXXXX")
    assert found.exit == 4
    assert "no one-time code" in found.err


@pytest.mark.usefixtures("config")
def test_nobody_there(cxm: Cxm, tmp_path: Path) -> None:
    words = ("init", "--join", "127.0.0.1:1", "--code", "cxm1-00000-00000-00000-00000")
    found = cxm(*words, "--dir", tmp_path / "xen2")
    assert found.exit == 6
    assert "127.0.0.1, TCP port 1" in found.err
    assert "firewall" in found.err
    assert not (tmp_path / "xen2").exists()
