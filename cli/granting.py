"""What the commands that grant or forbid something have in common: names in, the answer out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from cli import asking, select
from cli.client import NoDaemon
from cli.envelope import Failure, Finding, failure
from cli.options import Invocation
from cli.render.text import line
from reconciler.messages import Reply


def named(run: Invocation, sel: str) -> tuple[str, ...]:
    """The objects of `sel`; `all` stays `all`, so that it holds for what is added later, too."""
    status = asking.need_daemon(run, lambda control: control.status())
    asking.of_cluster(run, status)
    if select.whole(sel):
        return (select.ALL,)
    return select.selected(sel, asking.objects_in(run, status, sel))


def known_here(run: Invocation) -> None:
    """What goes to the whole cluster needs no object, but it must be the right cluster."""
    if run.cluster is not None:
        status = asking.need_daemon(run, lambda control: control.status())
        asking.of_cluster(run, status)


def named_after(run: Invocation) -> None:
    """What was granted is answered with the cluster's name; that it cannot be asked undoes nothing."""
    with suppress(NoDaemon, Failure):
        asking.of_cluster(run, asking.control(run).status())


def seen(run: Invocation, sel: str) -> tuple[str, ...]:
    """The objects of `sel`; `all` stands for those that are in the pool now."""
    names = named(run, sel)
    if names != (select.ALL,):
        return names
    status = asking.need_daemon(run, lambda control: control.status())
    vms = [f"vm/{vm.name}" for vm in status.vms if vm.observed is not None]
    return (*(f"node/{node.name}" for node in status.nodes), *vms)


def node_named(run: Invocation, node: str) -> str:
    """The bare name of exactly one node, given as `xen2` or `node/xen2`."""
    objects = named(run, node if "/" in node else f"node/{node}")
    if len(objects) != 1 or not objects[0].startswith("node/"):
        raise failure("error", "NotANode", f'"{node}" is not one node')
    return objects[0].removeprefix("node/")


def granted(reply: Reply, told: str, *, objects: Sequence[str]) -> Finding:
    """An accepted request, in the daemon's words; `told` where it has none."""
    words = [*reply.notes, *([reply.message] if reply.message else [])]
    data = {"objects": list(objects), "message": reply.message, "notes": list(reply.notes)}
    return Finding("converged", data, [line(row) for row in words or [told]])
