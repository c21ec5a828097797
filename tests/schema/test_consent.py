"""What a revision does for good, and the words that allow it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from schema.consent import Impact, Missing, changes, missing_consent, trailers
from schema.model import (
    VM,
    Cluster,
    Desired,
    Limits,
    Manage,
    Match,
    Mode,
    Restart,
    VmState,
)

GIB = 2**30
LIMITS = Limits()
NONE = Limits(removals_per_revision=0, restarts_per_revision=0)


def vm(name: str, **fields: object) -> VM:
    base = VM(name=name, manage=Manage.ENFORCE, match=Match(uuid=f"uuid-{name}"), memory=GIB)
    return replace(base, **{"state": VmState.RUNNING, **fields})


def desired(*vms: VM, cluster_id: str = "c") -> Desired:
    cluster = Cluster(name="lyon", id=cluster_id, mode=Mode.AUTO)
    return Desired(cluster=cluster, vms={vm.name: vm for vm in vms})


def impact(was: VM, now: VM | None) -> Impact:
    return changes(desired(was), desired(now) if now else desired())


def test_a_first_revision_takes_nothing_away() -> None:
    assert changes(None, desired(vm("a"))) == Impact()
    assert changes(desired(vm("a")), desired(vm("a"), vm("b"))) == Impact()


def test_a_file_that_is_gone_is_a_removal() -> None:
    assert impact(vm("a"), None) == Impact(removals=("vm/a",))


def test_retiring_is_a_removal_and_the_file_may_go_later() -> None:
    retired = vm("a", state=VmState.RETIRED)
    assert impact(vm("a"), retired) == Impact(removals=("vm/a",))
    assert impact(retired, None) == Impact()


def test_a_renamed_vm_is_not_removed() -> None:
    renamed = vm("b", previous_names=("a",), match=Match(uuid="uuid-a"))
    assert impact(vm("a"), renamed) == Impact()
    assert impact(vm("a"), vm("b", match=Match(uuid="uuid-a"))) == Impact()
    assert impact(vm("a"), vm("b", previous_names=("a",))) == Impact(uuids=("vm/b",))


@pytest.mark.parametrize(
    ("fields", "restarted"),
    [
        ({"memory": 2 * GIB}, True),
        ({"vcpus": 4}, True),
        ({"memory": None}, False),
        ({"memory": 2 * GIB, "restart": Restart.NEVER}, False),
        ({"state": VmState.HALTED}, True),
        ({"state": VmState.SUSPENDED}, True),
        ({"state": VmState.IGNORED}, False),
        ({"memory": 2 * GIB, "state": None}, False),
        ({"name_label": "new"}, False),
    ],
)
def test_what_restarts_a_vm(fields: dict[str, object], *, restarted: bool) -> None:
    expected = ("vm/a",) if restarted else ()
    assert impact(vm("a"), replace(vm("a"), **fields)).restarts == expected


def test_another_uuid_means_another_vm() -> None:
    assert impact(vm("a"), vm("a", match=Match(uuid="x"))).uuids == ("vm/a",)
    assert impact(vm("a", match=Match(name="a")), vm("a")).uuids == ()
    assert impact(vm("a"), vm("a", match=Match(name="a"))).uuids == ("vm/a",)


def test_another_cluster_or_repository_is_another_source() -> None:
    assert changes(desired(), desired(cluster_id="d")).source_changed
    assert changes(None, desired(), other_repository=True).source_changed


def test_within_the_limits_no_consent_is_needed() -> None:
    bold = Impact(removals=("vm/a",), restarts=tuple(f"vm/v{i}" for i in range(5)))
    assert missing_consent(bold, [LIMITS], "") == ()


def test_the_stricter_limits_hold() -> None:
    """Or the very revision that is to be stopped could lift them."""
    bold = Impact(removals=("vm/a",))
    generous = Limits(removals_per_revision=1000)
    assert missing_consent(bold, [NONE, generous], "") == missing_consent(bold, [NONE], "") != ()


@pytest.mark.parametrize(
    ("what", "line"),
    [
        (Impact(removals=("vm/a", "vm/b")), "Cxm-Accept: removals=vm/a,vm/b"),
        (Impact(removals=tuple(f"vm/v{i}" for i in range(9))), "Cxm-Accept: removals=9"),
        (Impact(restarts=("vm/a",)), "Cxm-Accept: restarts=1"),
        (Impact(uuids=("vm/web1",)), "Cxm-Accept: uuid=vm/web1"),
        (Impact(source_changed=True), "Cxm-Accept: source-changed"),
    ],
)
def test_the_line_that_is_asked_for_is_the_line_that_suffices(what: Impact, line: str) -> None:
    (missing,) = missing_consent(what, [NONE], "web1 to 8 GiB\n")
    assert missing.trailer_line == line
    assert missing_consent(what, [NONE], f"web1 to 8 GiB\n\n{line}\n") == ()


@pytest.mark.parametrize(
    "message",
    [
        "Cxm-Accept: removals=vm/a",
        "Cxm-Accept: removals=3",
        "Cxm-Accept: removals",
        "Cxm-Accept: restarts=2",
        "I accept removals=2",
        " Cxm-Accept: removals=2",
    ],
)
def test_consent_to_something_else_is_none(message: str) -> None:
    what = Impact(removals=("vm/a", "vm/b"))
    reason = "removes or retires 2 VMs (vm/a, vm/b); without consent at most 0"
    expected = Missing(trailer_line="Cxm-Accept: removals=vm/a,vm/b", reason=reason)
    assert missing_consent(what, [NONE], message) == (expected,)


def test_consents_add_up_over_items_and_lines() -> None:
    message = (
        "retire the old ones\r\n\r\nReviewed-by: Eve\r\n"
        "Cxm-Accept: removals=vm/old1, vm/old2 restarts=12, source-changed\r\n"
        "cxm-accept: uuid=vm/web1,removals=vm/old3 survival=0\r\n"
    )
    assert trailers(message) == {
        "removals": ("vm/old1", "vm/old2", "vm/old3"),
        "restarts": ("12",),
        "source-changed": (),
        "uuid": ("vm/web1",),
        "survival": ("0",),
    }


def test_all_that_is_missing_is_told_at_once() -> None:
    what = Impact(removals=("vm/a",), restarts=("vm/b",), uuids=("vm/c",), source_changed=True)
    assert len(missing_consent(what, [NONE], "")) == 4
    said = "Cxm-Accept: removals=vm/a restarts=1 uuid=vm/c source-changed"
    assert missing_consent(what, [NONE], said) == ()
