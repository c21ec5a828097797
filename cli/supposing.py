"""What would be done if another tree were in force: a working copy, a revision, another URL.

The pool is looked at from here, read only; the daemon knows nothing of it.
"""

from __future__ import annotations

from pathlib import Path

from cli import asking, tree
from cli.envelope import Failure
from cli.options import Invocation
from cli.settings import node_settings
from reconciler.messages import Head
from reconciler.status import Status


def folder(run: Invocation, where: Path) -> Status:
    """Raises Failure: 3 where the tree is not valid, 6 where the pool cannot be seen."""
    files = tree.read(tree.root_of(where))
    return _supposed(run, files, f"working copy {where}", None)


def revision(run: Invocation, url: str | None, number: int | None) -> Status:
    """A revision (None: the newest) of the tree at `url` (None: the source of this node)."""
    from cli import compose  # noqa: PLC0415 - loads the XenAPI client: a third of a second

    files, head = compose.exported(run, node_settings(run), url, number)
    return _supposed(run, files, f"r{head.revision}", head)


def _supposed(run: Invocation, files: tree.Files, of: str, head: Head | None) -> Status:
    from cli import compose  # noqa: PLC0415 - as above

    loaded, finding = tree.checked(files)
    if loaded.desired is None:
        run.note(f"{of} is not valid:")
        raise Failure(finding)
    composed = compose.supposing(run, node_settings(run), loaded, head)
    return asking.of_cluster(run, composed.status)
