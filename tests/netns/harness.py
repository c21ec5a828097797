"""A whole cluster in network namespaces: nodes, the pool, Subversion, the disk; and how it is taken down.

Everything lies in one folder and has one prefix in its names, so that whatever an earlier run left
behind can be found and removed. Needs root.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from cli.demo.nodes import SERVERS
from cli.demo.stage import POOL as POOL_FILE
from tests.netns.disks import PLACE, SharedDisk, detach_below, thaw
from tests.netns.nodes import (
    BIN,
    CLUSTER_ID,
    PASSWORD,
    READER,
    SVN_PORT,
    Node,
    Place,
    environment,
    served_by_pool,
    until,
)
from tests.netns.wires import POOL, POOL_NUMBER, PREFIX, Wires, address, inside, run

FOLDER = Path(tempfile.gettempdir()) / "cxm-netns"
LOGS = Path(f"{FOLDER}-logs")
"""What was logged and journalled, by run, for who wants to know why one failed."""
_LOCK = Path(f"{FOLDER}.lock")
_TREE = Path(__file__).parents[2] / "cluster-config"
_TIMING = "heartbeat: {interval: 500ms, suspectAfter: 2s, deadAfter: 4s}\n"
DEAD_AFTER_S = 4.0
LEADS_WITHIN_S = 30.0
CONVERGES_WITHIN_S = 45.0


def remove_all() -> None:
    """Processes, mounts, devices, namespaces and the folder: of this run, or left by an earlier one."""
    names = [row.split()[0] for row in run("ip", "netns", "list").splitlines() if row.strip()]
    ours = [name for name in names if name.startswith(PREFIX)]
    thaw(FOLDER / PLACE)
    for name in ours:
        _end_processes(name)
    detach_below(FOLDER / PLACE)
    for row in reversed(Path("/proc/self/mounts").read_text().splitlines()):
        place = row.split()[1]
        if place.startswith(f"{FOLDER}/"):
            run("umount", "--lazy", place)
    detach_below(FOLDER)
    for name in ours:
        run("ip", "netns", "delete", name)
    shutil.rmtree(FOLDER, ignore_errors=True)


@contextmanager
def alone() -> Iterator[None]:
    """Nothing is there at the beginning, and nothing at the end. Who else wants that waits."""
    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        remove_all()
        try:
            yield
        finally:
            remove_all()


def _end_processes(name: str) -> None:
    """Kill what is in a namespace, and wait until it is gone: nothing of it may hold a device open."""
    ends_s = time.monotonic() + 10.0
    while pids := run("ip", "netns", "pids", name).split():
        for pid in pids:
            if not _is_zombie(pid):
                os.kill(int(pid), signal.SIGKILL)
        if all(map(_is_zombie, pids)):
            return
        assert time.monotonic() < ends_s, f"{name}: {pids} do not end"
        time.sleep(0.05)


def _is_zombie(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


class Cluster:
    """`count` peers that hear each other. Use it as a context manager; only one exists at a time."""

    def __init__(self, name: str, count: int, tell: Callable[[str], None]) -> None:
        witnesses = (f"witness{number}" for number in range(1, count + 1))
        self._names = (*SERVERS, *witnesses)[:count]
        self.tell = tell
        self._logs = LOGS / name
        self.wires = Wires(count)
        self.disk = SharedDisk(FOLDER)
        self.nodes: tuple[Node, ...] = ()
        self._tree = FOLDER / "tree"
        self._children: list[subprocess.Popen[bytes]] = []
        self._control = ""
        self.started = False
        self._ends = ExitStack()

    def __enter__(self) -> Cluster:
        with ExitStack() as so_far:
            so_far.enter_context(alone())
            so_far.callback(self._take_down)
            FOLDER.mkdir()
            self._set_up()
            self._ends = so_far.pop_all()
        return self

    def __exit__(self, *raised: object) -> None:
        self._ends.close()

    def _take_down(self) -> None:
        thaw(FOLDER / PLACE)
        for node in self.nodes:
            node.kill()
        for child in self._children:
            child.kill()
            child.wait()
        self._keep_logs()

    def _keep_logs(self) -> None:
        shutil.rmtree(self._logs, ignore_errors=True)
        self._logs.mkdir(parents=True)
        for log in (*FOLDER.rglob("*.log"), *FOLDER.rglob("pages"), *FOLDER.rglob("*.jsonl")):
            if log.is_file():
                shutil.copy(log, self._logs / "-".join(log.relative_to(FOLDER).parts))

    # --- setting up -------------------------------------------------------------------------------

    def _set_up(self) -> None:
        self.wires.lay()
        devices = self.disk.attach(len(self._names))
        run(BIN / "cxm", "heartbeat", "format", devices[0], "--cluster-id", CLUSTER_ID)
        self.nodes = tuple(
            Node(name, number, FOLDER / name, device)
            for number, (name, device) in enumerate(zip(self._names, devices, strict=True), 1)
        )
        ready = self._start_pool()
        self._start_repository()
        place = Place(ready["hosts"], served_by_pool("repository"), secrets.token_urlsafe(32))
        for node in self.nodes:
            node.write_settings(place)
            self.settled(node)

    def _start_pool(self) -> dict[str, Any]:
        ready = FOLDER / "ready.json"
        options = ("--dir", FOLDER / "pool", "--ready-file", ready, *self.pool_options())
        pool = FOLDER / "pool.yaml"
        pool.write_text(self.pool_as(POOL_FILE.read_text("utf-8")), "utf-8")
        self._child("sim", BIN / "cxm", "sim", pool, *options)
        until(ready.is_file, 30.0, "the simulated pool answers")
        shown: dict[str, Any] = json.loads(ready.read_bytes())
        self._control = shown["control"]
        self.pool_is_ready(shown)
        return shown

    def pool_as(self, text: str) -> str:
        """Hook: the pool's file, as it is to be simulated."""
        return text

    def pool_options(self) -> tuple[str, ...]:
        """What else the simulator is started with."""
        return ()

    def pool_is_ready(self, shown: Mapping[str, Any]) -> None:
        """Hook: what its ready file shows."""

    def settled(self, node: Node) -> None:
        """Hook: the settings of a node are written."""

    def described(self, name: str, text: str) -> str:
        """Hook: the file of a node in the tree, as it is to be committed."""
        del name
        return text

    def _start_repository(self) -> None:
        repository = FOLDER / "repository"
        run("svnadmin", "create", repository)
        (repository / "conf" / "svnserve.conf").write_text(
            "[general]\nanon-access = none\nauth-access = write\npassword-db = passwd\n"
        )
        (repository / "conf" / "passwd").write_text(f"[users]\n{READER} = {PASSWORD}\n")
        here = ("--listen-host", address(POOL_NUMBER, 0), "--listen-port", SVN_PORT)
        self._child("svnserve", "svnserve", "--daemon", "--foreground", *here, "--root", FOLDER)
        run("svn", "checkout", "-q", f"file://{repository}", self._tree)
        for part in _TREE.iterdir():
            if part.is_dir():
                shutil.copytree(part, self._tree / part.name)
        cluster = (_TREE / "cluster.yaml").read_text()
        (self._tree / "cluster.yaml").write_text(f"{cluster}{_TIMING}")
        for node in self.nodes:
            self._describe(node)
        for file in (self._tree / "nodes").glob("*.yaml"):
            file.write_text(self.described(file.stem, file.read_text()))
        run("svn", "add", "-q", *self._tree.glob("*"))
        run("svn", "commit", "-q", "-m", "a pool with peers", self._tree)

    def _describe(self, node: Node) -> None:
        """A node in the tree: where it is heard, and its device of the disk."""
        heard = ", ".join(f'"{where}"' for where in node.heard_at)
        beats = f"heartbeat: {{addresses: [{heard}], disk: {node.disk}}}\n"
        file = self._tree / "nodes" / f"{node.name}.yaml"
        if file.exists():
            text = re.sub(r"^roles:.*", "roles: [run, peer]", file.read_text(), flags=re.M)
        else:
            text = f"apiVersion: cxm/v1\nkind: Node\nname: {node.name}\nroles: [witness]\n"
        file.write_text(text + beats)

    def _child(self, name: str, *command: object) -> None:
        words = (*inside(POOL), *map(str, command))
        with (FOLDER / f"{name}.log").open("ab") as log:
            child = subprocess.Popen(
                words, env=environment(FOLDER), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._children.append(child)

    # --- what runs do -----------------------------------------------------------------------------

    def start(self) -> Node:
        """All daemons; the leader, once it acts and all nodes hear each other."""
        for node in self.nodes:
            node.start()
        leader = self.one_leads()
        self.all_alive()
        self.converged(1)
        self.started = True
        return leader

    def node(self, name: str | None) -> Node:
        return next(node for node in self.nodes if node.name == name)

    def others(self, *but: Node) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node not in but)

    def one_leads(self, among: Sequence[Node] = (), but: Node | None = None) -> Node:
        """The one node among these that acts, once all of them agree that it leads."""
        asked = among or self.nodes

        def agreed() -> bool:
            leaders = {node.leader for node in asked}
            if len(leaders) != 1 or leaders == {None} or (but and but.name in leaders):
                return False
            return self.node(asked[0].leader).acts

        took_s = until(agreed, LEADS_WITHIN_S, "all follow one leader, and it acts", *asked)
        leader = self.node(asked[0].leader)
        self.tell(f"{leader.name} leads and acts, after {took_s:.1f} s")
        return leader

    def nobody_leads(self, among: Iterable[Node], within_s: float) -> None:
        asked = tuple(among)

        def nobody() -> bool:
            said = [node.status() for node in asked]
            return all(s is not None and s.leadership.state == "nobody" for s in said)

        took_s = until(nobody, within_s, "nobody leads", *asked)
        self.tell(f"nobody leads, after {took_s:.1f} s")

    def paged(self, key: str, severity: str, among: Iterable[Node], within_s: float) -> None:
        """One of these nodes told people of `key`, and the last thing it told was `severity`: who hears
        of that tells it not again."""
        asked = tuple(among)

        def told() -> bool:
            return any(node.pages(key)[-1:] == [severity] for node in asked)

        what = f"one of them told people: {key} {severity}"
        took_s = until(told, within_s, what, *asked)
        self.tell(f"people were told {key} {severity}, after {took_s:.1f} s")

    def all_alive(self, within_s: float = 30.0) -> None:
        names = {node.name for node in self.nodes}

        def heard() -> bool:
            return all(
                node.peers() == dict.fromkeys(names - {node.name}, "alive") for node in self.nodes
            )

        until(heard, within_s, "all hear each other", *self.nodes)

    def converged(self, revision: int, among: Sequence[Node] = ()) -> None:
        """The leader says that the pool is as `revision` wants it."""
        asked = among or self.nodes

        def done() -> bool:
            leading = [node for node in asked if node.acts]
            said = [node.status() for node in leading]
            return any(s is not None and s.revision.converged == revision for s in said)

        took_s = until(done, CONVERGES_WITHIN_S, f"revision {revision} is in force", *asked)
        self.tell(f"revision {revision} is in force, after {took_s:.1f} s")

    def commit(self, file: str, old: str, new: str) -> int:
        """Replace text of one file of the tree (every place of `old`; "" appends `new`), commit it, and
        say so to whoever listens. The revision."""
        path = self._tree / file
        text = path.read_text()
        path.write_text(text.replace(old, new) if old else text + new)
        said = run("svn", "commit", "-m", f"{file}: {new.strip()}", self._tree)
        found = re.search(r"Committed revision (\d+)", said)
        assert found is not None, said
        for node in self.nodes:
            if node.status() is not None:
                node.control.post("look")
        return int(found[1])

    # --- the simulator's word ---------------------------------------------------------------------

    def sim(self, *about: str) -> dict[str, Any]:
        """What `cxm sim ctl` answers. Asks the simulator, which asks nobody."""
        answer = run(BIN / "cxm", "sim", "ctl", "--control", self._control, "-o", "json", *about)
        found: dict[str, Any] = json.loads(answer)["data"]
        return found

    def calls(self, method: str, vm: str = "") -> list[dict[str, Any]]:
        """Calls of `method` (as it ends, such as `VM.pool_migrate`) for a VM, oldest first."""
        entries = self.sim("log")["entries"]
        return [
            entry
            for entry in entries
            if entry["method"].endswith(method) and (not vm or entry["object"]["name"] == vm)
        ]

    def changes(self) -> list[tuple[str, str, str]]:
        """Everything that changed a VM, oldest first: when, which call, of what."""
        return [
            (entry["time"], entry["method"], entry["object"]["name"])
            for entry in self.calls("")
            if entry["object"]["class"] == "VM"
        ]

    def unhurt(self) -> None:
        """Nothing ran twice, no server was switched off or declared dead."""
        status = self.sim("status")
        assert self.sim("corruption")["count"] == 0
        assert all(host["powered"] for host in status["hosts"]), status["hosts"]
        assert self.calls("declare_dead") == []
        assert self.calls("power_state_reset") == []
