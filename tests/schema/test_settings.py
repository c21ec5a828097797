"""node.yaml: defaults, units, relations, and every error with its place."""

from __future__ import annotations

import pytest

from schema.report import render
from schema.settings import Endpoint, Notify, read_settings

GOOD = """node: xen1
cluster: {id: 7d0c1f6e-3b0e-4a52-9f57-0c6d2a1f9b11}
source: {url: "svn://svn.example.org/config/lyon", user: cxm, credentialsRef: svn}
xenapi: {addresses: [10.20.0.11, "[fd00::1]:8443"], credentialsRef: pool, fingerprints: ["FP"]}
""".replace("FP", ":".join(["AB"] * 32))


def faults(text: str) -> list[str]:
    read = read_settings(text.encode())
    assert (read.settings is None) == bool(read.errors)
    return [f"{e.line}:{e.column} {e.code} {e.message} {e.hint}" for e in read.errors]


def test_defaults_are_filled_in() -> None:
    settings = read_settings(GOOD.encode()).settings
    assert settings is not None
    assert (settings.node, settings.xenapi.user, settings.engine.kind) == ("xen1", "root", "single")
    assert (settings.state_dir, settings.run_dir) == ("/var/lib/cxm", "/run/cxm")
    assert settings.xenapi.addresses == ("10.20.0.11", "[fd00::1]:8443")
    assert settings.xenapi.fingerprints == ("ab" * 32,)
    assert settings.source.credentials_ref == "svn"
    assert settings.listen.heartbeat == Endpoint(port=9850)
    assert settings.listen.metrics == Endpoint(port=9853, address="127.0.0.1")
    assert (settings.listen.peer.port, settings.listen.snmp.port) == (9851, 1161)


def test_everything_can_be_set() -> None:
    more = (
        "clusterKeyRef: key\nstateDir: /tmp/s\nrunDir: /tmp/r\nbootIdFile: /tmp/boot\n"
        "listen: {heartbeat: '127.0.1.1:1000/udp', peer: 1001, metrics: '[::1]:1002'}\n"
        "engine: {kind: etcd, endpoints: ['10.0.0.1:2379'], caFile: /etc/ca.pem}\n"
        "notify: [{mail: ops@example.org}, {exec: /bin/page, severity: critical}]\n"
    )
    settings = read_settings((GOOD + more).encode()).settings
    assert settings is not None
    assert (settings.state_dir, settings.run_dir) == ("/tmp/s", "/tmp/r")
    assert settings.boot_id_file == "/tmp/boot"
    assert settings.listen.heartbeat == Endpoint(port=1000, address="127.0.1.1")
    assert settings.listen.metrics == Endpoint(port=1002, address="::1")
    assert settings.engine.endpoints == ("10.0.0.1:2379",)
    assert settings.notify == (
        Notify(way="mail", target="ops@example.org"),
        Notify(way="exec", target="/bin/page", severity="critical"),
    )


def test_a_file_repository_needs_no_user() -> None:
    text = GOOD.replace(
        'url: "svn://svn.example.org/config/lyon", user: cxm, credentialsRef: svn',
        "url: file:///srv/svn/config",
    )
    assert faults(text) == []


def test_all_errors_come_at_once() -> None:
    said = faults("node: Xen1\nclusterid: x\nsource: {url: gopher://x}\n")
    assert [line.split()[:2] for line in said] == [
        ["1:1", "V015"],
        ["1:1", "V015"],
        ["1:7", "V018"],
        ["2:1", "V003"],
        ["3:15", "V018"],
    ]


@pytest.mark.parametrize(
    ("old", "new", "place", "words"),
    [
        ("credentialsRef: pool", "credentialsRef: pool, password: x", "4:", "V031"),
        ("svn://svn.", "svn://cxm:secret@svn.", "3:15", "V031"),
        (", credentialsRef: svn", "", "3:", "V028 user"),
        ("credentialsRef: svn", "credentialsRef: svn, caFile: /ca.pem", "3:", "https only"),
        ("fingerprints:", "caFile: /ca.pem, fingerprints:", "4:1", "keep one"),
        (", fingerprints: [", ", nothing: [", "4:", "V003"),
        ('["' + ":".join(["AB"] * 32) + '"]', "[AB]", "4:", "fingerprint"),
        ("node: xen1\n", "node: xen1\nrunDir: /var/lib/cxm\n", "1:1", "V028 stateDir"),
        ("node: xen1\n", "node: xen1\nrunDir: run\n", "2:9", "absolute path"),
        ("node: xen1\n", "node: xen1\nlisten: {peer: 9853}\n", "", "metrics: peer listens at"),
        ("node: xen1\n", "node: xen1\nlisten: {snmp: 9850/udp}\n", "2:16", "heartbeat listens"),
        ("node: xen1\n", "node: xen1\nlisten: {peer: '0.0.0.0:9851'}\n", "2:16", "V028"),
        ("node: xen1\n", "node: xen1\nlisten: {peer: '99999'}\n", "2:16", "V017"),
        ("node: xen1\n", "node: xen1\nlisten: {peer: 99999}\n", "2:16", "V017"),
        ("node: xen1\n", "node: xen1\nlisten: {peer: 1/udp}\n", "2:16", "V018"),
        ("node: xen1\n", "node: xen1\nengine: {kind: builtin}\n", "2:16", "clusterKeyRef"),
        ("node: xen1\n", "node: xen1\nengine: {kind: single, user: a}\n", "2:30", "etcd only"),
        (
            "node: xen1\n",
            "node: xen1\nclusterKeyRef: k\nengine: {kind: etcd}\n",
            "3:16",
            "needs endpoints",
        ),
        ("node: xen1\n", "node: xen1\nnotify: [{severity: ok}]\n", "2:10", "one of exec"),
    ],
)
def test_relations(old: str, new: str, place: str, words: str) -> None:
    assert old in GOOD
    said = faults(GOOD.replace(old, new, 1))
    assert said
    assert said[0].startswith(place)
    assert words in said[0]


def test_a_password_is_not_repeated() -> None:
    text = GOOD.replace("svn://svn.", "svn://cxm:hunter2@svn.").encode()
    errors = read_settings(text, "node.yaml").errors
    assert "hunter2" not in render(errors, {"node.yaml": text}, read=1)


def test_same_port_at_two_addresses_is_no_clash() -> None:
    assert faults(GOOD + "listen: {peer: '127.0.1.1:9853'}\n") == []


def test_noise_is_no_settings() -> None:
    assert faults("a: [") == faults("a: [")
    assert faults("- a\n")[0].startswith("1:1 V014")
    assert "V002" in read_settings(b"\xff").errors[0].code
