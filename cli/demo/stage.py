"""What the demo stands on: a simulated pool, a repository behind svnserve, nodes with daemons."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cli.demo import servers
from cli.demo.children import Child, free_port
from cli.demo.nodes import PASSWORD, READER, DemoNode, demo_nodes
from cli.envelope import failure

POOL = Path(__file__).with_name("pool.yaml")
TREE = "lyon"

_READY_WITHIN_S = 20.0


class Stage:
    """The folder of one demo and the children in it. Use it as a context manager.

    Raises Failure (1) where a program is missing or does not come up.
    """

    def __init__(self, folder: Path, peers: int = 0) -> None:
        self.folder = folder.absolute()
        self.repository = self.folder / "repository"
        self.working_copy = self.folder / "wc"
        self.nodes = demo_nodes(self.folder, peers)
        self.ready: dict[str, Any] = {}
        self._port = free_port()
        self._children = ExitStack()

    def __enter__(self) -> Stage:
        for program in ("svn", "svnadmin", "svnserve"):
            if shutil.which(program) is None:
                hint = "install it (apt install subversion)"
                raise failure("error", "NoSubversion", f"there is no {program}", hint)
        (self.folder / "log").mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *raised: object) -> None:
        # All of them at once: one after the other, each would see its peers leave.
        for node in self.nodes:
            for daemon in node.daemons.values():
                daemon.ask_to_end()
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
            **({"NODES": str(self.config.parents[1])} if self.peers else {}),
        }

    @property
    def config(self) -> Path:
        """The settings that people's commands go by: the first node's."""
        return self.nodes[0].config

    @property
    def peers(self) -> tuple[DemoNode, ...]:
        """The nodes where they are several, else none."""
        return tuple(node for node in self.nodes if node.peering is not None)

    @property
    def pids(self) -> list[dict[str, int]]:
        """Of all nodes' daemons; another one where a daemon died and came back."""
        return [node.pids for node in self.nodes]

    @property
    def first_host(self) -> Mapping[str, str]:
        host: Mapping[str, str] = self.ready["hosts"][0]
        return host

    # --- the children -------------------------------------------------------------------------

    def start_pool(self, speed: float) -> None:
        """The simulated pool, its operations so many times faster; ends when every host answers, and
        its BMC."""
        ready = self.folder / "ready.json"
        ready.unlink(missing_ok=True)
        folder = str(self.folder / "pool")
        options = ("--dir", folder, "--ready-file", ready, "--speed", speed, "--bmcs")
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
        sockets = " ".join(f"--socket {shlex.quote(str(node.control))}" for node in self.nodes)
        before = f'{cxm} hook pre-commit --repository "$1" --transaction "$2"'
        after = f'{cxm} hook post-commit {sockets} "$1" "$2"'
        for name, line in (("pre-commit", before), ("post-commit", after)):
            hook = self.repository / "hooks" / name
            hook.write_text(f"#!/bin/sh\nLC_ALL=C.UTF-8 exec {line}\n", encoding="utf-8")
            hook.chmod(0o755)

    def _served(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0

    def write_settings(self) -> None:
        """Each node's settings and secrets; all peers have the same key."""
        key = secrets.token_urlsafe(32)
        for node in self.nodes:
            bmc = servers.secret(self.ready["bmcs"])
            node.write_settings(self.served_url, self.ready["hosts"], key, bmc)

    def start_daemons(self) -> None:
        """The daemons of every node, which come back one second after they died."""
        for node in self.nodes:
            for program in node.programs:
                name = program if node.peering is None else f"{program}-{node.name}"
                command = (program, "--config", node.config)
                node.daemons[program] = self._child(name, *command, again=True)
        for node in self.nodes:
            self._await(node.daemons["cxmd"], node.control.exists)
        mains = servers.Mains(Path(self.ready["control"]), self.nodes)
        self._children.callback(mains.end)
        mains.start()

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
        document = {
            **self.ready,
            "repository": self.repository_url,
            "working_copy": str(self.working_copy),
            "nodes": [
                {"name": node.name, "config": str(node.config), "pids": node.pids}
                for node in self.nodes
            ],
        }
        _write_whole(self.folder / "demo.json", json.dumps(document, indent=2) + "\n")
        env, names = self.env, ("CXM_CONFIG", "CXM_SIM", "WC", "REPO", "NODES")
        rows = [f"export {name}={shlex.quote(env[name])}" for name in names if name in env]
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
