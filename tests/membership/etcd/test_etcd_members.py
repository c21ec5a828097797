"""What is taken for an answer of etcd and what is not, how long it is waited for, and what goes by TLS."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from typing import ClassVar

import pytest

from membership.edge.etcd_members import Members, address
from membership.edge.node_settings import EngineAccess

GOOD = b'{"header":{"cluster_id":"7","revision":"5"}}'


class Impostor(http.server.BaseHTTPRequestHandler):
    """Answers everything with `content`, or with `pieces` of it that come slowly."""

    protocol_version = "HTTP/1.1"
    content: ClassVar[bytes] = GOOD
    pause_s: ClassVar[float] = 0.0
    asked: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.asked.append(self.path)
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        if not self.pause_s:
            self.wfile.write(self.content)
        for at in range(len(self.content) if self.pause_s else 0):
            time.sleep(self.pause_s)
            self.wfile.write(self.content[at : at + 1])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Whoever asks may go away in the middle of an answer."""


@pytest.fixture
def impostor() -> Iterator[tuple[str, type[Impostor]]]:
    """(endpoint, what answers there)."""
    kind = type("Fresh", (Impostor,), {"asked": []})
    server = Server(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"127.0.0.1:{server.server_port}", kind
    server.shutdown()
    server.server_close()
    thread.join()


def members(*endpoints: str) -> Members:
    access = EngineAccess(kind="etcd", endpoints=endpoints)
    return Members(access, 0.5, 1.0, time.monotonic)


def test_a_connection_is_kept_for_the_next_question(impostor: tuple[str, type[Impostor]]) -> None:
    endpoint, kind = impostor
    asking = members(endpoint)
    for _ in range(3):
        asked = asking.ask("/v3/kv/range", {"key": b"x"})
        assert asked is not None
        assert asked.reply.header.revision == 5
        assert asking.troubles == {}
    assert kind.asked == ["/v3/kv/range"] * 3
    asking.close()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is it etcd"),
        (b"<html>", "is it etcd"),
        (b"{}", "is it etcd"),
        (b'{"result":' * 6000, "is it etcd"),
        (b'{"header":{"cluster_id":"7","revision":"x"}}', "is it etcd"),
        (b'{"a":"' + b"x" * 70000 + b'"}', "more than 65536 bytes"),
        (b'{"error":{"grpc_code":14,"message":"etcdserver: no leader"}}', "no leader"),
        (
            b'{"error":"etcdserver: no leader","message":"etcdserver: no leader","code":14}',
            "no lea",
        ),
        (
            b'{"error":"e","message":"etcdserver: permission denied","code":7}',
            "readwrite on the pre",
        ),
    ],
)
def test_what_is_no_answer_is_told_and_not_believed(
    impostor: tuple[str, type[Impostor]], content: bytes, says: str
) -> None:
    endpoint, kind = impostor
    kind.content = content
    asking = members(endpoint)
    assert asking.ask("/v3/kv/range", {}) is None
    assert says in asking.troubles[endpoint]


def test_an_answer_that_trickles_is_given_up(impostor: tuple[str, type[Impostor]]) -> None:
    endpoint, kind = impostor
    kind.pause_s = 0.1
    begun_s = time.monotonic()
    asking = members(endpoint)
    assert asking.ask("/v3/kv/range", {}) is None
    assert time.monotonic() - begun_s < 2.0
    assert asking.troubles == {endpoint: "no answer within 0.5 s"}


def test_a_member_of_another_etcd_is_not_believed(impostor: tuple[str, type[Impostor]]) -> None:
    endpoint, kind = impostor
    asking = members(endpoint)
    assert asking.ask("/v3/kv/range", {}) is not None
    kind.content = GOOD.replace(b'"7"', b'"8"')
    assert asking.ask("/v3/kv/range", {}) is None
    assert "another etcd cluster (8) than was seen before (7)" in asking.troubles[endpoint]


def test_the_next_member_is_asked_where_one_does_not_answer(
    impostor: tuple[str, type[Impostor]],
) -> None:
    endpoint, _ = impostor
    asking = members("127.0.0.1:1", endpoint)
    assert asking.ask("/v3/kv/range", {}) is not None
    assert asking.troubles == {"127.0.0.1:1": "no connection: Connection refused"}


def test_without_certificates_nothing_leaves_the_machine_in_the_open(
    impostor: tuple[str, type[Impostor]],
) -> None:
    """One endpoint that is not loopback, and even the loopback one is asked for a certificate."""
    endpoint, kind = impostor
    asking = members(endpoint, "192.0.2.1:2379")
    asking.ask("/v3/kv/range", {})
    assert kind.asked == []
    assert "no connection: " in asking.troubles[endpoint]


def test_an_endpoint_that_cannot_be_is_told() -> None:
    asking = members("127.0.0.1:99999")
    assert asking.ask("/v3/kv/range", {}) is None
    assert "out of range" in asking.troubles["127.0.0.1:99999"]


def test_no_endpoints_are_told() -> None:
    asking = members()
    assert asking.ask("/v3/kv/range", {}) is None
    assert "node.yaml" in asking.troubles["endpoints"]


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("10.0.0.1:1234", ("10.0.0.1", 1234)),
        ("10.0.0.1", ("10.0.0.1", 2379)),
        ("etcd1.example:2379", ("etcd1.example", 2379)),
        ("[fd00::1]:1234", ("fd00::1", 1234)),
        ("fd00::1", ("fd00::1", 2379)),
    ],
)
def test_addresses(endpoint: str, expected: tuple[str, int]) -> None:
    assert address(endpoint) == expected
