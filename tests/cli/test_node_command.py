"""`cxm node` on a real working copy, beside a scripted daemon: what is committed, and what is refused."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace

from cli import founding
from reconciler.status import Leadership, PeerStatus
from schema.settings import read_settings
from tests.cli import canned
from tests.cli.conftest import Cxm, Script

SAMPLE = Path(__file__).parents[2] / "cluster-config"
HEARD = "heartbeat: {addresses: [10.1.0.1, 10.2.0.1], disk: /dev/hb}\n"
CODE = {"code": "cxm1-AAAAA-BBBBB", "expires_s": 600}
STATUS = replace(
    canned.CALM,
    leadership=Leadership(engine="builtin", leader="xen1", term=3),
    peers=(PeerStatus(name="xen1", state="alive"), PeerStatus(name="xen2", state="alive")),
)


def svn(*arguments: object) -> str:
    done = subprocess.run(
        ["svn", *map(str, arguments)], check=True, capture_output=True, encoding="utf-8"
    )
    return done.stdout


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    tree = Path(shutil.copytree(SAMPLE, tmp_path / "tree"))
    subprocess.run(["svnadmin", "create", str(tmp_path / "repository")], check=True)
    url = f"file://{tmp_path}/repository/lyon"
    svn("import", "-q", "-m", "the pool as it is", tree, url)
    svn("checkout", "-q", url, tmp_path / "wc")
    return tmp_path / "wc"


def peer(copy: Path, *names: str) -> None:
    """Make nodes of the tree peers, as if by hand."""
    for name in names:
        file = copy / "nodes" / f"{name}.yaml"
        text = file.read_text(encoding="utf-8").replace("roles: [run]", "roles: [run, peer]")
        heard = HEARD.replace(".1,", f".{name[-1]},").replace(".1]", f".{name[-1]}]")
        file.write_text(text + heard, encoding="utf-8")
    svn("commit", "-q", "-m", "peers", copy)
    svn("update", "-q", copy)


def builtin(config: Path) -> None:
    more = "engine: {kind: builtin}\nclusterKeyRef: cluster-key\n"
    config.write_text(config.read_text(encoding="utf-8") + more, encoding="utf-8")


def add(cxm: Cxm, copy: Path, name: str, *more: object) -> Any:
    return cxm("node", "add", name, "--wc", copy, *more)


def test_the_only_node_makes_itself_a_peer(copy: Path, cxm: Cxm, config: Path) -> None:
    found = add(cxm, copy, "xen1", "--address", "10.1.0.1", "--address", "10.2.0.1:9")
    assert found.exit == 0, found.err
    text = (copy / "nodes" / "xen1.yaml").read_text(encoding="utf-8")
    assert "roles: [run, peer]\n" in text
    assert "heartbeat: {addresses: [10.1.0.1, 10.2.0.1:9]}\n" in text
    assert "xen1 becomes a peer" in svn("log", "-r", "HEAD", copy)
    settings = read_settings(config.read_bytes()).settings
    assert settings is not None
    assert (settings.engine.kind, settings.cluster_key_ref) == ("builtin", "cluster-key")
    key = config.parent / "secrets.d" / "cluster-key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert len(key.read_text(encoding="utf-8").strip()) >= 32
    assert "cxm-heartbeatd" in found.out


@pytest.mark.usefixtures("config")
def test_its_heartbeats_start_with_the_machine_from_then_on(
    copy: Path, cxm: Cxm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon that ran alone is enabled, the other one is not: a mere restart ends with the machine."""

    def starting(_: object, programs: Sequence[str], verb: str = "enable --now") -> list[str]:
        return [f"systemctl {verb} {' '.join(programs)}"]

    monkeypatch.setattr(founding, "starting", starting)
    found = add(cxm, copy, "xen1", "--address", "10.1.0.1")
    assert "systemctl enable --now cxm-heartbeatd\n  systemctl restart cxmd\n" in found.out


