"""cxmd as a process, between a simulated pool on real sockets and a real svnserve."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.client import Control, NoDaemon
from cli.envelope import Failure
from cli.hooks.templates import hook_script
from reconciler.edge import journal_file
from reconciler.records import Answered, DaemonStarted, Intended, Settled
from reconciler.status import Status
from tests.edge.repositories import PASSWORD, USER, Repository, until

HOME = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
POOL_PASSWORD = "secret"


class Pool:
    """`cxm sim` of the sample pool."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        ready = folder / "ready.json"
        words: list[str | Path] = [
            BIN / "cxm",
            "sim",
            HOME / "cli/demo/pool.yaml",
            "--port",
            "0",
            "--dir",
            folder,
        ]
        self._log = (folder / "log").open("wb")
        self._process = subprocess.Popen(
            [*words, "--ready-file", ready], stdout=self._log, stderr=self._log
        )
        until(lambda: ready.exists() and ready.stat().st_size > 0, 30)
        self.ready = json.loads(ready.read_text())

    def ctl(self, *words: str) -> dict[str, Any]:
        (door,) = self.folder.glob("*.sock")
        done = subprocess.run(
            [BIN / "cxm", "sim", "ctl", "--control", door, "-o", "json", *words],
            capture_output=True,
            text=True,
            check=False,
        )
        data: dict[str, Any] = json.loads(done.stdout)["data"]
        return data

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._log.close()


