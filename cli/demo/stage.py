"""What the demo stands on: a simulated pool, a repository behind svnserve, settings, a daemon."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cli.envelope import failure

NODE = "manager"
CLUSTER_ID = "6caf76a5-7035-48ae-8280-ad3729a6f2e7"
POOL = Path(__file__).with_name("pool.yaml")
PASSWORD = "secret"  # noqa: S105 - the simulated pool's, also written in pool.yaml
READER = "cxm"
TREE = "lyon"

_READY_WITHIN_S = 20.0
_RESTART_AFTER_S = 1.0
_END_WITHIN_S = 5.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(slots=True)
class Child:
    """A program in the background. With `again` it is started anew, one second after it died."""

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    log: Path
    again: bool = False
    process: subprocess.Popen[bytes] | None = None
    _ending: threading.Event = field(default_factory=threading.Event)
    _keeper: threading.Thread | None = None

    def start(self) -> None:
        self._launch()
        if self.again:
            self._keeper = threading.Thread(target=self._keep, name=f"keep {self.name}")
            self._keeper.start()

    def _launch(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - an argument list, no shell
                self.command, env=dict(self.env), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _keep(self) -> None:
        while not self._ending.is_set():
            assert self.process is not None
            self.process.wait()
            if not self._ending.wait(_RESTART_AFTER_S):
                self._launch()

    @property
    def pid(self) -> int:
        return self.process.pid if self.process is not None else 0

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def end(self) -> None:
        """Ask it to end, and end it where it does not."""
        self._ending.set()
        if self._keeper is not None:
            with suppress(ProcessLookupError):
                self._signal(signal.SIGTERM)
            self._keeper.join(_END_WITHIN_S + _RESTART_AFTER_S)
        if self.process is not None:
            self._signal(signal.SIGTERM)
            try:
                self.process.wait(_END_WITHIN_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def _signal(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)


class Stage:
    """The folder of one demo and the children in it. Use it as a context manager.

    Raises Failure (1) where a program is missing or does not come up.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.repository = self.folder / "repository"
        self.working_copy = self.folder / "wc"
        self.config = self.folder / "node" / "node.yaml"
        self.ready: dict[str, Any] = {}
        self.daemon: Child | None = None
        self._port = free_port()
        self._children = ExitStack()

    def __enter__(self) -> Stage:
        for program in ("svn", "svnadmin", "svnserve"):
            if shutil.which(program) is None:
                hint = "install it (apt install subversion)"
                raise failure("error", "NoSubversion", f"there is no {program}", hint)
        for name in ("log", "node/secrets.d"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *raised: object) -> None:
        self._children.close()

    # --- names --------------------------------------------------------------------------------

    @property
    def repository_url(self) -> str:
        """Where people commit: as themselves, without a password."""
        return f"file://{self.repository}/{TREE}"

    @property
    def served_url(self) -> str:
        """Where the daemon reads: over the network, with a password."""
        return f"svn://127.0.0.1:{self._port}/{self.repository.name}/{TREE}"

    @property
    def env(self) -> dict[str, str]:
        """The environment of everything that is typed."""
        own = Path(sys.executable).parent
        return {
            **os.environ,
            "PATH": f"{own}:{os.environ.get('PATH', os.defpath)}",
            "LC_ALL": "C.UTF-8",
            "CXM_CONFIG": str(self.config),
            "CXM_SIM": str(self.ready.get("control", "")),
            "WC": str(self.working_copy),
            "REPO": str(self.repository),
        }

    @property
    def first_host(self) -> Mapping[str, str]:
        host: Mapping[str, str] = self.ready["hosts"][0]
        return host

    # --- the children -------------------------------------------------------------------------

    def start_pool(self, speed: float) -> None:
        """The simulated pool, its operations so many times faster; ends when every host answers."""
        ready = self.folder / "ready.json"
        ready.unlink(missing_ok=True)
        folder = str(self.folder / "pool")
        options = ("--dir", folder, "--ready-file", ready, "--speed", speed)
        pool = self._child("sim", "cxm", "sim", POOL, *options)
        self._await(pool, ready.is_file)
        self.ready = json.loads(ready.read_bytes())

    def start_repository(self) -> None:
        """An empty repository with hooks, served with a password, and a working copy of it."""
        self._tool("svnadmin", "create", str(self.repository))
        conf = self.repository / "conf"
        (conf / "svnserve.conf").write_text(
            "[general]\nanon-access = none\nauth-access = write\n"
            "password-db = passwd\nrealm = cxm demo\n",
            encoding="utf-8",
        )
        (conf / "passwd").write_text(f"[users]\n{READER} = {PASSWORD}\n", encoding="utf-8")
        self._tool("svn", "mkdir", "-q", "-m", "A place for the tree", self.repository_url)
        self._tool("svn", "checkout", "-q", self.repository_url, str(self.working_copy))
        address = ("--listen-host", "127.0.0.1", "--listen-port", str(self._port))
        server = self._child(
            "svnserve", "svnserve", "--daemon", "--foreground", *address, "--root", self.folder
        )
        self._await(server, self._served)

    def install_hooks(self) -> None:
        """The two hooks, in the environment that Subversion gives them: none at all."""
        cxm = shlex.quote(self._program("cxm"))
        control = shlex.quote(str(self.config.parent / "run" / "cxmd.sock"))
        before = f'{cxm} hook pre-commit --repository "$1" --transaction "$2"'
        after = f'{cxm} hook post-commit --socket {control} "$1" "$2"'
        for name, line in (("pre-commit", before), ("post-commit", after)):
            hook = self.repository / "hooks" / name
            hook.write_text(f"#!/bin/sh\nLC_ALL=C.UTF-8 exec {line}\n", encoding="utf-8")
            hook.chmod(0o755)

    def _served(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0

    def write_settings(self) -> None:
        """node.yaml of the one daemon, and its two secrets."""
        hosts = self.ready["hosts"]
        addresses = ", ".join(f'"{urlsplit(host["url"]).netloc}"' for host in hosts)
        pins = ", ".join(f'"{host["fingerprint"]}"' for host in hosts)
        state, run = self.folder / "node" / "state", self.folder / "node" / "run"
        self.config.write_text(
            f"node: {NODE}\n"
            f"cluster: {{id: {CLUSTER_ID}}}\n"
            f'source: {{url: "{self.served_url}", user: {READER}, credentialsRef: subversion}}\n'
            f"xenapi: {{addresses: [{addresses}], credentialsRef: pool, fingerprints: [{pins}]}}\n"
            f'stateDir: "{state}"\nrunDir: "{run}"\n',
            encoding="utf-8",
        )
        for name in ("pool", "subversion"):
            secret = self.config.parent / "secrets.d" / name
            secret.touch(mode=0o600)
            secret.write_text(f"{PASSWORD}\n", encoding="utf-8")

    def start_daemon(self) -> None:
        """cxmd, which comes back one second after it died."""
        self.daemon = self._child("cxmd", "cxmd", "--config", self.config, again=True)
        self._await(self.daemon, (self.folder / "node" / "run" / "cxmd.sock").exists)

    def _child(self, name: str, *command: object, again: bool = False) -> Child:
        words = tuple(map(str, command))
        log = self.folder / "log" / f"{name}.log"
        child = Child(name, (self._program(words[0]), *words[1:]), self.env, log, again)
        self._children.callback(child.end)
        child.start()
        return child

    def _program(self, name: str) -> str:
        found = shutil.which(name, path=self.env["PATH"])
        if found is None:
            raise failure("error", "NoProgram", f"there is no {name} beside {sys.executable}")
        return found

    def _await(self, child: Child, ready: Any) -> None:
        until_s = time.monotonic() + _READY_WITHIN_S
        while not ready():
            if not (child.alive or child.again) or time.monotonic() > until_s:
                tail = child.log.read_text(encoding="utf-8", errors="replace")[-2000:]
                message = f"{child.name} does not come up"
                raise failure("error", "NotReady", message, tail.rstrip())
            time.sleep(0.05)

    def _tool(self, *command: str) -> None:
        done = subprocess.run(  # noqa: S603 - an argument list, no shell
            command, env=self.env, capture_output=True, encoding="utf-8", check=False
        )
        if done.returncode:
            raise failure("error", "Tool", f"{shlex.join(command)} failed", done.stderr.rstrip())

    # --- for others ---------------------------------------------------------------------------

    def announce(self) -> None:
        """Write `demo.json` and `env`, each whole or not at all; called again for a new pid."""
        assert self.daemon is not None
        # By its name, and as the one daemon that there is.
        pids = dict.fromkeys(("cxmd", "daemon"), self.daemon.pid)
        node = {"name": NODE, "config": str(self.config), "pids": pids}
        document = {
            **self.ready,
            "repository": self.repository_url,
            "working_copy": str(self.working_copy),
            "nodes": [node],
        }
        _write_whole(self.folder / "demo.json", json.dumps(document, indent=2) + "\n")
        names = ("CXM_CONFIG", "CXM_SIM", "WC", "REPO")
        rows = [f"export {name}={shlex.quote(self.env[name])}" for name in names]
        own = shlex.quote(str(Path(sys.executable).parent))
        rows.append(f'export PATH={own}:"$PATH"')
        _write_whole(self.folder / "env", "\n".join(rows) + "\n")

    def withdraw(self) -> None:
        """Nothing is up any more: who still finds the files would wait for ever."""
        for name in ("demo.json", "env"):
            (self.folder / name).unlink(missing_ok=True)


def _write_whole(path: Path, text: str) -> None:
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)
