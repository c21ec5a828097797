"""`cxm heartbeat`: formatting a shared disk and looking at it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.commands import heartbeat
from membership import slots
from membership.edge import disk_keeping
from membership.edge.slot_file import SlotFile
from membership.heartbeat import Beat, encode
from tests.cli import canned
from tests.cli.conftest import Cxm

CLUSTER = str(canned.CALM.cluster_id)
KEY = "a-key-of-more-than-32-characters-1"


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "WATCHED_S", 0.0)
    monkeypatch.setattr(disk_keeping, "LIVES_WITHIN_S", 0.0)


def write(path: Path, key: str) -> None:
    beat = Beat(cluster=CLUSTER, sender="xen2", generation=4, nonce=b"n", seq=9, channel=255)
    disk = SlotFile(path, writing=True)
    disk.write(1 + 5, slots.pack(encode(beat, key.encode())))
    disk.close()


def test_a_disk_is_made_for_the_cluster_of_this_node(
    config: Path, tmp_path: Path, cxm: Cxm
) -> None:
    path = tmp_path / "disk"
    done = cxm("heartbeat", "format", path, "-o", "json")
    assert done.exit == 0
    assert done.envelope["data"]["cluster_id"] == CLUSTER
    assert config.exists()
    shown = cxm("heartbeat", "show", path)
    assert shown.exit == 0
    assert done.envelope["data"]["disk_id"] in shown.out
    assert "no slot was written yet" in shown.out


def test_what_lies_there_is_told_and_kept(tmp_path: Path, cxm: Cxm) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"LUKS\xba\xbe" + bytes(2_000_000))
    refused = cxm("heartbeat", "format", path, "--cluster-id", CLUSTER)
    assert refused.exit == 4
    assert "holds a LUKS volume" in refused.err
    assert "--force" in refused.err
    assert path.read_bytes().startswith(b"LUKS")
    forced = cxm("heartbeat", "format", path, "--cluster-id", CLUSTER, "--force")
    assert (forced.exit, CLUSTER in forced.out) == (0, True)


def test_who_writes_there_is_shown(config: Path, tmp_path: Path, cxm: Cxm) -> None:
    path = tmp_path / "disk"
    cxm("heartbeat", "format", path)
    write(path, KEY)
    row = cxm("heartbeat", "show", path).out.splitlines()[-1].split()
    assert row == ["5", "xen2", "4", "0", "no", "not", "checked"]
    secret = config.parent / "secrets.d/cluster-key"
    secret.write_text(KEY + "\n")
    secret.chmod(0o600)
    config.write_text(config.read_text() + "clusterKeyRef: cluster-key\n")
    assert cxm("heartbeat", "show", path).out.splitlines()[-1].endswith("good")
    write(path, KEY[::-1])
    assert cxm("heartbeat", "show", path).out.splitlines()[-1].endswith("of no key of ours")
    (slot,) = cxm("heartbeat", "show", path, "-o", "json").envelope["data"]["slots"]
    assert slot == {
        "slot": 5, "node": "xen2", "generation": 4, "seq": 9, "alive": False, "verified": False
    }  # fmt: skip


def test_what_is_no_heartbeat_disk(config: Path, tmp_path: Path, cxm: Cxm) -> None:
    path = tmp_path / "disk"
    path.write_bytes(bytes(2_000_000))
    for words in (("show", path), ("show", config)):
        done = cxm("heartbeat", *words)
        assert done.exit == 1
        assert "cxm heartbeat format" in done.err
    assert cxm("heartbeat", "show", tmp_path / "none").exit == 1
    assert cxm("heartbeat", "format", path, "--cluster-id", "x").exit == 64


def test_help_and_names_are_those_of_every_command(cxm: Cxm, tmp_path: Path) -> None:
    found = cxm("heartbeat")
    assert found.exit == 64
    assert "\\n" not in found.err
    shown = cxm("heartbeat", "show", tmp_path / "none", "-o", "json")
    assert shown.envelope["format"] == "cxm.heartbeat.show/1.0"
    assert "heartbeat.disk" in shown.envelope["errors"][0]["hint"]
