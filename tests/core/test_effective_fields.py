"""A field is marked effective exactly where something reads it.

The model is watched while the plan cases are lived through and while the other readers of a tree do
their work: consent, selection, `status`. Fields that act before there is a model, since the reader of
the tree uses them up, are listed with what they do.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args, get_type_hints

import pytest

from cli.select import objects_of
from fencing.devices import levels
from reconciler.accusing import accused
from reconciler.actions import Retry
from reconciler.messages import AskApply, CallReturned, Perform, PoolLost, SourceFailed
from reconciler.mustering import Peering, muster
from reconciler.survival import Survival
from reconciler.whatif import what_if
from schema import fields, model
from schema.consent import changes, missing_consent
from tests.core.stage import Stage, desired, pool
from tests.core.test_survival import at_rest
from tests.core.test_whatif import AGENT, hearing
from tests.plan.cases import cases
from tests.plan.expansion import expand
from tests.plan.interrupted import lived

READERS = ("reconciler.", "membership.", "fencing.", "schema.consent", "cli.")

OF_THE_READER = {
    "apiVersion": "the language that the file is read in",
    "kind": "the schema that the file is read by",
    "requires": "an older reader refuses the tree",
    "extends": "the profile that is merged in",
    "defaults": "merged into every VM",
    "description": "shown by explain, from the text",
    "unfenced": "a node that has no way to be fenced is refused without it",
    "FencingPolicy.name": "what nodes name it by",
}
"""First keys of fields, of any kind or of one, that act on the way to the model, by what they do."""


class Watched:
    """Stands in for a field of a structure and notes who reads it."""

    def __init__(self, field: Any, name: str, seen: set[tuple[str, str]]) -> None:
        self._field, self._name, self._seen = field, name, seen

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        reader = sys._getframe(1).f_globals.get("__name__", "")
        if reader.startswith(READERS):
            self._seen.add((type(instance).__name__, self._name))
        return self._field.__get__(instance, owner)

    def __set__(self, instance: Any, value: Any) -> None:
        self._field.__set__(instance, value)


@contextmanager
def watched() -> Iterator[set[tuple[str, str]]]:
    """Notes (structure, field) of every field of the model that a reader touches."""
    seen: set[tuple[str, str]] = set()
    classes = [value for value in vars(model).values() if isinstance(value, type)]
    structures = [value for value in classes if issubclass(value, model.Frozen)]
    kept = [
        (structure, name, structure.__dict__[name])
        for structure in structures
        for name in structure.__struct_fields__
        if name in structure.__dict__
    ]
    for structure, name, field in kept:
        setattr(structure, name, Watched(field, name, seen))
    try:
        yield seen
    finally:
        for structure, name, field in kept:
            setattr(structure, name, field)


def exercise() -> None:
    """Everything that reads a tree: the lives of all cases, consent, selection, status, looking."""
    for _, case in cases():
        lived(expand(case))
    old = desired(
        cluster={"unmanaged": "alarm"}, nodes={"xen1": {}}, vms={"a": {}, "b": {}, "c": {}}
    )
    new = desired(nodes={"xen1": {}}, vms={"z": {"previousNames": ["a"], "state": "retired"}})
    assert missing_consent(changes(old, new), (old.cluster.limits, new.cluster.limits), "")
    assert objects_of(old)
    failing(desired(nodes={"xen1": {}}, vms={"a": {"state": "running"}}))
    mustered()
    surviving()
    fenced()


def mustered() -> None:
    """What the heartbeats are told of a tree."""
    beats = {"addresses": ["10.0.0.1", "10.1.0.1:9"], "disk": "/dev/disk/by-id/beats"}
    tree = desired(nodes={"xen1": {"roles": ["run", "peer"], "heartbeat": beats}})
    roster = muster(tree, "xen1", Peering(engine="builtin"), None, (7, "d"))
    assert roster.members[0].addresses == (("10.0.0.1", 9850), ("10.1.0.1", 9))
    assert roster.disk == "/dev/disk/by-id/beats"


def surviving() -> None:
    """Which losses are survived, and whether that is enough."""
    at = at_rest(recovery={"tolerate": 1})
    survival = Survival()
    survival.step(at, accused(at))
    assert survival.survives is None


def fenced() -> None:
    """How a silent node is judged, one whose daemon runs elsewhere, and by what both are fenced."""
    elsewhere = {"runsIn": "machine"}
    own = {"bmc": "10.0.0.1", "roles": ["run", "peer"], "daemon": elsewhere}
    tree = desired(
        cluster=AGENT,
        nodes={"xen1": own, "xen2": {"fencing": "both", "roles": ["run", "peer"]}},
        vms={"web1": {}},
        devices={"pdu": {"agent": "fence_apc_snmp", "plugs": {"xen2": "2"}}},
        policies={"both": {"levels": [["pdu"]]}},
    )
    found = what_if(hearing(tree, pool(tree, vms={"web1": {"on": "xen2"}}), []), ("xen2",))
    assert found.nodes[0].message == "pdu: it was never tried"
    assert [use.device for level in levels(tree, "xen1") for use in level] == ["bmc/xen1"]


def failing(tree: model.Desired) -> None:
    """A call that fails, a pool that is lost, a head that is applied: what a quiet life does not show."""
    stage = Stage()
    stage.commit(7, tree)
    stage.see(pool(tree, vms={"a": {}, "stranger": {}}))
    (start,) = stage.of(Perform)
    stage.tell(CallReturned(txn=start.txn, answer=Retry(reason="HOST_OFFLINE")))
    stage.see(pool(tree, vms={"a": {}}))
    stage.ask(AskApply(revision=7, by="root"))
    stage.tell(PoolLost(reason="HOST_OFFLINE", message=""))
    stage.now_s += 7200.0
    assert stage.status.verdict == "unknown"
    assert not stage.core.why("vm/old", stage.now).known
    assert not stage.core.why("node/old", stage.now).known
    stage.tell(SourceFailed(reason="unreachable", message=""))
    stage.see(pool(tree, vms={"a": {"on": "xen1"}}))
    assert stage.status.reason == "unreachable"


def field_of(kind: str, path: tuple[str, ...]) -> tuple[str, str] | None:
    """(structure, field) of the model for a field of the language; None if there is none."""
    structure: Any = getattr(model, kind)
    found = None
    for key in path if path != ("tags", "add") else ("tagsAdd",):
        snake = re.sub("(?<=[a-z])(?=[A-Z])", "_", key).lower()
        names = {snake, f"{snake}_s", f"{snake}_epoch_s"} & set(structure.__struct_fields__)
        if len(names) != 1:
            return None
        found = (structure.__name__, names.pop())
        hint = get_type_hints(structure)[found[1]]
        structure = next(
            (h for h in (hint, *get_args(hint)) if hasattr(h, "__struct_fields__")), None
        )
    return found


def of_the_model() -> Iterator[tuple[str, tuple[str, str]]]:
    """Fields of the kinds that the core takes part in, with their place in the model."""
    for kind in ("Cluster", "FenceDevice", "FencingPolicy", "Node", "VM"):
        for path, _, _ in fields.leaves(kind):
            place = field_of(kind, path)
            if not {path[0], f"{kind}.{path[0]}"} & OF_THE_READER.keys():
                assert place is not None, f"{kind}.{'.'.join(path)} is not in the model"
                yield ".".join((kind, *path)), place


def test_what_is_read_is_marked_effective_and_nothing_else() -> None:
    with watched() as seen:
        exercise()
    places = dict(of_the_model())
    read = {name for name, place in places.items() if place in seen}
    marked = fields.effective() & places.keys()
    assert sorted(read - marked) == [], "read, but marked as without effect"
    assert sorted(marked - read) == [], "marked as effective, but nothing reads it"


def test_the_watch_sees_and_leaves_no_trace() -> None:
    with watched() as seen:
        assert model.Match(uuid="u").uuid == "u"
        assert seen == set(), "a read by a test is not one"
        expand(next(iter(dict(cases()).values())))
    assert not isinstance(model.VM.__dict__["state"], Watched)


@pytest.mark.parametrize("holder", ["Profile", "Cluster.defaults.vm"])
def test_what_a_vm_takes_over_acts_as_in_the_vm(holder: str) -> None:
    taken = [name for name in fields.effective() if name.startswith(f"{holder}.")]
    own = {"Profile.name", "Profile.kind", "Profile.apiVersion", "Profile.previousNames"}
    for name in set(taken) - own - {f"{holder}.description", f"{holder}.labels"}:
        assert name.replace(holder, "VM", 1) in fields.effective(), name
    kind = holder.partition(".")[0]
    idle = {".".join((kind, *path)) for path, _, acts in fields.leaves(kind) if not acts}
    for name in idle:
        if name.startswith(f"{holder}."):
            assert name.replace(holder, "VM", 1) not in fields.effective(), name


@pytest.mark.parametrize("kind", ["MaintenanceWindow", "PlacementRule"])
def test_a_kind_that_nothing_reads_acts_in_nothing(kind: str) -> None:
    assert [name for name in fields.effective() if name.startswith(f"{kind}.")] == []