class Daemon:
    """cxmd on a state directory, started as often as one likes."""

    def __init__(self, folder: Path, pool: Pool, source: str) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.log = folder / "cxmd.log"
        (folder / "secrets.d").mkdir(parents=True)
        for name, secret in (("svn", PASSWORD), ("xapi", POOL_PASSWORD)):
            path = folder / "secrets.d" / name
            path.write_text(secret + "\n")
            path.chmod(0o600)
        self.config = folder / "node.yaml"
        self.config.write_text(self._settings(pool, source))
        self.control = Control(folder / "run/cxmd.sock", timeout_s=5.0)
        self.process: subprocess.Popen[bytes] | None = None

    def _settings(self, pool: Pool, source: str) -> str:
        cluster = (HOME / "cluster-config/cluster.yaml").read_text()
        (identity,) = re.findall(r"^id: (\S+)", cluster, re.MULTILINE)
        hosts = pool.ready["hosts"]
        addresses = [host["url"].removeprefix("https://") for host in hosts]
        return json.dumps(
            {
                "node": "mgmt",
                "cluster": {"id": identity},
                "source": {"url": source, "user": USER, "credentialsRef": "svn"},
                "xenapi": {
                    "addresses": addresses,
                    "user": "root",
                    "credentialsRef": "xapi",
                    "fingerprints": [host["fingerprint"] for host in hosts],
                },
                "stateDir": str(self.state),
                "runDir": str(self.folder / "run"),
            }
        )

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([BIN / "cxmd", "--config", self.config], stderr=log)
        until(lambda: self.answers or self.ended, 20)

    @property
    def answers(self) -> bool:
        """A daemon that was killed leaves its socket behind: that it is there means nothing."""
        try:
            self.status()
        except NoDaemon:
            return False
        return True

    @property
    def ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def end(self, how: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(20)

    def status(self) -> Status:
        return self.control.status()

    def records(self) -> list[Any]:
        return [record.entry for record in journal_file.stored(self.state / "journal")]


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    made = Pool(tmp_path / "sim")
    yield made
    made.close()


@pytest.fixture
def tree(repository: Repository) -> Repository:
    sample = HOME / "cluster-config"
    files = {f"lyon/{p.relative_to(sample)}": p.read_bytes() for p in sample.rglob("*.yaml")}
    repository.committed("the tree", dict(files))
    return repository


@pytest.fixture
def daemon(tmp_path: Path, pool: Pool, tree: Repository, served: str) -> Iterator[Daemon]:
    assert tree.path.exists()
    made = Daemon(tmp_path / "node", pool, f"{served}/lyon")
    yield made
    if made.process is not None and not made.ended:
        made.process.kill()
        made.process.wait(10)


def edited(tree: Repository, vm: str, line: str) -> int:
    """A commit that replaces the placement of a VM."""
    path = tree.wc / f"lyon/vms/{vm}.yaml"
    kept = re.sub(r"^placement: .*\n", "", path.read_text(), flags=re.MULTILINE)
    return tree.committed(f"{vm}: {line}", {f"lyon/vms/{vm}.yaml": kept + line + "\n"})


def at(daemon: Daemon, revision: int) -> bool:
    status = daemon.status()
    return status.verdict == "converged" and status.revision.converged == revision


def test_a_commit_becomes_true_and_a_kill_changes_nothing(
    daemon: Daemon, pool: Pool, tree: Repository
) -> None:
    hook = tree.path / "hooks/post-commit"
    hook.write_text(hook_script("post-commit", BIN / "cxm", daemon.control.path))
    hook.chmod(0o755)
    daemon.start()
    until(lambda: at(daemon, 1), 30)

    revision = edited(tree, "web1", "placement: {only: [xen4]}")
    committed = time.monotonic()
    until(lambda: daemon.status().revision.head == revision)
    assert time.monotonic() - committed < 5
    # The call has reached the pool: its task is to be seen.
    until(lambda: any(f.progress is not None for f in daemon.status().in_flight), 10)
    daemon.end(signal.SIGKILL)
    daemon.start()
    until(lambda: at(daemon, revision), 60)

    assert pool.ctl("vm", "web1")["host"] == "xen4"
    moves = [row for row in pool.ctl("log")["entries"] if row["method"] == "VM.pool_migrate"]
    assert len(moves) == 1
    assert pool.ctl("corruption")["count"] == 0
    entries = daemon.records()
    begun = [entry.txn for entry in entries if isinstance(entry, Intended)]
    assert [entry.txn for entry in entries if isinstance(entry, Settled)] == begun
    assert not any(isinstance(entry, Answered) for entry in entries)
    assert [entry.term for entry in entries if isinstance(entry, DaemonStarted)] == [1, 2]

    assert daemon.end(signal.SIGTERM) == 0
    assert not daemon.control.path.exists()
    told = daemon.log.read_bytes() + b"".join(
        path.read_bytes() for path in daemon.state.rglob("*") if path.is_file()
    )
    assert PASSWORD.encode() not in told
    assert b'"secret"' not in told


def test_the_last_good_tree_holds_while_subversion_is_away(
    daemon: Daemon, tree: Repository
) -> None:
    daemon.start()
    until(lambda: at(daemon, 1), 30)
    assert daemon.end(signal.SIGTERM) == 0
    tree.path.rename(tree.path.with_name("gone"))
    daemon.start()
    until(lambda: daemon.status().source.reachable is False, 20)
    until(lambda: daemon.status().verdict == "converged", 20)
    status = daemon.status()
    assert status.source.using_last_known_good
    assert status.source.reason == "missing"


def test_a_second_daemon_is_refused(daemon: Daemon) -> None:
    daemon.start()
    assert daemon.process is not None
    second = subprocess.run(
        [BIN / "cxmd", "--config", daemon.config], capture_output=True, text=True, check=False
    )
    assert second.returncode == 75
    assert f"(pid {daemon.process.pid})" in second.stderr
    with pytest.raises(Failure):
        daemon.control.get("/v1/nope", Status)


@pytest.mark.parametrize(
    ("spoil", "status", "told"),
    [
        ("settings", 78, "unknown key"),
        ("no-settings", 78, "No such file"),
        ("engine", 78, "clusterKeyRef: key asks for it"),
        ("secret-mode", 78, "chmod 0600"),
        ("journal", 65, "00000001.jsonl:1: the checksum does not fit"),
    ],
)
def test_what_cannot_start_says_why(daemon: Daemon, spoil: str, status: int, told: str) -> None:
    settings = json.loads(daemon.config.read_text())
    match spoil:
        case "settings":
            daemon.config.write_text(json.dumps({**settings, "nodde": "x"}))
        case "no-settings":
            daemon.config.unlink()
        case "engine":
            engine = {"engine": {"kind": "builtin"}, "clusterKeyRef": "key"}
            daemon.config.write_text(json.dumps({**settings, **engine}))
        case "secret-mode":
            (daemon.folder / "secrets.d/xapi").chmod(0o644)
        case _:
            (daemon.state / "journal").mkdir(parents=True)
            (daemon.state / "journal/00000001.jsonl").write_text('{"seq":1,"crc":"00000000"}\n')
    daemon.start()
    assert daemon.process is not None
    assert daemon.process.wait(20) == status
    said = daemon.log.read_text()
    assert told in said
    assert "Traceback" not in said


def test_usage_is_not_a_difference() -> None:
    done = subprocess.run([BIN / "cxmd", "--nonsense"], capture_output=True, check=False)
    assert done.returncode == 64


def test_the_version_is_told(tmp_path: Path) -> None:
    words: list[str | Path] = [BIN / "cxmd", "--version"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert re.fullmatch(r"cxmd \d+\.\d+\.\d+\S*\n", done.stdout)
    assert list(tmp_path.iterdir()) == []
