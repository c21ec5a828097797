"""A scripted daemon behind a real Unix socket, and a way to run command lines against it."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cli.main import run
from reconciler.messages import Progress, Reply
from reconciler.records import Record
from reconciler.status import Status
from reconciler.whatif import WhatIf
from reconciler.why import Why
from tests.cli import canned

GOLDEN = Path(__file__).parent / "golden"
_FORMAT = {"format", "cluster", "verdict", "exit", "data", "errors"}


@dataclass
class Script:
    """What the scripted daemon answers: each status once, the last one for ever."""

    statuses: list[Status] = field(default_factory=lambda: [canned.CALM])
    reply: Reply = field(default_factory=lambda: Reply(accepted=True, look=7))
    refuses: Reply | None = None
    """Its answer to `apply`, where it is another one than to everything else."""
    code: int = 200
    stored: str = ""
    waiting: tuple[str, ...] = ()
    """What a hold waits for, before the reply."""
    ends: bool = True
    """Whether it answers a hold at all."""
    records: tuple[Record, ...] = canned.RECORDS
    why: Why | None = None
    what_if: WhatIf | Reply | None = None
    raw: bytes | None = None
    posted: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def status(self) -> Status:
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        return canned.just_now(status)


def _handler(script: Script) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def address_string(self) -> str:
            return "unix"

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            del format, args

        def do_GET(self) -> None:
            script.asked.append(self.path)
            if self.path.startswith("/v1/events"):
                start = int(self.path.partition("from=")[2].partition("&")[0])
                rows = [msgspec.json.encode(r) for r in script.records if r.seq >= start]
                self._send(200, b"".join(row + b"\n" for row in rows))
            elif self.path.startswith("/v1/why/"):
                self._send(200, msgspec.json.encode(script.why))
            elif self.path.startswith("/v1/what-if/"):
                refused = isinstance(script.what_if, Reply)
                self._send(409 if refused else 200, msgspec.json.encode(script.what_if))
            else:
                self._send(200, script.raw or msgspec.json.encode(script.status()))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            script.posted.append((self.path, json.loads(body)))
            if script.refuses is not None and self.path == "/v1/apply":
                self._send(409, msgspec.json.encode(script.refuses))
            elif self.path in ("/v1/hold", "/v1/release") and script.code == 200:
                lines = [Progress(id=script.stored)] if script.stored else []
                lines += [Progress(waiting=what) for what in script.waiting]
                lines += [Progress(reply=script.reply)] if script.ends else []
                self._send(200, b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
            else:
                self._send(script.code, msgspec.json.encode(script.reply))

        def _send(self, code: int, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings of a node whose daemon would answer in `tmp_path/run`; nothing answers there yet."""
    text = f"""\
node: xen1
cluster: {{id: {canned.CALM.cluster_id}}}
source: {{url: "file://{tmp_path}/nowhere"}}
xenapi: {{addresses: ["127.0.0.1:1"], credentialsRef: pool, fingerprints: ["{"ab" * 32}"]}}
stateDir: {tmp_path}/state
runDir: {tmp_path}/run
"""
    path = tmp_path / "node.yaml"
    path.write_text(text, encoding="utf-8")
    (tmp_path / "run").mkdir()
    secret = tmp_path / "secrets.d" / "pool"
    secret.parent.mkdir()
    secret.write_text("secret\n", encoding="utf-8")
    secret.chmod(0o600)
    monkeypatch.setenv("CXM_CONFIG", str(path))
    monkeypatch.delenv("NO_COLOR", raising=False)
    return path


@pytest.fixture
def daemon(config: Path) -> Iterator[Script]:
    """The scripted daemon; what it was asked is in `posted` and `asked`."""
    script = Script()
    path = config.parent / "run" / "cxmd.sock"

    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True

    with Server(str(path), _handler(script)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield script
        server.shutdown()
        thread.join()


@dataclass(frozen=True)
class Ran:
    exit: int
    out: str
    err: str

    @property
    def envelope(self) -> dict[str, Any]:
        """The document of `-o json`, checked against the contract of the envelope."""
        document = json.loads(self.out)
        assert set(document) - {"observation"} == _FORMAT
        assert document["format"].startswith("cxm.")
        assert document["format"].endswith("/1.0")
        assert document["exit"] == self.exit
        assert isinstance(document["data"], dict)
        for fault in document["errors"]:
            assert {"code", "message"} <= set(fault) <= {
                "code", "message", "path", "line", "column", "hint"
            }  # fmt: skip
        return dict(document)


Cxm = Callable[..., Ran]


@pytest.fixture
def cxm(capfd: pytest.CaptureFixture[str]) -> Cxm:
    """Run one command line in this process."""

    def line(*args: object) -> Ran:
        capfd.readouterr()
        code = run([str(arg) for arg in args])
        out, err = capfd.readouterr()
        return Ran(code, out, err)

    return line


Golden = Callable[[str, str], None]


@pytest.fixture
def golden() -> Golden:
    """Compare a text with the file of that name; a new text is written there to be looked at."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / f"{name}.txt"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            pytest.fail(f"{path} was not there; it has been written: look at it")
        assert text == path.read_text(encoding="utf-8")

    return compare
