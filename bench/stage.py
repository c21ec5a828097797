"""A demo with peers as something to measure: a pool of many small VMs, and one of its servers to lose."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from cli.demo import stage

LOST = "xen3"
OTHERS = ("xen1", "xen2", "xen4")
UP_WITHIN_S = 240.0
_LOOK_EVERY_S = 0.02

_DEMO = """
import sys
from pathlib import Path
from cli import main
from cli.demo import stage
stage.POOL = Path(sys.argv[1])
sys.exit(main.run(["demo", "--peers", "3", "--quick", "--keep", *sys.argv[2:]]))
"""


def pool_of(vms: int, on_lost: int, latency: str = "") -> str:
    """The demo's pool with so many VMs in all, small ones beside its own, so many of them on LOST. `latency`
    replaces its own."""
    text = stage.POOL.read_text(encoding="utf-8").rstrip()
    if latency:
        text = re.sub(r"^latency:.*$", f"latency: {latency}", text, flags=re.M)
    there = text.count(f"host: {LOST},")
    more = vms - text.count("power_state:")
    places = [LOST if n < on_lost - there else OTHERS[n % len(OTHERS)] for n in range(more)]
    rows = [
        f"  - {{name: small{n:03}, uuid: {uuid5(NAMESPACE_URL, str(n))}, host: {place},"
        " power_state: Running, memory: 16MiB, vcpus: 1, sr: nfs1, network: lan}"
        for n, place in enumerate(places)
    ]
    return "\n".join([text, *rows, ""])


class Rig:
    """A demo that is up and converged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.document: dict[str, Any] = json.loads((folder / "demo.json").read_bytes())

    def ask(self, **request: object) -> Any:
        """What the simulator answers; it asks no daemon."""
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(10.0)
            link.connect(self.document["control"])
            with link.makefile("rwb") as lines:
                lines.write(json.dumps(request).encode() + b"\n")
                lines.flush()
                answer = json.loads(lines.readline())
        if not answer["ok"]:
            raise SystemExit(f"the simulator refuses {request}: {answer['error']}")
        return answer["data"]

    def type(self, line: str) -> str:
        """What a command prints, as a person would type it. Raises CalledProcessError."""
        command = f". {shlex.quote(str(self.folder / 'env'))} && {line}"
        done = subprocess.run(  # noqa: S603
            ["/bin/sh", "-c", command], capture_output=True, text=True, check=True
        )
        return done.stdout

    def answer(self, line: str) -> Any:
        """The `data` of a command."""
        return json.loads(self.type(f"{line} -o json"))["data"]

    def leader(self) -> str:
        return str(self.answer("cxm status")["leadership"]["leader"])

    def running(self) -> dict[str, list[str]]:
        """What really runs, by server."""
        return {host["name"]: host["running"] for host in self.ask(op="status")["hosts"]}

    def calls(self, method: str) -> list[str]:
        """The objects of all calls of this method so far."""
        rows = self.ask(op="log")["entries"]
        return [row["object"]["name"] for row in rows if row["method"] == method]

    def events(self, entry: str) -> list[Mapping[str, Any]]:
        """The records of this kind in all nodes' journals, oldest first."""
        files = self.folder.glob("nodes/*/state/journal/*.jsonl")
        rows = [json.loads(row) for file in files for row in file.read_text("utf-8").splitlines()]
        return sorted(
            (row for row in rows if row["entry"]["entry"] == entry), key=lambda row: row["at_s"]
        )

    def since(self, entry: str, holds: Callable[[Mapping[str, Any]], bool]) -> float:
        """When the first such record was made by any node; epoch seconds."""
        return float(next(row["at_s"] for row in self.events(entry) if holds(row["entry"])))

    def pids(self, name: str) -> list[int]:
        """The daemons of a node, as they are now."""
        self.document = json.loads((self.folder / "demo.json").read_bytes())
        node = next(node for node in self.document["nodes"] if node["name"] == name)
        return [pid for program, pid in node["pids"].items() if program != "daemon"]

    def freeze(self, pids: Sequence[int]) -> None:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)

    def thaw(self, pids: Sequence[int]) -> None:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def staged(folder: Path, pool: str) -> Iterator[Rig]:
    """Three converged nodes on this pool."""
    file = folder / "pool.yaml"
    file.write_text(pool, encoding="utf-8")
    place = folder / "d"
    command = [sys.executable, "-c", _DEMO, str(file), "--dir", str(place)]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(  # noqa: S603
            command, stdout=log, stderr=log
        ) as process,
    ):
        try:
            ready = place / "demo.json"
            until(
                lambda: ready.exists() or process.poll() is not None,
                UP_WITHIN_S,
                "the demo is up",
            )
            if process.poll() is not None:
                raise SystemExit(f"the demo did not come up:\n{(folder / 'log').read_text()}")
            yield Rig(place)
        finally:
            process.send_signal(signal.SIGTERM)


def until(true: Callable[[], bool], within_s: float, what: str) -> float:
    """Wait for it; the monotonic moment at which it was so. Ends the program where it is not in time."""
    ends_s = time.monotonic() + within_s
    while not true():
        if time.monotonic() > ends_s:
            raise SystemExit(f"not within {within_s:g} s: {what}")
        time.sleep(_LOOK_EVERY_S)
    return time.monotonic()
