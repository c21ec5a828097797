"""What nodes, fence devices and policies must keep between them, so that an `off` hits who is meant.

A device that two nodes take for their own would certify the one while it switches the other off.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from schema.crosscheck import ROOT, Fault
from schema.entries import Entry
from schema.fence_agents import MAY_CERTIFY, Kind
from schema.merging import Plain

_Named = Mapping[str, Entry]


def ways(entries: Sequence[Entry]) -> Iterator[Fault]:
    """Every node's way to be fenced names something that can be told from all other nodes' ways."""
    nodes = [entry for entry in entries if entry.kind == "Node" and entry.value is not None]
    yield from _bmcs(entries, nodes)
    devices, policies = _named(entries, "FenceDevice"), _named(entries, "FencingPolicy")
    yield from _doubled_plugs(devices.values())
    used: dict[str, str] = {}  # a device that is one server: the node that it is
    for node in nodes:
        policy = policies.get(_value(node).get("fencing", ""))
        if policy is not None:
            yield from _policy(node, policy, devices, used)


def _value(entry: Entry) -> Plain:
    assert entry.value is not None
    return entry.value


def _named(entries: Sequence[Entry], kind: str) -> _Named:
    return {e.name: e for e in entries if e.kind == kind and e.value is not None and e.name}


def _bmcs(entries: Sequence[Entry], nodes: Sequence[Entry]) -> Iterator[Fault]:
    """A node's `bmc` is an address for the agent that the Cluster names, and its alone."""
    cluster = next((entry.value for entry in entries if entry.path == ROOT), None)
    first: dict[str, str] = {}
    for node in nodes:
        address = _value(node).get("bmc")
        if address is None:
            continue
        if cluster is not None and "fencing" not in cluster:
            message = "bmc: cluster.yaml names no fence agent that could use it"
            yield node.path, ("bmc",), "V028", message, "add fencing: {agent: ...} to cluster.yaml"
        earlier = first.setdefault(address, node.path)
        if earlier != node.path:
            message = f"bmc: {earlier} claims the same address"
            yield node.path, ("bmc",), "V023", message, "an off would hit the other; correct one"


def _doubled_plugs(devices: Iterable[Entry]) -> Iterator[Fault]:
    """No two nodes hang on one outlet."""
    for device in devices:
        first: dict[str, str] = {}
        for node, plug in _value(device).get("plugs", {}).items():
            earlier = first.setdefault(plug, node)
            if earlier != node:
                message = f"plugs: {earlier} has the same plug"
                hint = "an off would hit both; write who hangs where"
                yield device.path, ("plugs", node), "V023", message, hint


def _policy(node: Entry, policy: Entry, devices: _Named, used: dict[str, str]) -> Iterator[Fault]:
    for level in _value(policy)["levels"]:
        for name in level:
            device = devices.get(name)
            if device is not None and node.name:
                yield from _use(node, device, used)


def _use(node: Entry, device: Entry, used: dict[str, str]) -> Iterator[Fault]:
    """`used` grows."""
    value = _value(device)
    agent = MAY_CERTIFY.get(value["agent"])
    if agent is None:
        return
    if agent.plugged and node.name not in value.get("plugs", {}):
        message = f"fencing: {device.path} has no plug for {node.name}"
        yield (
            node.path,
            ("fencing",),
            "V028",
            message,
            f"add it there: plugs: {{{node.name}: PLUG}}",
        )
    if agent.kind is Kind.BMC:
        earlier = used.setdefault(value["name"], node.path)
        if earlier != node.path:
            message = f"fencing: {device.path} is one server, and {earlier} uses it already"
            yield node.path, ("fencing",), "V023", message, "each server has a device of its own"