def test_a_peer_asks_another_one_in(copy: Path, cxm: Cxm, config: Path, daemon: Script) -> None:
    builtin(config)
    peer(copy, "xen1")
    daemon.reply = cast("Any", CODE)
    found = add(
        cxm, copy, "xen2", "--address", "10.1.0.2", "--address", "10.2.0.2", "--disk", "/dev/hb"
    )
    assert found.exit == 0, found.err
    heard = "heartbeat: {addresses: [10.1.0.2, 10.2.0.2], disk: /dev/hb}"
    assert heard in svn("cat", copy / "nodes/xen2.yaml")
    assert [path for path, _ in daemon.posted] == ["/v1/invite"]
    assert "cxm init --join 10.1.0.1:9851 --name xen2 --code cxm1-AAAAA-BBBBB" in found.out
    assert daemon.posted[0][1] == {"name": "xen2"}
    # Again: a new code, no second commit.
    head = svn("info", "--show-item", "last-changed-revision", copy, "-r", "HEAD")
    assert add(cxm, copy, "xen2", "--again").exit == 0
    assert len(daemon.posted) == 2
    assert svn("info", "--show-item", "last-changed-revision", copy, "-r", "HEAD") == head


@pytest.mark.parametrize(
    "more",
    [
        (),
        ("--address", "10.1.0.9", "--address", "10.2.0.9"),
        ("--address", "10.1.0.2", "--address", "10.2.0.2", "--disk", "/dev/other"),
        ("--disk", "/dev/other"),
    ],
)
def test_a_peer_that_is_there_is_left_as_it_is(
    copy: Path, cxm: Cxm, config: Path, daemon: Script, more: Sequence[str]
) -> None:
    builtin(config)
    peer(copy, "xen1", "xen2")
    daemon.reply = cast("Any", CODE)
    before = svn("cat", copy / "nodes/xen2.yaml")
    found = add(cxm, copy, "xen2", *more)
    assert found.exit == 4
    assert "IsPeer" in found.err
    assert "--again" in found.err
    assert daemon.posted == [], "no code was given"
    assert svn("cat", copy / "nodes/xen2.yaml") == before


def test_a_peer_moves_where_it_is_said(copy: Path, cxm: Cxm, config: Path, daemon: Script) -> None:
    builtin(config)
    peer(copy, "xen1", "xen2")
    place = ("--address", "10.1.0.9", "--address", "10.2.0.9")
    assert add(cxm, copy, "xen2", "--move", *place).exit == 0
    moved = "heartbeat: {addresses: [10.1.0.9, 10.2.0.9], disk: /dev/hb}"
    assert moved in svn("cat", copy / "nodes/xen2.yaml"), "what is not given stays"
    head = svn("info", "--show-item", "last-changed-revision", copy, "-r", "HEAD")
    assert "there already" in add(cxm, copy, "xen2", "--move", *place).out
    assert svn("info", "--show-item", "last-changed-revision", copy, "-r", "HEAD") == head
    assert daemon.posted == []


@pytest.mark.parametrize(
    ("more", "exit_"), [(("--again",), 4), (("--move", "--disk", "/dev/hb"), 4)]
)
def test_what_is_for_peers_alone(
    copy: Path, cxm: Cxm, config: Path, more: Sequence[str], exit_: int
) -> None:
    builtin(config)
    peer(copy, "xen1")
    found = add(cxm, copy, "xen2", *more)
    assert (found.exit, "NoPeer" in found.err) == (exit_, True)
    assert add(cxm, copy, "xen1", "--again", "--address", "10.1.0.1").exit == 64


