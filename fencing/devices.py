"""The ways to fence a node: levels of devices, from what the tree says.

Levels are tried in order; within one, all devices must succeed, so a node with two supplies is one
level of two outlets: all are switched off before any is switched on. An empty tuple means that no
device can: the node's loss is a hold, ended by an oath.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from schema.fence_agents import MAY_CERTIFY, FenceAgent, Kind
from schema.model import Desired, DeviceTimeouts, FenceDevice, Frozen, Node


class Action(StrEnum):
    """What an agent can be asked to do. cxm never asks for `reboot`: nothing is read back between."""

    OFF = "off"
    ON = "on"
    STATUS = "status"
    LIST = "list"
    METADATA = "metadata"


class Guard(StrEnum):
    """What must be known of a device before an `off` of it is believed."""

    SEEN_ON = "seen-on"
    """It has said on while the node lived: a wrong plug or cable says off all the time."""

    LISTED = "listed"
    """Its plug is among those it lists: an outlet that does not exist reads as off, and "is" off."""


class DeviceUse(Frozen, frozen=True, kw_only=True):
    """One device, as it is used for one node. Without secrets: `credentials_ref` names them.

    `login_s` and `power_s` bound one run of the agent; `drill_s` is the longest time between two
    readings that prove the device. `plug` is the node's outlet, None where the device is one server.
    """

    device: str
    node: str
    agent: str
    plug: str | None = None
    options: Mapping[str, str] = MappingProxyType({})
    credentials_ref: str | None = None
    login_s: float = DeviceTimeouts().login_s
    power_s: float = DeviceTimeouts().power_s
    drill_s: float = 86400.0

    @property
    def known(self) -> FenceAgent:
        """What is known of its agent; the tree's check has refused any other."""
        return MAY_CERTIFY[self.agent]

    @property
    def by_hand(self) -> bool:
        """Whether only a human's oath can certify through it."""
        return self.known.kind is Kind.HUMAN

    @property
    def guards(self) -> frozenset[Guard]:
        if self.by_hand:
            return frozenset()
        return frozenset({Guard.SEEN_ON, Guard.LISTED} if self.known.plugged else {Guard.SEEN_ON})

    @property
    def wiring(self) -> str:
        """Another one for every change of agent, address, options or outlet: what a trial showed is of this
        one alone."""
        named = [
            self.agent,
            self.plug or "",
            *(f"{k}={v}" for k, v in sorted(self.options.items())),
        ]
        return hashlib.sha256("\0".join(named).encode()).hexdigest()[:16]

    @property
    def longest_s(self) -> float:
        """After so many seconds a run of its agent is killed, so nothing of it happens later."""
        return self.login_s + self.power_s + SETTLE_S


Level = tuple[DeviceUse, ...]

SETTLE_S = 3.0
"""An agent that gave up at its own time-out still waits (fence_ipmilan: 2 s) and tells why."""

_ADDRESS = re.compile(r"(?:\[([^]]+)\]|([^:]+))(?::([0-9]+))?")


def levels(desired: Desired, node: str) -> tuple[Level, ...]:
    """How `node` is fenced. `desired` is a tree that its check has accepted, and has that node."""
    found = desired.nodes[node]
    if found.bmc is not None:
        return ((_controller(desired, found, found.bmc),),)
    if found.fencing is None:
        return ()
    policy = desired.policies[found.fencing]
    return tuple(
        tuple(_use(desired.devices[name], node) for name in level) for level in policy.levels
    )


def _use(device: FenceDevice, node: str) -> DeviceUse:
    return DeviceUse(
        device=device.name,
        node=node,
        agent=device.agent,
        plug=device.plugs.get(node),
        options=device.options,
        credentials_ref=device.credentials_ref,
        login_s=device.timeouts.login_s,
        power_s=device.timeouts.power_s,
        drill_s=device.drill_s,
    )


def _controller(desired: Desired, node: Node, bmc: str) -> DeviceUse:
    """The node's own management controller, through the agent that the Cluster names."""
    shared = desired.cluster.fencing
    assert shared is not None, "a tree with a bmc and no agent for it is refused"
    return DeviceUse(
        device=f"bmc/{node.name}",
        node=node.name,
        agent=shared.agent,
        options=MappingProxyType({**shared.options, **_address(bmc)}),
        credentials_ref=shared.credentials_ref,
    )


def _address(endpoint: str) -> dict[str, str]:
    """`10.0.0.1`, `10.0.0.1:6230`, `[fd00::1]:6230` and `fd00::1`, as options of an agent."""
    match = _ADDRESS.fullmatch(endpoint)
    if match is None:  # a bare IPv6 address
        return {"ip": endpoint}
    address = {"ip": match[1] or match[2]}
    return address | {"ipport": match[3]} if match[3] else address


def without_power(ways: tuple[Level, ...]) -> tuple[DeviceUse, ...]:
    """The devices of the first level that could tell of a server without power: a controller inside of it
    goes with it, unless it has a supply of its own, of which nothing is known here."""
    for level in ways:
        able = [use for use in level if not use.by_hand]
        if able and all(use.known.kind is not Kind.BMC for use in able):
            return tuple(able)
    return ()
