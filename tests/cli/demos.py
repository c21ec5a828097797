"""`cxm demo --quick --keep` as a place to try things: real processes, a shell in its environment."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_UP_WITHIN_S = 90.0
BIN = Path(sys.executable).parent


def until(ready: Callable[[], bool], within_s: float) -> bool:
    end_s = time.monotonic() + within_s
    while not ready():
        if time.monotonic() > end_s:
            return False
        time.sleep(0.1)
    return True


class Demo:
    """A demo that is up, and a shell in its environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def document(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "demo.json").read_bytes()))

    def sh(self, command: str) -> subprocess.CompletedProcess[str]:
        line = f". {self.folder}/env && {command}"
        clean = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": str(self.folder)}
        return subprocess.run(
            ["/bin/sh", "-c", line], env=clean, capture_output=True, encoding="utf-8", check=False
        )

    def json(self, command: str) -> dict[str, Any]:
        """The envelope of a command."""
        return dict(json.loads(self.sh(f"{command} -o json").stdout))

    def sim(self, about: str) -> dict[str, Any]:
        """What the simulator says, which asks nobody."""
        answer = json.loads(self.sh(f"cxm sim ctl -o json {about}").stdout)
        return dict(answer["data"])

    def commit(self, message: str) -> int:
        """The revision of a commit of the whole working copy."""
        done = self.sh(f"svn commit -m '{message}' $WC")
        assert done.returncode == 0, done.stderr
        found = re.search(r"Committed revision (\d+)", done.stdout)
        assert found is not None, done.stdout
        return int(found[1])


@contextmanager
def running(folder: Path, *options: str) -> Iterator[Demo]:
    """A demo in `folder`, without its acts; at the end nothing of it is left."""
    log = folder.with_suffix(".log").open("wb")
    child = subprocess.Popen(
        [str(BIN / "cxm"), "demo", "--quick", "--keep", "--dir", str(folder), *options],
        stdout=log,
        stderr=log,
    )
    try:
        up = until((folder / "env").is_file, _UP_WITHIN_S)
        assert up, Path(log.name).read_text(encoding="utf-8")
        yield Demo(folder)
    finally:
        child.send_signal(signal.SIGTERM)
        code = child.wait(30)
        log.close()
    assert code == 0
    assert not (folder / "env").exists()
    assert not alive(folder)


def alive(folder: Path) -> list[str]:
    """Command lines of processes that still belong to the demo: they name its folder, or live in it."""
    lines: list[str] = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().decode("utf-8", "replace").replace("\0", " ")
            at = (entry.parent / "cwd").readlink()
        except OSError:
            continue
        named = str(folder) in words or at.is_relative_to(folder)
        if named and str(os.getpid()) != entry.parent.name:
            lines.append(words)
    return lines