@pytest.mark.parametrize(
    ("place", "code"),
    [
        (("10.1.0.1", "10.2.0.2"), "V023"),
        (("10.1.0.2",), "V035"),
        (("10.1.0.300", "10.2.0.2"), "V018"),
        (("10.1.0.2:99999", "10.2.0.2"), "V018"),
    ],
)
def test_a_place_that_cannot_work_is_refused_before_a_code_is_given(
    copy: Path, cxm: Cxm, config: Path, daemon: Script, place: Sequence[str], code: str
) -> None:
    builtin(config)
    peer(copy, "xen1")
    daemon.reply = cast("Any", CODE)
    found = add(cxm, copy, "xen2", *(word for text in place for word in ("--address", text)))
    assert found.exit == 3
    assert code in found.out + found.err
    assert daemon.posted == []
    assert svn("status", copy) == ""


def test_outside_a_working_copy_it_is_told_how_to_get_one(
    cxm: Cxm, config: Path, tmp_path: Path
) -> None:
    assert config.exists()
    (tmp_path / "elsewhere").mkdir()
    found = add(cxm, tmp_path / "elsewhere", "xen1", "--address", "10.1.0.1")
    assert found.exit == 1
    assert "elsewhere is no working copy" in found.err
    assert "svn checkout" in found.err


def test_a_repository_in_a_folder_of_this_machine_is_warned_about(
    copy: Path, cxm: Cxm, config: Path, daemon: Script
) -> None:
    builtin(config)
    text = re.sub(r"url: [^ ,}]+", f"url: file://{copy.parent}/repository/lyon", config.read_text())
    config.write_text(text, encoding="utf-8")
    peer(copy, "xen1", "xen2")
    daemon.reply = cast("Any", CODE)
    assert "folder of this machine" in add(cxm, copy, "xen2", "--again").err


def test_who_is_no_server_becomes_a_witness(
    copy: Path, cxm: Cxm, config: Path, daemon: Script
) -> None:
    builtin(config)
    peer(copy, "xen1")
    daemon.reply = cast("Any", CODE)
    unknown = add(cxm, copy, "arbiter", "--address", "10.9.0.1")
    assert unknown.exit == 1
    assert "there are xen1, xen2, xen3, xen4" in unknown.err
    assert add(cxm, copy, "xen2", "--address", "10.9.0.1", "--witness").exit == 4
    place = ("--address", "10.9.0.1", "--address", "10.9.1.1")
    assert add(cxm, copy, "arbiter", *place, "--witness").exit == 0
    assert "roles: [witness]" in svn("cat", copy / "nodes/arbiter.yaml")
    assert cxm("validate", copy).exit == 0


def test_nobody_is_asked_in_by_a_node_that_is_alone(copy: Path, cxm: Cxm, config: Path) -> None:
    assert config.exists()
    found = add(cxm, copy, "xen2", "--address", "10.1.0.2")
    assert found.exit == 4
    assert "cxm node add xen1 --address" in found.err
    assert svn("status", copy) == ""


def test_nothing_is_committed_without_a_code(copy: Path, cxm: Cxm, config: Path) -> None:
    builtin(config)
    peer(copy, "xen1")
    before = svn("info", "--show-item", "revision", "-r", "HEAD", copy)
    assert add(cxm, copy, "xen2", "--address", "10.1.0.2", "--address", "10.2.0.2").exit == 1
    assert svn("status", copy) == ""
    assert svn("info", "--show-item", "revision", "-r", "HEAD", copy) == before


def test_other_changes_are_not_committed_along(copy: Path, cxm: Cxm, config: Path) -> None:
    assert config.exists()
    file = copy / "vms" / "web1.yaml"
    file.write_text(file.read_text(encoding="utf-8") + "vcpus: 1\n", encoding="utf-8")
    found = add(cxm, copy, "xen1", "--address", "10.1.0.1")
    assert found.exit == 4
    assert "not committed" in found.err


def test_a_dry_run_shows_the_change_alone(copy: Path, cxm: Cxm, config: Path) -> None:
    before = config.read_bytes()
    found = add(cxm, copy, "xen1", "--address", "10.1.0.1", "--dry-run")
    assert found.exit == 2
    assert "+roles: [run, peer]" in found.out
    assert svn("status", copy) == ""
    assert config.read_bytes() == before


