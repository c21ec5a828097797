"""Reading a repository from inside a hook: by svnlook and svn, without network, changing nothing.

Every file of the tree counts, but few change: the last revision is exported whole, and of the
transaction only those files are read whose node (Subversion's id of one version of one file) is not
in it. Renames and copies cost nothing that way.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from schema.tree import is_read

CLUSTER = "cluster.yaml"
WITHIN_S = 120.0
"""For one command of Subversion. A repository that takes longer is not well."""

_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
_UTF8 = {"encoding": "utf-8", "errors": "surrogateescape"}

Files = Mapping[str, bytes]


class HookFailed(Exception):
    """The repository cannot be read from here. A commit that cannot be judged is refused."""


class Transaction:
    """The transaction `name` of the repository at `path`. Programs are those in `binaries`."""

    def __init__(self, path: Path, name: str, binaries: Path) -> None:
        self._path = path
        self._name = name
        self._binaries = binaries
        self._known: dict[tuple[str, str], bool] = {}

    @property
    def message(self) -> str:
        return self._look("log", "-t", self._name).decode("utf-8", "replace")

    def clusters(self) -> tuple[str, ...]:
        """Folders (relative to the repository) whose cluster this transaction touches, sorted.

        A folder that lost its cluster.yaml counts; one that is gone altogether does not: no daemon
        takes a missing folder for an empty cluster.
        """
        found: set[str] = set()
        for flag, path in self._changed():
            if flag == "A" and path.endswith("/"):
                found.update(self._clusters_below(path.rstrip("/")))
            found.update(folder for folder in _above(path) if self._is_cluster(folder))
        return tuple(sorted(found))

    def files(self, cluster: str, old: Files, old_nodes: Mapping[str, str]) -> Files:
        """The tree of a cluster as it would be. `old` are the files of an earlier revision, whose
        nodes are `old_nodes`."""
        contents = {node: old[path] for path, node in old_nodes.items() if path in old}
        nodes = self.nodes(cluster, "-t", self._name)
        return {
            path: contents[node] if node in contents else self._content(_join(cluster, path))
            for path, node in nodes.items()
        }

    def before(self, cluster: str) -> tuple[Files, Mapping[str, str]]:
        """The files of the folder as they are now, and their nodes; none where it is new."""
        youngest = self._youngest()
        if not self._exists(cluster, "-r", youngest):
            return {}, {}
        return self.exported(cluster, int(youngest)), self.nodes(cluster, "-r", youngest)

    def history(self, cluster: str, limit: int) -> Iterator[Files]:
        """The folder's files in the last revisions that touched it, newest first."""
        rows = self._look("history", "-l", str(limit), args=(cluster,)).decode(**_UTF8)
        for row in rows.splitlines()[2:]:
            revision, path = row.split(maxsplit=1)
            yield self.exported(path.strip("/"), int(revision))

    def exported(self, cluster: str, revision: int) -> Files:
        """The cluster's files in that revision."""
        url = f"file://{quote(str(self._path))}/{quote(cluster)}@{revision}"
        with tempfile.TemporaryDirectory(prefix="cxm-hook-") as folder:
            into = Path(folder, "tree")
            options = ("--config-dir", folder, "--non-interactive", "--no-auth-cache", "-q")
            plain = ("--ignore-externals", "--ignore-keywords", "--native-eol", "LF")
            self._run("svn", "export", *options, *plain, url, str(into))
            return {
                path.relative_to(into).as_posix(): _stored(path)
                for path in sorted(into.rglob("*"))
                if is_read(path.relative_to(into).as_posix())
                and (path.is_symlink() or path.is_file())
            }

    def nodes(self, cluster: str, *which: str) -> dict[str, str]:
        """The node of each file that cxm reads, by path below the folder."""
        options = ("--full-paths", "--show-ids", *which)
        rows = self._look("tree", *options, args=(cluster,)).decode(**_UTF8).splitlines()
        prefix = f"{cluster}/" if cluster else ""
        pairs = [row.lstrip("/").rpartition(" <")[::2] for row in rows]
        return {
            path.removeprefix(prefix): node
            for path, node in pairs
            if not path.endswith("/") and is_read(path.removeprefix(prefix))
        }

    def _changed(self) -> Iterator[tuple[str, str]]:
        """What `svnlook changed` says: a letter and a path; folders end in a slash."""
        for row in self._look("changed", "-t", self._name).decode(**_UTF8).splitlines():
            yield row[0], row[4:]

    def _clusters_below(self, folder: str) -> Iterator[str]:
        """An added folder may be a copy, of which only the top is listed as changed."""
        options = ("--full-paths", "-t", self._name)
        rows = self._look("tree", *options, args=(folder,)).decode(**_UTF8).splitlines()
        for row in rows:
            if PurePosixPath(row).name == CLUSTER and not row.endswith("/"):
                yield _parent(row.lstrip("/"))

    def _is_cluster(self, folder: str) -> bool:
        file = _join(folder, CLUSTER)
        if self._exists(file, "-t", self._name):
            return True
        was = self._exists(file, "-r", self._youngest())
        return was and self._exists(folder, "-t", self._name)

    def _exists(self, path: str, *which: str) -> bool:
        key = (path, " ".join(which))
        if key not in self._known:
            done = self._ran("svnlook", "tree", "-N", *which, str(self._path), _absolute(path))
            self._known[key] = done.returncode == 0
        return self._known[key]

    def _youngest(self) -> str:
        return self._look("youngest").decode().strip()

    def _content(self, path: str) -> bytes:
        return self._look("cat", "-t", self._name, args=(path,))

    def _look(self, verb: str, *options: str, args: tuple[str, ...] = ()) -> bytes:
        return self._run("svnlook", verb, *options, str(self._path), *map(_absolute, args))

    def _run(self, program: str, *words: str) -> bytes:
        done = self._ran(program, *words)
        if done.returncode != 0:
            said = done.stderr.decode("utf-8", "replace").strip()
            raise HookFailed(f"{program} {words[0]} failed: {said}")
        return done.stdout

    def _ran(self, program: str, *words: str) -> subprocess.CompletedProcess[bytes]:
        """No shell, no environment of the server, no words of a committer as options."""
        try:
            return subprocess.run(  # noqa: S603
                [str(self._binaries / program), *words],
                env=_ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=WITHIN_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise HookFailed(f"{program} {words[0]}: {error}") from error


def _above(path: str) -> Iterator[str]:
    """The folders in which a path lies, itself included if it is one; `""` is the repository's root."""
    folder = path.rstrip("/") if path.endswith("/") else _parent(path)
    while folder:
        yield folder
        folder = _parent(folder)
    yield ""


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _absolute(path: str) -> str:
    """With a slash before it no name can be taken for an option."""
    return f"/{path}"


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _stored(path: Path) -> bytes:
    """A symbolic link as Subversion stores it: what it leads to on this server is nobody's business."""
    if path.is_symlink():
        return b"link " + os.fsencode(path.readlink())
    return path.read_bytes()
