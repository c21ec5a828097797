"""What a joining node is given: everything that nodes share, and nothing that is one node's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from membership.edge.bundle import BundleError, packed, unpacked

NODE = """\
node: xen1
cluster: {id: 6caf76a5-7035-48ae-8280-ad3729a6f2e7}
source: {url: "https://svn.example/lyon", user: cxm, credentialsRef: subversion, caFile: @/svn.pem}
xenapi: {addresses: [10.0.0.1], credentialsRef: pool, fingerprints: ["@PIN"]}
clusterKeyRef: cluster-key
engine: {kind: builtin}
listen: {heartbeat: 7000/udp, peer: 7001, metrics: "127.0.1.1:7002"}
stateDir: /srv/state
runDir: /srv/run
notify: [{exec: /bin/true}]
"""
SECRETS = {"pool": "p", "subversion": "s", "cluster-key": "new" * 11 + "\n" + "old" * 11}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "secrets.d").mkdir()
    for name, secret in SECRETS.items():
        (tmp_path / "secrets.d" / name).write_text(f"{secret}\n", encoding="utf-8")
    (tmp_path / "secrets.d" / "bmc").write_text("not asked for\n", encoding="utf-8")
    (tmp_path / "svn.pem").write_text("CERTIFICATE\n", encoding="utf-8")
    path = tmp_path / "node.yaml"
    text = NODE.replace("@PIN", "ab" * 32).replace("@", str(tmp_path))
    path.write_text(text, encoding="utf-8")
    return path


def test_what_is_shared_goes_and_what_is_ones_own_stays(config: Path) -> None:
    bundle = unpacked(packed(config))
    assert set(bundle.settings) == {
        "cluster", "source", "xenapi", "clusterKeyRef", "engine", "listen",
    }  # fmt: skip
    assert bundle.settings["listen"] == {"heartbeat": "7000/udp", "peer": 7001}
    assert bundle.secrets == SECRETS
    assert bundle.files == {str(config.parent / "svn.pem"): "CERTIFICATE"}


def test_what_cannot_be_given_is_named(config: Path) -> None:
    (config.parent / "secrets.d" / "pool").unlink()
    with pytest.raises(BundleError, match=r"secrets\.d/pool: No such file"):
        packed(config)
    config.write_text("- 1\n", encoding="utf-8")
    with pytest.raises(BundleError, match="cannot be read as settings"):
        packed(config)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"settings": 1, "secrets": {}}', b"\xff"])
def test_what_is_no_bundle_is_refused(content: bytes) -> None:
    with pytest.raises(BundleError, match="not understood"):
        unpacked(content)
