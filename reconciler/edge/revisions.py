"""Revisions on disk: `revisions/REV-DIGEST/`, beside each `REV-DIGEST.json` saying where it is from.

A revision appears under its name only when all of it is durable. `target` is a symbolic link to the
last known good one, with which the daemon starts when Subversion is away.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import threading
from collections.abc import Iterator, Mapping, Set
from pathlib import Path

import msgspec
from msgspec import field

from membership.edge.durable import sync_folder, write_whole
from reconciler.messages import Authorship, Head
from schema import tree as trees
from schema.model import Frozen

KEPT = 10
LARGEST_TREE = 256 * 1024 * 1024
"""Bytes of all files of a tree: far beyond any real one, and still no danger to the daemon."""

_INCOMING = "incoming-"


class UnreadableTree(Exception):
    """The tree on disk is not what it should be. It is never read as an empty one."""


class Origin(Frozen, frozen=True, kw_only=True):
    """Where a kept tree comes from; `authors` says who last changed each of its files."""

    head: Head
    authors: Mapping[str, Authorship] = field(default_factory=dict)


class RevisionStore:
    """The revisions of one state directory."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / "revisions"
        self._target = state_dir / "target"
        self._admitting = threading.Lock()
        self._folder.mkdir(mode=0o750, exist_ok=True)
        for left in self._folder.glob(_INCOMING + "*"):
            shutil.rmtree(left)

    def incoming(self) -> Path:
        """A path for an export, inside the store (a rename must not cross file systems)."""
        return Path(tempfile.mkdtemp(prefix=_INCOMING, dir=self._folder)) / "tree"

    def discard(self, tree: Path) -> None:
        shutil.rmtree(tree.parent, ignore_errors=True)

    def admit(self, tree: Path, digest: str, origin: Origin) -> None:
        """Give an exported tree its name, durably, and forget the oldest others.

        Removing a large tree takes its time: this is to run beside the event loop, not in it.
        """
        with self._admitting:
            name = _name(origin.head.revision, digest)
            write_whole(self._folder / f"{name}.json", msgspec.json.encode(origin))
            self._place(tree, self._folder / name, digest)
            self.discard(tree)
            sync_folder(self._folder)
            target = self._target.readlink().name if self._target.is_symlink() else ""
            self._prune(keep={name, target})

    def _place(self, tree: Path, home: Path, digest: str) -> None:
        """One that lies there already stays, unless it was changed after it was fetched."""
        if home.exists():
            if _is(home, digest):
                os.utime(home)
                return
            home.rename(tree.with_name("damaged"))
        _sync_tree(tree)
        tree.rename(home)

    def keep(self, revision: int, digest: str) -> None:
        """Make a revision the last known good one. Durable when it returns."""
        name = _name(revision, digest)
        assert (self._folder / name).is_dir(), f"{name} was never fetched"
        fresh = self._target.with_name("target.new")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(Path("revisions") / name)
        fresh.replace(self._target)
        sync_folder(self._target.parent)

    def kept(self) -> tuple[Origin, str, dict[str, bytes]] | None:
        """Origin, digest and files of the last known good revision; None where there is none yet.

        The digest is the one it was kept under: the reader compares. Raises UnreadableTree.
        """
        if not self._target.is_symlink():
            return None
        name = self._target.readlink().name
        origin, files = self._read(name)
        return origin, name.partition("-")[2], files

    def stored(self, revision: int, digest: str) -> tuple[Origin, dict[str, bytes]] | None:
        """Origin and files of a revision fetched before; None where it was not. Raises UnreadableTree."""
        if self.folder(revision, digest) is None:
            return None
        return self._read(_name(revision, digest))

    def folder(self, revision: int, digest: str) -> Path | None:
        """Where a fetched revision lies; None where it was not fetched, or was forgotten."""
        found = self._folder / _name(revision, digest)
        return found if found.is_dir() else None

    def _read(self, name: str) -> tuple[Origin, dict[str, bytes]]:
        try:
            origin = msgspec.json.decode((self._folder / f"{name}.json").read_bytes(), type=Origin)
            return origin, read_tree(self._folder / name)
        except (OSError, msgspec.DecodeError) as error:
            raise UnreadableTree(f"{self._folder / name}: {error}") from error

    def _prune(self, keep: Set[str]) -> None:
        """The newest few stay, and `keep` however old they are."""
        trees = [path for path in self._folder.iterdir() if path.is_dir()]
        trees = [path for path in trees if not path.name.startswith(_INCOMING)]
        trees.sort(key=lambda path: (path.stat().st_mtime, path.name), reverse=True)
        for path in trees[KEPT:]:
            if path.name not in keep:
                shutil.rmtree(path)
                path.with_name(path.name + ".json").unlink(missing_ok=True)


def read_tree(root: Path) -> dict[str, bytes]:
    """Every file below `root` by its path there. Raises UnreadableTree.

    A symbolic link reads as what Subversion stores for it, and is not followed: it might lead to a
    file of this machine.
    """
    files: dict[str, bytes] = {}
    left = LARGEST_TREE
    for path in _walk(root):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            content = b"link " + os.fsencode(path.readlink())
        elif stat.S_ISREG(mode):
            content = path.read_bytes()
        else:
            raise UnreadableTree(f"{path}: neither a file nor a folder")
        left -= len(content)
        if left < 0:
            raise UnreadableTree(f"{root}: more than {LARGEST_TREE >> 20} MiB in all")
        files[path.relative_to(root).as_posix()] = content
    return files


def _is(root: Path, digest: str) -> bool:
    try:
        return trees.digest(read_tree(root)) == digest
    except (OSError, UnreadableTree):
        return False


def _walk(root: Path) -> Iterator[Path]:
    """Everything below that is not a folder. Links to folders are not followed."""
    with os.scandir(root) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path))
            else:
                yield Path(entry.path)


def _sync_tree(root: Path) -> None:
    for path in _walk(root):
        if not path.is_symlink():
            _sync_file(path)
    for folder, _, _ in os.walk(root):
        sync_folder(Path(folder))


def _sync_file(path: Path) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _name(revision: int, digest: str) -> str:
    return f"{revision}-{digest}"
