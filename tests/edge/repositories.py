"""Real repositories, real svnserve."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

ENVIRONMENT = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": "/nonexistent"}
USER, PASSWORD = "reader", "correct horse"


def run(*argv: str | Path, cwd: Path | None = None, fails: bool = False) -> str:
    """Output of a command; with `fails` its stderr, and it must fail."""
    done = subprocess.run(
        [str(word) for word in argv],
        cwd=cwd,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode != 0) is fails, done.stderr
    return done.stderr if fails else done.stdout


class Repository:
    """A repository on disk with one working copy, committed to by `file://`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        run("svnadmin", "create", path)
        self.url = f"file://{path}"
        self.wc = path.with_name(path.name + "-wc")
        self._svn("checkout", "-q", self.url, self.wc)

    def _svn(self, *words: str | Path, fails: bool = False) -> str:
        config = self.path.with_name("svn-config")
        return run("svn", "--non-interactive", "--config-dir", config, *words, fails=fails)

    def put(self, files: dict[str, str | bytes]) -> None:
        for name, content in files.items():
            path = self.wc / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        self._svn("add", "-q", "--force", "--no-auto-props", str(self.wc) + "/.")

    def do(self, *words: str | Path) -> None:
        """An svn command in the working copy; relative paths are its own."""
        config = self.path.with_name("svn-config")
        run("svn", "--non-interactive", "--config-dir", config, *words, cwd=self.wc)

    def commit(self, message: str, *, fails: bool = False) -> str:
        said = self._svn("commit", "-q", "-m", message, self.wc, fails=fails)
        if not fails:
            self._svn("update", "-q", self.wc)
        return said

    def committed(self, message: str, files: dict[str, str | bytes]) -> int:
        self.put(files)
        self.commit(message)
        return int(run("svnlook", "youngest", self.path))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(true: Callable[[], bool], within_s: float = 10.0) -> None:
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class MuteServer:
    """Accepts connections and never says a word."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"svn://127.0.0.1:{self._socket.getsockname()[1]}"

    def close(self) -> None:
        self._socket.close()