def test_an_address_that_is_none_is_told_before_the_commit(
    copy: Path, cxm: Cxm, config: Path
) -> None:
    assert config.exists()
    found = add(cxm, copy, "xen1", "--address", "not an address")
    assert found.exit == 3
    assert svn("status", copy) == ""


def test_a_peer_that_is_removed_keeps_its_server(
    copy: Path, cxm: Cxm, config: Path, daemon: Script
) -> None:
    builtin(config)
    before = svn("cat", copy / "nodes/xen2.yaml")
    peer(copy, "xen1", "xen2")
    daemon.statuses = [STATUS]
    found = cxm("node", "remove", "xen2", "--wc", copy)
    assert found.exit == 0, found.err
    assert svn("cat", copy / "nodes/xen2.yaml") == before
    assert "cluster key" in found.out


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (replace(STATUS, leadership=replace(STATUS.leadership, leader="xen2")), "Leads"),
        (replace(STATUS, peers=(PeerStatus(name="xen2", state="dead"),)), "ToRecover"),
        (replace(STATUS, peers=()), "ToRecover"),
    ],
)
def test_whom_the_cluster_needs_is_not_removed(
    copy: Path, cxm: Cxm, config: Path, daemon: Script, status: Any, word: str
) -> None:
    builtin(config)
    peer(copy, "xen1", "xen2")
    daemon.statuses = [status]
    found = cxm("node", "remove", "xen2", "--wc", copy, "-o", "json")
    assert (found.exit, found.envelope["errors"][0]["code"]) == (4, word)
    assert svn("status", copy) == ""


NEW = replace(STATUS.leadership, voters=("xen1",))


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (
            replace(STATUS, peers=(PeerStatus(name="xen2", state="blind", last_heard_s=90.0),)),
            "silent",
        ),
        (replace(STATUS, peers=(PeerStatus(name="xen2", state="dead"),), leadership=NEW), "never"),
        (
            replace(STATUS, peers=(PeerStatus(name="xen2", state="unknown"),), leadership=NEW),
            "never",
        ),
    ],
    ids=["blind", "never joined, and silent", "just added"],
)
def test_whose_server_lives_or_who_never_joined_is_removed_with_a_note(
    copy: Path, cxm: Cxm, config: Path, daemon: Script, status: Any, word: str
) -> None:
    builtin(config)
    before = svn("cat", copy / "nodes/xen2.yaml")
    peer(copy, "xen1", "xen2")
    assert any(vm.node == "xen2" for vm in status.vms)
    daemon.statuses = [status]
    found = cxm("node", "remove", "xen2", "--wc", copy)
    assert found.exit == 0, found.err
    assert word in found.out
    assert svn("cat", copy / "nodes/xen2.yaml") == before


def test_nobody_is_removed_while_no_daemon_says_who_leads(
    copy: Path, cxm: Cxm, config: Path
) -> None:
    builtin(config)
    peer(copy, "xen1", "xen2")
    assert cxm("node", "remove", "xen2", "--wc", copy).exit == 1
    assert cxm("node", "remove", "xen1", "--wc", copy).exit == 4
    assert svn("status", copy) == ""


def test_a_server_is_replaced_by_its_uuid_alone(copy: Path, cxm: Cxm, config: Path) -> None:
    assert config.exists()
    before = svn("cat", copy / "nodes/xen3.yaml")
    new = "00000000-0000-4000-8000-000000000001"
    assert cxm("node", "replace", "xen3", "--uuid", new, "--wc", copy).exit == 0
    old = "e0a3a91f-2346-4c13-bc27-ed12b10877a9"
    assert svn("cat", copy / "nodes/xen3.yaml") == before.replace(old, new)
    assert "Cxm-Accept: uuid=node/xen3" in svn("log", "-r", "HEAD", copy)
    assert cxm("node", "replace", "xen3", "--uuid", new, "--wc", copy).exit == 4
