"""What would be done if another tree were in force: a working copy, a revision, another URL.

The pool is looked at from here, read only; the daemon knows nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from msgspec.structs import replace

from cli import asking, tree
from cli.envelope import Failure
from cli.options import Invocation
from cli.settings import node_settings
from reconciler.actions import Told
from reconciler.messages import Head
from reconciler.status import Status, Verdict
from schema.model import Desired, Identified


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
    settings = node_settings(run)
    composed = compose.supposing(run, settings, loaded, head)
    status = asking.of_cluster(run, composed.status)
    in_force = compose.in_force(settings)
    return status if in_force is None else _with_removals(status, in_force, loaded.desired)


def _with_removals(status: Status, old: Desired, new: Desired) -> Status:
    """What the tree no longer names is no difference to the pool, but one that people want to see."""
    gone = [
        *(f"vm/{name}" for name in _gone(old.vms, new.vms)),
        *(f"node/{name}" for name in _gone(old.nodes, new.nodes)),
    ]
    if not gone:
        return status
    rows = tuple(
        Told(object=name, reason="NoLongerManaged", message="in no file any more: left as it is")
        for name in gone
    )
    verdict = Verdict.DIFFERS if status.verdict is Verdict.CONVERGED else status.verdict
    return replace(status, verdict=verdict, plan=replace(status.plan, told=status.plan.told + rows))


def _gone(old: Mapping[str, Identified], new: Mapping[str, Identified]) -> list[str]:
    renamed = {past for item in new.values() for past in item.previous_names}
    return [name for name in old if name not in new and name not in renamed]
