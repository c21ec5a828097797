"""The whole tree: merging, what is kept between revisions, the digest, where values come from."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from schema import model
from schema.tree import Loaded, digest, is_read, load

GIB = 2**30
MakeTree = Callable[[dict[str, str]], dict[str, bytes]]


def vm_text(name: str, more: str = "") -> str:
    head = f"apiVersion: cxm/v1\nkind: VM\nname: {name}\nmanage: enforce\nmatch: {{name: {name}}}\n"
    return head + more


def desired(loaded: Loaded) -> model.Desired:
    assert loaded.errors == ()
    assert loaded.desired is not None
    return loaded.desired


def test_the_sample_is_good_and_describes_the_demo_pool(sample: dict[str, bytes]) -> None:
    loaded = load(sample)
    found = desired(loaded)
    assert loaded.warnings == ()
    demo = Path(__file__).parents[2] / "cli" / "demo" / "pool.yaml"
    pool = YAML(typ="safe", pure=True).load(demo)
    hosts = {host["name"]: host["uuid"] for host in pool["hosts"]}
    vms = {vm["name"]: vm["uuid"] for vm in pool["vms"]}
    assert {name: node.host and node.host.uuid for name, node in found.nodes.items()} == hosts
    assert {name: vm.match.uuid for name, vm in found.vms.items()} == vms
    running = {vm["name"] for vm in pool["vms"] if vm["power_state"] == "Running"}
    wanted = {name for name, vm in found.vms.items() if vm.state is not model.VmState.HALTED}
    assert running == wanted


def test_sizes_in_the_sample_are_those_of_the_demo_pool(sample: dict[str, bytes]) -> None:
    found = desired(load(sample))
    demo = Path(__file__).parents[2] / "cli" / "demo" / "pool.yaml"
    for vm in YAML(typ="safe", pure=True).load(demo)["vms"]:
        wanted = found.vms[vm["name"]]
        assert wanted.memory in (None, int(vm["memory"].removesuffix("GiB")) * GIB)
        assert wanted.vcpus in (None, vm["vcpus"])
        assert set(wanted.tags_add) <= set(vm.get("tags", ()))


def test_layers_merge_maps_and_replace_lists(tree: MakeTree) -> None:
    defaults = (
        "defaults:\n  vm:\n    restart: now\n    labels: {tier: gold, zone: a}\n"
        "    placement: {prefer: [xen1], avoid: [xen2]}\n    migration: {timeout: 5m}\n"
    )
    files = tree(
        {
            "profiles/web.yaml": "apiVersion: cxm/v1\nkind: Profile\nname: web\ndescription: x\n"
            "labels: {zone: b}\nplacement: {prefer: [xen2, xen1]}\nmemory: 2GiB\n",
            "vms/web1.yaml": vm_text(
                "web1", "extends: profile/web\nmemory: 4GiB\nplacement: {avoid: []}\n"
            ),
            "vms/web2.yaml": vm_text("web2"),
        }
    )
    files["cluster.yaml"] += defaults.encode()
    vms = desired(load(files)).vms
    assert vms["web1"].labels == {"tier": "gold", "zone": "b"}
    assert vms["web1"].placement == model.Placement(prefer=("xen2", "xen1"))
    assert (vms["web1"].memory, vms["web1"].restart) == (4 * GIB, model.Restart.NOW)
    assert vms["web1"].description == ""
    assert vms["web2"].placement == model.Placement(prefer=("xen1",), avoid=("xen2",))
    assert (vms["web2"].memory, vms["web2"].migration.timeout_s) == (None, 300.0)


def test_everything_is_normalised(tree: MakeTree) -> None:
    node = (
        "apiVersion: cxm/v1\nkind: Node\nname: xen3\nroles: [peer]\ncapacity: {maxVMs: 7}\n"
        'maintenance: {until: "2026-12-01T06:00:00+01:00", reason: DIMM}\nreserve: {memory: 1GiB}\n'
    )
    policy = (
        "apiVersion: cxm/v1\nkind: FencingPolicy\nname: p\nlevels: [[d]]\n"
        "budget: {per 2h: 3, floor: 40%}\n"
    )
    device = "apiVersion: cxm/v1\nkind: FenceDevice\nname: d\nagent: manual\nplugs: {xen3: '4'}\n"
    vm = vm_text("a", "tags: {add: [x]}\nstart: {after: [vm/b]}\nextends: profile/p\nvcpus: 2\n")
    profile = "apiVersion: cxm/v1\nkind: Profile\nname: p\nrestart: never\n"
    found = desired(
        load(
            tree(
                {
                    "nodes/xen3.yaml": node,
                    "fencing/p.yaml": policy,
                    "fencing/d.yaml": device,
                    "profiles/p.yaml": profile,
                    "vms/a.yaml": vm,
                    "vms/b.yaml": vm_text("b"),
                }
            )
        )
    )
    assert found.nodes["xen3"].maintenance == model.Maintenance(
        until_epoch_s=1796101200.0, reason="DIMM"
    )
    assert (found.nodes["xen3"].reserve.memory, found.nodes["xen3"].capacity.max_vms) == (GIB, 7)
    assert found.policies["p"].budget == model.FenceBudget(count=3, per_s=7200.0, floor=0.4)
    assert found.devices["d"].plugs == {"xen3": "4"}
    assert (found.vms["a"].start.after, found.vms["a"].tags_add) == (("b",), ("x",))
    assert (found.vms["a"].extends, found.vms["a"].restart) == ("p", model.Restart.NEVER)
    assert found.profiles["p"].spec == {"restart": "never"}


EDITS = st.lists(
    st.sampled_from(
        [
            ("vms/a.yaml", vm_text("a", "memory: 2GiB\n")),
            ("vms/a.yaml", vm_text("a", "extends: profile/p\n")),
            ("vms/a.yaml", vm_text("a", "start: {after: [vm/b]}\n")),
            ("vms/b.yaml", vm_text("b", "start: {after: [vm/a]}\n")),
            ("vms/b.yaml", vm_text("b", "extends: profile/p\nplacement: {only: [xen1]}\n")),
            ("vms/b.yaml", "kind: ["),
            ("vms/a.yaml", None),
            ("vms/b.yaml", None),
            ("profiles/p.yaml", "apiVersion: cxm/v1\nkind: Profile\nname: p\nmemory: 1GiB\n"),
            ("profiles/p.yaml", "apiVersion: cxm/v1\nkind: Profile\nname: p\npriority: low\n"),
            (
                "profiles/p.yaml",
                "apiVersion: cxm/v1\nkind: Profile\nname: p\nplacement: {avoid: [xen1]}\n",
            ),
            ("profiles/p.yaml", None),
            ("nodes/xen1.yaml", None),
            ("cluster.yaml", None),
            ("README", "text"),
        ]
    ),
    max_size=12,
)


@given(EDITS)
def test_reading_what_changed_is_as_good_as_reading_all(
    edits: list[tuple[str, str | None]],
) -> None:
    files = {
        "cluster.yaml": b"apiVersion: cxm/v1\nkind: Cluster\nname: c\nmode: auto\n"
        b"id: 00000000-0000-4000-8000-000000000000\ndefaults: {vm: {restart: now}}\n",
        "nodes/xen1.yaml": b"apiVersion: cxm/v1\nkind: Node\nname: xen1\nroles: [peer]\n",
    }
    kept = load(files)
    for path, text in edits:
        files = {p: c for p, c in files.items() if p != path}
        if text is not None:
            files[path] = text.encode()
        kept, fresh = load(files, kept.cache), load(files)
        assert kept.desired == fresh.desired
        assert (kept.errors, kept.warnings) == (fresh.errors, fresh.warnings)
        assert kept.digest == fresh.digest == digest(files)


def test_unchanged_objects_stay_the_same_objects(sample: dict[str, bytes]) -> None:
    first = load(sample)
    changed = {**sample, "vms/web1.yaml": sample["vms/web1.yaml"] + b"vcpus: 4\n"}
    before, after = desired(first), desired(load(changed, first.cache))
    fresh = {name for name, vm in after.vms.items() if vm is not before.vms[name]}
    assert fresh == {"web1"}
    assert all(after.nodes[name] is node for name, node in before.nodes.items())


def test_a_change_of_limits_leaves_every_vm_alone(sample: dict[str, bytes]) -> None:
    first = load(sample)
    changed = {**sample, "cluster.yaml": sample["cluster.yaml"] + b"limits: {migrations: 9}\n"}
    before, after = desired(first), desired(load(changed, first.cache))
    assert after.cluster.limits.migrations == 9
    assert all(after.vms[name] is vm for name, vm in before.vms.items())


def test_objects_come_in_the_order_of_their_names(tree: MakeTree) -> None:
    files = tree({f"vms/{9 - i}/v{i}.yaml": vm_text(f"v{i}") for i in range(9)})
    loaded = load(dict(reversed(files.items())))
    assert list(desired(loaded).vms) == [f"v{i}" for i in range(9)]
    assert loaded.digest == load(files).digest


def test_the_digest_is_what_coreutils_make_of_the_tree(
    sample: dict[str, bytes], tmp_path: Path
) -> None:
    for path, content in {**sample, "notes.txt": b"n"}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    recipe = "find . -type f -printf '%P\\n' | LC_ALL=C sort | xargs sha256sum | sha256sum"
    shell = subprocess.run(
        ["/bin/sh", "-c", recipe], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert shell.stdout.split()[0] == load({**sample, "notes.txt": b"n"}).digest


def test_values_are_traced_to_file_and_line(sample: dict[str, bytes]) -> None:
    rows = {row.field: row for row in load(sample).provenance.resolved("vm/web1")}
    assert (rows["memory"].path, rows["memory"].line) == ("vms/web1.yaml", 9)
    assert (rows["start.wave"].path, rows["start.wave"].line) == ("profiles/web.yaml", 8)
    assert (rows["restart"].path, rows["restart"].line) == ("cluster.yaml", 9)
    assert (rows["onDrain"].path, rows["onDrain"].value) == (None, "migrate")
    assert rows["recovery.enabled"].effective
    assert "vcpus" not in rows
    assert json.dumps([row.value for row in rows.values()])


def test_labels_are_traced_one_by_one(tree: MakeTree) -> None:
    profile = "apiVersion: cxm/v1\nkind: Profile\nname: web\nlabels: {role: web, tier: gold}\n"
    own = vm_text("web1", "extends: profile/web\nlabels:\n  tier: tin\n")
    loaded = load(tree({"profiles/web.yaml": profile, "vms/web1.yaml": own}))
    rows = {row.field: row for row in loaded.provenance.resolved("vm/web1")}
    assert (rows["labels.role"].value, rows["labels.role"].path) == ("web", "profiles/web.yaml")
    assert (rows["labels.tier"].value, rows["labels.tier"].line) == ("tin", 8)


def test_objects_are_found_by_what_people_call_them(sample: dict[str, bytes]) -> None:
    provenance = load(sample).provenance
    assert provenance.path_of("vm/db1") == "vms/db1.yaml"
    assert provenance.path_of("cluster") == "cluster.yaml"
    assert provenance.path_of("vm/nobody") is None
    assert provenance.resolved("vm/nobody") == ()


@pytest.mark.parametrize(
    ("path", "read"),
    [
        ("vms/a.yaml", True),
        ("vms/a.yml", True),
        ("vms/a.YAML", True),
        ("cluster.yaml", True),
        (".schema/vm.yaml", False),
        ("vms/.a.yaml", False),
        ("README.md", False),
        ("vms/a.yaml~", False),
    ],
)
def test_which_files_are_read(path: str, *, read: bool) -> None:
    assert is_read(path) is read
