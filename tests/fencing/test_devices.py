"""From a tree to the ways in which its nodes are fenced."""

from __future__ import annotations

from types import MappingProxyType

import pytest

from fencing.devices import DeviceUse, Guard, levels
from schema.model import Desired
from schema.tree import load

HEAD = "apiVersion: cxm/v1\nkind: {}\nname: {}\n"
SHARED = "fencing: {agent: fence_ipmilan, credentialsRef: bmc, options: {lanplus: '1'}}\n"


def desired(node: str, cluster: str = "", **devices: str) -> Desired:
    identifier = "00000000-0000-4000-8000-000000000000"
    files = {
        "cluster.yaml": HEAD.format("Cluster", "lyon")
        + f"id: {identifier}\nmode: auto\n"
        + cluster,
        "nodes/xen1.yaml": HEAD.format("Node", "xen1") + "roles: [peer]\n" + node,
    }
    for name, text in devices.items():
        kind = "FencingPolicy" if name == "policy" else "FenceDevice"
        files[f"fencing/{name}.yaml"] = HEAD.format(kind, name) + text
    loaded = load({path: text.encode() for path, text in files.items()})
    assert loaded.errors == ()
    assert loaded.desired is not None
    return loaded.desired


def test_an_address_is_a_device_of_the_clusters_agent() -> None:
    assert levels(desired("bmc: 10.0.1.1\n", SHARED), "xen1") == (
        (
            DeviceUse(
                device="bmc/xen1",
                node="xen1",
                agent="fence_ipmilan",
                options=MappingProxyType({"lanplus": "1", "ip": "10.0.1.1"}),
                credentials_ref="bmc",
            ),
        ),
    )


@pytest.mark.parametrize(
    ("address", "ip", "port"),
    [
        ("10.0.1.1:6230", "10.0.1.1", "6230"),
        ("bmc1.example.org", "bmc1.example.org", None),
        ("fd00::1", "fd00::1", None),
        ("'[fd00::1]'", "fd00::1", None),
        ("'[fd00::1]:6230'", "fd00::1", "6230"),
    ],
)
def test_every_form_of_an_address(address: str, ip: str, port: str | None) -> None:
    ((use,),) = levels(desired(f"bmc: {address}\n", SHARED), "xen1")
    assert (use.options["ip"], use.options.get("ipport")) == (ip, port)


def test_a_port_of_its_own_goes_before_the_clusters() -> None:
    shared = SHARED.replace("lanplus: '1'", "ipport: '6230'")
    ((use,),) = levels(desired("bmc: 10.0.1.1:6231\n", shared), "xen1")
    assert use.options["ipport"] == "6231"


def test_a_policy_is_levels_of_devices() -> None:
    strip = "agent: fence_apc_snmp\noptions: {{ip: 10.0.2.{}}}\nplugs: {{xen1: '{}'}}\n"
    found = levels(
        desired(
            "fencing: policy\n",
            policy="levels: [[controller], [a, b], [oath]]\n",
            controller="agent: fence_ipmilan\noptions: {ip: 10.0.1.1}\ndrill: 1h\n",
            a=strip.format(1, 3) + "timeouts: {login: 2s, power: 8s}\n",
            b=strip.format(2, 5),
            oath="agent: manual\n",
        ),
        "xen1",
    )
    assert [[(use.device, use.plug) for use in level] for level in found] == [
        [("controller", None)],
        [("a", "3"), ("b", "5")],
        [("oath", None)],
    ]
    (controller,), (a, b), (oath,) = found
    assert (controller.drill_s, a.login_s, a.power_s) == (3600.0, 2.0, 8.0)
    assert a.longest_s == 13.0
    assert b.guards == {Guard.SEEN_ON, Guard.LISTED}
    assert controller.guards == {Guard.SEEN_ON}
    assert oath.by_hand
    assert oath.guards == frozenset()


def test_a_node_that_is_not_fenced_has_no_level() -> None:
    assert levels(desired("unfenced: accepted\n"), "xen1") == ()
