"""A pool written as a tree: it validates, asks for nothing, and gives the same text each time."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.envelope import Failure
from cli.importing import imported
from cli.render.survey import import_lines, survey_lines
from cli.render.text import plain
from cli.surveying import survey
from cli.tree import write_new
from membership.clock import Now
from membership.ledger import Ledger
from reconciler.deaths import calm
from reconciler.diff import diff
from reconciler.journal import JournalState
from reconciler.observed import (
    Copy,
    Disk,
    Observed,
    ObservedNode,
    ObservedVM,
    Pool,
    PowerState,
    Storage,
)
from schema.tree import load
from tests.cli.conftest import Golden

GIB = 1 << 30
NOW = Now(mono_s=1000.0, epoch_s=1000.0)
CLUSTER = "6caf76a5-7035-48ae-8280-ad3729a6f2e7"


def uuid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"


def node(number: int, *srs: int) -> ObservedNode:
    return ObservedNode(
        uuid=uuid(number),
        name=f"Xen {number}",
        address=f"10.0.0.{number}",
        memory_total=32 * GIB,
        control_memory=4 * GIB,
        cpus=8,
        srs=frozenset(map(uuid, srs)),
    )


def vm(number: int, name: str, home: int | None, sr: int = 90) -> ObservedVM:
    return ObservedVM(
        uuid=uuid(number),
        name=name,
        power=PowerState.RUNNING if home else PowerState.HALTED,
        node=uuid(home) if home else None,
        static_max=4 * GIB,
        dynamic_min=4 * GIB,
        dynamic_max=4 * GIB,
        disks=(Disk(vbd=uuid(number + 500), kind="Disk", vdi=uuid(number + 600), sr=uuid(sr)),),
    )


OBSERVED = Observed(
    as_of_s=1000.0,
    epoch_s=1000.0,
    by="xen1",
    pool=Pool(uuid=uuid(99), name="Lyon / Nord", master=uuid(1)),
    nodes={uuid(1): node(1, 90, 91), uuid(2): node(2, 90)},
    vms={
        uuid(11): vm(11, "Écran: web", 1),
        uuid(12): vm(12, "twin", 2),
        uuid(13): vm(13, "twin", None),
        uuid(14): vm(14, "local", 1, sr=91),
    },
    storages={
        uuid(90): Storage(uuid=uuid(90), name="nfs"),
        uuid(91): Storage(uuid=uuid(91), name="l"),
    },
    copies=(
        Copy(uuid=uuid(21), name="t", kind="template"),
        Copy(uuid=uuid(22), name="s", kind="snapshot"),
        Copy(uuid=uuid(23), name="s", kind="snapshot"),
    ),
)


def test_an_imported_tree_is_valid_and_asks_for_nothing() -> None:
    loaded = load(imported(OBSERVED, CLUSTER).files(None))
    assert loaded.errors == ()
    assert loaded.desired is not None
    assert loaded.desired.cluster.id == CLUSTER
    deaths = calm(OBSERVED, Ledger())
    drift = diff(loaded.desired, OBSERVED, Ledger(), JournalState(), deaths, {}, NOW)
    assert (drift.changes, drift.blocked, drift.told) == ((), (), ())


def test_names_that_a_file_cannot_have_are_changed_and_told() -> None:
    found = imported(OBSERVED, CLUSTER)
    assert sorted(found.vms) == ["ecran-web", "local", "twin", "twin-2"]
    assert sorted(found.nodes) == ["xen-1", "xen-2"]
    assert found.renamed == (("twin", "twin-2"), ("Écran: web", "ecran-web"))
    assert found.left_out == {"snapshot": 2, "template": 1}
    assert imported(OBSERVED, CLUSTER).files(None) == found.files(None)


def test_a_vm_takes_at_most_six_lines() -> None:
    files = imported(OBSERVED, CLUSTER).files(None)
    assert all(text.count(b"\n") <= 6 for path, text in files.items() if path.startswith("vms/"))
    assert b"manage: observe" in files["vms/local.yaml"]
    assert b"roles: [run]" in files["nodes/xen-1.yaml"]
    assert b"unfenced: accepted" in files["nodes/xen-1.yaml"]


def test_only_what_is_chosen_and_only_what_is_new() -> None:
    whole = imported(OBSERVED, CLUSTER)
    some = whole.files(frozenset({"vm/twin", "vm/local"}))
    assert [path for path in some if path.startswith("vms/")] == ["vms/local.yaml", "vms/twin.yaml"]
    existing = load(some).desired
    assert existing is not None
    rest = imported(OBSERVED, CLUSTER, existing)
    assert sorted(rest.files(None)) == ["vms/ecran-web.yaml", "vms/twin-2.yaml"]


def test_nothing_that_is_there_is_overwritten(tmp_path: Path) -> None:
    write_new(tmp_path, {"vms/a.yaml": b"one\n", ".schema/vm.schema.json": b"{}"})
    with pytest.raises(Failure) as caught:
        write_new(tmp_path, {"vms/a.yaml": b"two\n", "vms/b.yaml": b"two\n"})
    assert caught.value.finding.exit == 4
    assert (tmp_path / "vms/a.yaml").read_bytes() == b"one\n"
    assert not (tmp_path / "vms/b.yaml").exists()


def test_a_survey_tells_what_cannot_be_drained_double_names_and_what_is_left_out() -> None:
    found = survey(OBSERVED, NOW)
    assert (found.vms, found.running, found.master) == (4, 3, "Xen 1")
    first, second = found.nodes
    assert [(row.object, row.reason) for row in first.stays] == [("vm/local", "NoSuitableNode")]
    assert second.stays == ()
    assert found.double == {"twin": [uuid(12), uuid(13)]}
    assert found.left_out == {"snapshot": 2, "template": 1}
    assert first.memory_free == 20 * GIB


def test_what_a_survey_and_an_import_say(golden: Golden) -> None:
    golden("survey", plain(survey_lines(survey(OBSERVED, NOW))))
    found = imported(OBSERVED, CLUSTER)
    rows = import_lines("tree", len(found.nodes), len(found.vms), found.left_out, found.renamed)
    golden("import", plain(rows))
    golden("import-files", "".join(f"{p}\n{t.decode()}" for p, t in found.files(None).items()))
