"""Secrets, log and supervision: the small parts of a daemon that fail in the night."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from membership.edge.secret_files import SecretError, read_secret, secret_path
from membership.edge.supervision import Supervisor

CONFIG = "node.yaml"


def secret(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    path = folder / "secrets.d/xapi"
    path.parent.mkdir()
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("content", "value"),
    [(b"pa ss\n", "pa ss"), ("größer".encode(), "größer"), (b"x\r\n", "x"), (b" x ", " x ")],
)
def test_a_secret_is_its_line(tmp_path: Path, content: bytes, value: str) -> None:
    secret(tmp_path, content)
    assert read_secret(secret_path(tmp_path / CONFIG, "xapi")) == value


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_secret_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    secret(tmp_path, b"hush", mode)
    with pytest.raises(SecretError, match="chmod 0600") as caught:
        read_secret(secret_path(tmp_path / CONFIG, "xapi"))
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"x" * 5000])
def test_a_secret_that_cannot_be_one_is_refused(tmp_path: Path, content: bytes) -> None:
    secret(tmp_path, content)
    with pytest.raises(SecretError, match=r"secrets\.d/xapi"):
        read_secret(secret_path(tmp_path / CONFIG, "xapi"))


def test_a_secret_of_somebody_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret(tmp_path, b"hush")
    uid = (tmp_path / "secrets.d/xapi").stat().st_uid
    found = os.stat_result((0o100600, 0, 0, 1, uid + 4711, 0, 4, 0, 0, 0))
    monkeypatch.setattr(os, "fstat", lambda _file: found)
    with pytest.raises(SecretError, match="belongs to uid"):
        read_secret(secret_path(tmp_path / CONFIG, "xapi"))


def test_a_secret_that_is_a_link_or_missing_is_refused(tmp_path: Path) -> None:
    path = secret(tmp_path, b"hush")
    (path.parent / "link").symlink_to(path)
    for name in ("link", "none"):
        with pytest.raises(SecretError, match=f"credentialsRef: {name} asks for it"):
            read_secret(secret_path(tmp_path / CONFIG, name))


# --- log ------------------------------------------------------------------------------------------


def logged(script: str, *, stderr: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    """What a process logs that does this after `log.configure()`."""
    start = "import logging, structlog, pathlib\nfrom reconciler.edge import log\nlog.configure()\n"
    return subprocess.run(
        [sys.executable, "-c", start + script],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("call", "fields"),
    [
        (
            "structlog.get_logger('x').info('seen', revision=3, path=pathlib.Path('y'))",
            {"event": "seen", "level": "info", "revision": 3, "path": "PosixPath('y')"},
        ),
        (
            "logging.getLogger('cxm.xapi').warning('lost %s', 'xen1')",
            {"event": "lost xen1", "level": "warning", "logger": "cxm.xapi"},
        ),
        (
            "structlog.get_logger('x').info('odd', value={('tuple', 1): float('nan')})",
            {"event": "odd", "level": "info", "value": {"('tuple', 1)": None}},
        ),
        (
            "loop = []\nloop.append(loop)\nstructlog.get_logger('x').info('deep', value=loop)",
            {"event": "deep"},
        ),
    ],
)
def test_the_log_is_json_on_stderr_and_never_raises(call: str, fields: dict[str, Any]) -> None:
    done = logged(call)
    assert (done.returncode, done.stdout) == (0, "")
    (row,) = [json.loads(line) for line in done.stderr.splitlines()]
    assert fields.items() <= row.items()


def test_a_log_that_nobody_reads_is_no_reason_to_end() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    call = "structlog.get_logger('x').info('y')\nlogging.getLogger('z').error('y')\nprint('on')"
    done = logged(call, stderr=writer)
    os.close(writer)
    assert done.stdout == "on\n"


# --- supervision ----------------------------------------------------------------------------------


def test_a_supervisor_hears_what_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "notify"))
        told = Supervisor({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "30000000"})
        assert told.watchdog_s == 30.0
        told.tell("READY=1")
        assert ear.recv(64) == b"READY=1"


def test_without_a_supervisor_nothing_happens(tmp_path: Path) -> None:
    assert Supervisor({"WATCHDOG_USEC": "1"}).watchdog_s is None
    Supervisor({}).tell("READY=1")
    Supervisor({"NOTIFY_SOCKET": str(tmp_path / "gone")}).tell("READY=1")
    assert list(tmp_path.iterdir()) == []
