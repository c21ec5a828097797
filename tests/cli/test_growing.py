"""From a pool's address to two peers, by the commands that a person types. Real processes."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from cli.demo.children import Child, free_port
from tests.cli.demos import BIN, until

pytestmark = pytest.mark.xdist_group("growing")

POOL = Path(__file__).parents[2] / "cli" / "demo" / "pool.yaml"


class Site:
    """A folder with a simulated pool, and daemons that are started by their settings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
        self.children = ExitStack()

    def start(self, *command: object) -> Child:
        words = tuple(map(str, command))
        log = self.folder / f"{words[0]}.log"
        child = Child(words[0], (str(BIN / words[0]), *words[1:]), self.env, log)
        self.children.callback(child.end)
        child.start()
        return child

    def run(self, command: str) -> str:
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            env=self.env, cwd=self.folder, capture_output=True, encoding="utf-8", check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def status(self, name: str) -> Any:
        """What a node says, whatever its exit status."""
        command = [str(BIN / "cxm"), "--config", str(self.folder / name / "node.yaml")]
        done = subprocess.run(
            [*command, "status", "-o", "json"], env=self.env, capture_output=True, check=False
        )
        return json.loads(done.stdout)["data"]

    def leader(self, name: str) -> str | None:
        found: str | None = self.status(name)["leadership"]["leader"]
        return found

    def alive(self, name: str) -> set[str]:
        return {peer["name"] for peer in self.status(name)["peers"] if peer["state"] == "alive"}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    with made.children:
        yield made


def dirs(name: str) -> str:
    return f"--dir {name} --name {name} --state-dir $PWD/{name}/state --run-dir $PWD/{name}/run"


@pytest.mark.timeout(180)
def test_one_node_becomes_two_peers_and_one_again(site: Site) -> None:
    ready = site.folder / "ready.json"
    site.start("cxm", "sim", POOL, "--dir", site.folder / "pool", "--ready-file", ready)
    assert until(ready.is_file, 20)
    host = json.loads(ready.read_bytes())["hosts"][0]["url"].removeprefix("https://").rstrip("/")
    site.run("echo secret > password")
    site.run(f"cxm init {host} --new-repo svn {dirs('xen1')} --password-file password --yes")
    beat, peer, metrics = (free_port("127.0.1.1") for _ in range(3))
    listen = f"listen: {{heartbeat: {beat}/udp, peer: {peer}, metrics: {metrics}}}"
    site.run(
        f"echo {shlex.quote(listen)} >> xen1/node.yaml && svn checkout -q file://$PWD/svn/lyon wc"
    )
    site.env["CXM_CONFIG"] = str(site.folder / "xen1" / "node.yaml")

    # The only node makes itself a peer, and is the leader of itself.
    site.run(f"cxm node add xen1 --wc wc --address 127.0.1.1:{beat}")
    for program in ("cxm-heartbeatd", "cxmd"):
        site.start(program, "--config", site.env["CXM_CONFIG"])
    assert until((site.folder / "xen1" / "run" / "cxmd.sock").exists, 20)
    assert until(lambda: site.leader("xen1") == "xen1", 40)

    # A second one joins by the command that the first prints.
    told = site.run(f"cxm node add xen2 --wc wc --address 127.0.1.2:{beat}")
    found = re.search(r"cxm init --join \S+ --name xen2 --code \S+", told)
    assert found is not None, told
    site.run(found[0].replace("--name xen2", dirs("xen2")))
    second = [
        site.start(program, "--config", site.folder / "xen2" / "node.yaml")
        for program in ("cxm-heartbeatd", "cxmd")
    ]
    assert until((site.folder / "xen2" / "run" / "cxmd.sock").exists, 20)
    assert until(lambda: site.alive("xen1") == site.alive("xen2") == {"xen1", "xen2"}, 40)
    assert until(lambda: site.leader("xen2") == site.leader("xen1") is not None, 20)
    assert until(lambda: len(site.status("xen1")["leadership"]["voters"]) == 2, 30)

    # And it goes again.
    if site.leader("xen1") == "xen1":
        site.run("svn update -q wc && cxm node remove xen2 --wc wc")
        assert until(lambda: site.status("xen1")["leadership"]["voters"] == ["xen1"], 40)
    for child in second:
        child.end()
