"""A tree of files on this machine: a working copy, an exported revision, a folder to be written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from cli.envelope import Finding, failure, fault_of
from cli.render.text import lines
from schema.report import render
from schema.tree import Loaded, load

Files = Mapping[str, bytes]


def read(root: Path) -> Files:
    """Every file below `root`, by path relative to it, without hidden files and folders.

    Raises Failure (exit 1) where there is no such folder or a file cannot be read.
    """
    if not root.is_dir():
        raise failure("error", "NoSuchFolder", f"{root} is no folder")
    files: dict[str, bytes] = {}
    for folder, inner, names in os.walk(root, onerror=_unreadable):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                path = Path(folder, name)
                files[path.relative_to(root).as_posix()] = _content(path)
    return files


def _unreadable(error: OSError) -> None:
    """A folder that cannot be read is not an empty one: VMs would seem to be removed."""
    raise failure("error", "Unreadable", f"{error.filename}: {error.strerror}") from None


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise failure("error", "Unreadable", f"{path}: {error.strerror}") from None


def root_of(folder: Path) -> Path:
    """The folder at or above `folder` that holds cluster.yaml; `folder` itself where none does."""
    for candidate in (folder, *folder.absolute().parents):
        if (candidate / "cluster.yaml").is_file():
            return candidate
    return folder


def checked(files: Files, *, strict: bool = False) -> tuple[Loaded, Finding]:
    """The tree, and the finding of `cxm validate`: invalid (3) with every error, or converged (0).

    `strict` takes warnings for errors.
    """
    loaded = load(files)
    problems = [*loaded.errors, *loaded.warnings]
    wrong = bool(loaded.errors) or (strict and bool(loaded.warnings))
    count = sum(path.endswith((".yaml", ".yml")) for path in files)
    return loaded, Finding(
        "invalid" if wrong else "converged",
        {"files": count, "digest": loaded.digest, "warnings": len(loaded.warnings)},
        lines(render(problems, files, read=count)),
        loaded.desired.cluster.name if loaded.desired else None,
        errors=tuple(fault_of(error) for error in problems),
        told=True,
    )


def write_new(root: Path, files: Files) -> None:
    """Add `files` below `root`; files that are there already are never touched.

    Raises Failure (exit 4) naming what is in the way, before anything is written.
    """
    there = [path for path in sorted(files) if (root / path).exists()]
    if there:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        message = f"{root / there[0]}{more} exists already; nothing was written"
        raise failure("refused", "FileExists", message, "give another --out, or move them away")
    for path, content in sorted(files.items()):
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("xb") as file:
            file.write(content)
