"""A pool as it is, written as a tree: nothing in it asks for any change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.observed import Observed
from schema.model import Desired
from schema.writing import cluster_file, name_to_label, node_file, vm_file


@dataclass(frozen=True, slots=True)
class Imported:
    """`nodes` and `vms`: name in the tree -> file text. `names`: uuid -> name, known ones included.

    `left_out` counts what is never managed; `renamed` tells names that a file cannot have.
    """

    cluster: str | None
    nodes: Mapping[str, str]
    vms: Mapping[str, str]
    names: Mapping[str, str]
    left_out: Mapping[str, int]
    renamed: tuple[tuple[str, str], ...]

    def files(self, chosen: frozenset[str] | None) -> dict[str, bytes]:
        """The tree; of the VMs only `chosen` (names like `vm/web1`) where that is not None."""
        texts = {f"nodes/{name}.yaml": text for name, text in self.nodes.items()}
        texts |= {
            f"vms/{name}.yaml": text
            for name, text in self.vms.items()
            if chosen is None or f"vm/{name}" in chosen
        }
        if self.cluster is not None:
            texts["cluster.yaml"] = self.cluster
        return {path: text.encode() for path, text in sorted(texts.items())}


def imported(
    observed: Observed, cluster_id: str, existing: Desired | None = None, *, manage: str = "observe"
) -> Imported:
    """The files for everything in the pool that `existing` does not know by its uuid."""
    known = _known(existing)
    hosts = [(host.name, host.uuid) for host in observed.nodes.values()]
    vms = [(vm.name, vm.uuid) for vm in observed.vms.values()]
    taken_nodes = set(existing.nodes) if existing else set()
    taken_vms = set(existing.vms) if existing else set()
    node_names = _labelled(hosts, known, taken_nodes)
    vm_names = _labelled(vms, known, taken_vms)
    pool = name_to_label(observed.pool.name or "cluster")
    return Imported(
        cluster=cluster_file(pool, cluster_id) if existing is None else None,
        nodes={
            name: node_file(name, uuid, observed.nodes[uuid].address)
            for uuid, name in node_names.items()
        },
        vms={name: vm_file(name, uuid, manage=manage) for uuid, name in vm_names.items()},
        names={**known, **node_names, **vm_names},
        left_out=dict(sorted(Counter(copy.kind for copy in observed.copies).items())),
        renamed=tuple(
            (was, vm_names[uuid]) for was, uuid in sorted(vms) if vm_names.get(uuid, was) != was
        ),
    )


def _known(existing: Desired | None) -> dict[str, str]:
    if existing is None:
        return {}
    nodes = {node.host.uuid: name for name, node in existing.nodes.items() if node.host}
    vms = {vm.match.uuid: name for name, vm in existing.vms.items() if vm.match.uuid}
    return {**nodes, **vms}


def _labelled(
    pairs: list[tuple[str, str]], known: Mapping[str, str], taken: set[str]
) -> dict[str, str]:
    """uuid -> label, in the order of names, so that the same pool always gives the same tree."""
    labels: dict[str, str] = {}
    for name, uuid in sorted(pairs):
        if uuid not in known:
            labels[uuid] = name_to_label(name, taken)
            taken.add(labels[uuid])
    return labels
