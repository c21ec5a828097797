"""From the compact form of a case to the values that diff, plan and the reconciler take."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import msgspec

from fencing.evidence import proofs
from fencing.judgement import Belief, Verdict
from membership.clock import Now
from membership.ledger import (
    Approval,
    Drain,
    Fact,
    FactValue,
    Freeze,
    GuestReady,
    Hold,
    Ledger,
    Target,
)
from membership.proofs import Certificate, Lost, MayRun, Place, Unproven
from membership.view import Peer, PeerState, View, single
from reconciler import actions
from reconciler.actions import Action, Cause, Done, Retry, Stalled, Unsure, Verb
from reconciler.adoption import adopt
from reconciler.deaths import Deaths, calm
from reconciler.journal import JournalState, replay
from reconciler.observed import (
    Copy,
    Disk,
    Network,
    Observed,
    ObservedNode,
    ObservedVM,
    Operation,
    Pool,
    PowerState,
    Storage,
    Task,
)
from reconciler.readiness import Runs, followed, key
from reconciler.records import Answered, AnyEntry, Intended, Record, Retried, Settled
from reconciler.sightings import sight
from schema import tree
from schema.forms import duration_s, size_bytes
from schema.model import Desired, Role
from tests.plan.cases import (
    BackoffForm,
    Case,
    DesiredForm,
    FlightForm,
    LedgerForm,
    NodeForm,
    ObservedForm,
    VmForm,
)

MONO_S = 1_000_000.0
ME = "here"
REVISION = 7
DIGEST = "d" * 64
REPOSITORY = str(uuid5(NAMESPACE_URL, "repository"))


def identity(kind: str, name: str) -> str:
    """The uuid that stands for this name in every case."""
    return str(uuid5(NAMESPACE_URL, f"{kind}/{name}"))


# --- desired --------------------------------------------------------------------------------------


def desired(form: DesiredForm) -> Desired:
    """The case's tree, through the real reader. A tree with errors fails the case."""
    loaded = tree.load(documents(form))
    assert loaded.desired is not None, [f"{e.path}: {e.message}" for e in loaded.errors]
    return loaded.desired


def documents(form: DesiredForm) -> dict[str, bytes]:
    cluster = {"name": "test", "id": identity("cluster", "test"), "mode": "auto"}
    texts = {"cluster.yaml": _document("Cluster", cluster | form.cluster)}
    for number, (name, given) in enumerate(form.nodes.items(), start=1):
        host = {"uuid": identity("host", name), "address": f"192.0.2.{number}"}
        node = {"host": host, "roles": ["run"]}
        if not {"bmc", "fencing"} & (given or {}).keys():
            node["unfenced"] = "accepted"
        texts[f"nodes/{name}.yaml"] = _document("Node", {"name": name} | node | (given or {}))
    for name, given in form.vms.items():
        vm: dict[str, Any] = {"manage": "enforce", "match": {"uuid": identity("vm", name)}}
        texts[f"vms/{name}.yaml"] = _document("VM", {"name": name} | vm | (given or {}))
    for folder, kind, group in (
        ("profiles", "Profile", form.profiles),
        ("placement", "PlacementRule", form.placement),
        ("windows", "MaintenanceWindow", form.windows),
        ("fencing", "FenceDevice", form.devices),
        ("fencing", "FencingPolicy", form.policies),
    ):
        for name, given in group.items():
            texts[f"{folder}/{name}.yaml"] = _document(kind, {"name": name} | given)
    return texts


def _document(kind: str, body: Mapping[str, Any]) -> bytes:
    """JSON is YAML too."""
    return json.dumps({"apiVersion": "cxm/v1", "kind": kind} | dict(body)).encode()


# --- observed -------------------------------------------------------------------------------------


def observed(form: ObservedForm, wanted: Desired, epoch_s: float) -> Observed:
    names = [node.name for node in wanted.nodes.values() if Role.RUN in node.roles]
    nodes = form.nodes if form.nodes is not None else dict.fromkeys(names)
    return Observed(
        as_of_s=MONO_S - duration_s(form.age),
        epoch_s=epoch_s,
        by=ME,
        pool=Pool(
            uuid=identity("pool", "test"),
            ha_enabled=form.pool.ha,
            rolling_upgrade=form.pool.rolling_upgrade,
            auto_poweron=form.pool.auto_poweron,
        ),
        nodes=_by_uuid(_node(name, given or NodeForm(), form) for name, given in nodes.items()),
        vms=_by_uuid(_vm(name, given or VmForm(), epoch_s) for name, given in form.vms.items()),
        storages=_by_uuid(
            Storage(uuid=identity("sr", name), name=name, shared=given is None or given.shared)
            for name, given in form.storages.items()
        ),
        networks=_by_uuid(
            Network(
                uuid=identity("network", name),
                name=name,
                internal=given is not None and given.internal,
            )
            for name, given in form.networks.items()
        ),
        tasks=tuple(
            Task(uuid=identity("task", t.name), name=t.name, txn=t.txn) for t in form.tasks
        ),
        copies=tuple(
            Copy(uuid=identity("vm", name), name=name, kind=kind)
            for name, kind in form.copies.items()
        ),
        complete=form.complete,
        missing=tuple(form.missing),
    )


def _by_uuid(objects: Any) -> dict[str, Any]:
    return {item.uuid: item for item in sorted(objects, key=lambda item: str(item.uuid))}


def _node(name: str, form: NodeForm, pool: ObservedForm) -> ObservedNode:
    storages = form.storages if form.storages is not None else list(pool.storages)
    networks = form.networks if form.networks is not None else list(pool.networks)
    return ObservedNode(
        uuid=identity("host", name),
        name=name,
        address=f"{name}.example",
        enabled=form.enabled,
        live=form.live,
        memory_total=size_bytes(form.memory),
        memory_overhead=size_bytes(form.overhead),
        control_memory=size_bytes(form.dom0),
        cpus=form.cpus,
        cpu_vendor=form.vendor,
        srs=frozenset(identity("sr", sr) for sr in storages),
        networks=frozenset(identity("network", network) for network in networks),
        hardware_platforms=tuple(form.platforms),
        boot_hint="1",
    )


def _vm(name: str, form: VmForm, epoch_s: float) -> ObservedVM:
    size = size_bytes(form.memory)
    power = form.power or ("Halted" if form.on is None else "Running")
    return ObservedVM(
        uuid=identity("vm", name),
        name=form.name or name,
        power=PowerState(power),
        node=_host(form.on),
        reserved_on=_host(form.reserved_on),
        domain_type=form.domain_type,
        static_min=size_bytes(form.static_min),
        dynamic_min=size if form.dynamic_min is None else size_bytes(form.dynamic_min),
        dynamic_max=size,
        static_max=size,
        overhead=size_bytes(form.overhead),
        vcpus_max=form.vcpus if form.vcpus_max is None else form.vcpus_max,
        vcpus_at_startup=form.vcpus,
        vcpu_unrestricted=form.vcpu_unrestricted,
        tags=tuple(form.tags),
        operations=tuple(Operation(kind=o.kind, task=o.task, txn=o.txn) for o in form.operations),
        blocked_operations=form.blocked,
        disks=_disks(name, form),
        suspend_sr=None if form.suspend_sr is None else identity("sr", form.suspend_sr),
        networks=tuple(identity("network", network) for network in form.networks),
        has_tools=form.tools,
        immobile=form.immobile,
        crashed=form.crashed,
        hardware_platform=form.platform,
        started_epoch_s=0.0 if form.started is None else epoch_s - duration_s(form.started),
        reported=form.reported,
        addresses=form.addresses,
        auto_poweron=form.auto_poweron,
    )


def _host(name: str | None) -> str | None:
    return None if name is None else identity("host", name)


def _disks(name: str, form: VmForm) -> tuple[Disk, ...]:
    kinds = [("Disk", sr) for sr in form.storages] + ([("CD", form.cd)] if form.cd else [])
    return tuple(
        Disk(
            vbd=identity("vbd", f"{name}/{number}"),
            kind=kind,
            vdi=identity("vdi", f"{name}/{number}"),
            sr=identity("sr", sr),
            read_only=kind == "CD",
            locked_by=tuple(sorted(identity("host", node) for node in form.locked_by)),
        )
        for number, (kind, sr) in enumerate(kinds)
    )


# --- what is remembered ---------------------------------------------------------------------------


class Book:
    """Collects records, numbered and in order of time."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def add(self, at_s: float, *entries: AnyEntry) -> None:
        for entry in entries:
            self.records.append(Record(seq=len(self.records) + 1, at_s=at_s, entry=entry))

    @property
    def state(self) -> JournalState:
        return replay(self.records)


def records(case: Case, wanted: Desired, real: Observed) -> list[Record]:
    """The journal of a daemon that has lived through the case's past, by the real code."""
    book = Book()
    for ago, then in _past(case, real):
        book.add(MONO_S - ago, *sight(adopt(wanted, then), book.state, {}, MONO_S - ago))
    for number, flight in enumerate(case.journal.in_flight, start=1):
        _begin(book, f"txn-{number}", flight)
    for name, owed in case.journal.owed_starts.items():
        call = actions.CleanShutdown(vm=identity("vm", name))
        action = _action(name, Verb.RESTART, call, Cause(owed.cause), owed.reason, owed.node)
        _done(book, f"owed-{name}", action, call.vm, MONO_S - duration_s(owed.ago))
    for name in case.journal.cordons:
        call_on = actions.DisableNode(node=identity("host", name))
        action = _action(name, Verb.CORDON, call_on, Cause.DRAIN, "Draining", name)
        _done(book, f"cordon-{name}", action, call_on.node, MONO_S - 60.0)
    for name, back in case.journal.backoff.items():
        _fail(book, name, back)
    for name in case.journal.retried:
        book.add(MONO_S, Retried(object=f"vm/{name}", subject=identity("vm", name), by="root"))
    return book.records


def runs(case: Case, real: Observed, epoch_s: float) -> Runs:
    """Since when VMs run, for a daemon that has lived through the case's past."""
    known: Runs = {}
    for ago, then in _past(case, real):
        known = followed(known, then, Now(mono_s=MONO_S - ago, epoch_s=epoch_s - ago))
    return followed(known, real, Now(mono_s=MONO_S, epoch_s=epoch_s))


def _past(case: Case, real: Observed) -> Iterator[tuple[float, Observed]]:
    """What was observed earlier, and how long ago."""
    for earlier in case.before:
        forms = {name: form for name, form in earlier.vms.items() if form is not None}
        vms = {identity("vm", name): _vm(name, form, real.epoch_s) for name, form in forms.items()}
        then = msgspec.structs.replace(real, vms=dict(sorted({**real.vms, **vms}.items())))
        yield duration_s(earlier.ago), then


def _action(
    name: str, verb: Verb, call: actions.Call, cause: Cause, reason: str, node: str | None
) -> Action:
    kind = "node" if verb is Verb.CORDON else "vm"
    return Action(
        id=f"A-{name}",
        object=f"{kind}/{name}",
        verb=verb,
        cause=cause,
        reason=reason,
        message="",
        call=call,
        node=node,
    )


def _begin(book: Book, txn: str, form: FlightForm) -> None:
    assert form.vm is not None or form.node is not None
    given = {
        "call": form.call,
        "vm": form.vm and identity("vm", form.vm),
        "node": form.node and identity("host", form.node),
        "size": form.size and size_bytes(form.size),
        "static_min": form.size and size_bytes("16MiB"),
    }
    call: actions.Call = msgspec.convert(
        {key: value for key, value in given.items() if value is not None}, actions.Call
    )
    name = form.vm or form.node or ""
    action = _action(name, Verb(form.verb), call, Cause.INTENT, form.reason, form.node)
    subject = identity("vm", form.vm) if form.vm else identity("host", form.node or "")
    book.add(MONO_S - duration_s(form.ago), Intended(txn=txn, action=action, subject=subject))
    if form.answered is not None:
        answer = Unsure(reason="TIMEOUT") if form.answer == "unsure" else Done()
        book.add(MONO_S - duration_s(form.answered), Answered(txn=txn, answer=answer))


def _done(book: Book, txn: str, action: Action, subject: str, at_s: float) -> None:
    book.add(
        at_s,
        Intended(txn=txn, action=action, subject=subject),
        Answered(txn=txn, answer=Done()),
        Settled(txn=txn, object=action.object, subject=subject, outcome=Done()),
    )


def _fail(book: Book, name: str, back: BackoffForm) -> None:
    outcome: Retry | Stalled = Retry(reason=back.reason)
    if back.left is None:
        outcome = Stalled(reason=back.reason)
    book.add(
        MONO_S - 1.0,
        Settled(
            txn=f"failed-{name}",
            object=f"vm/{name}",
            subject=identity("vm", name),
            outcome=outcome,
            backoff_s=0.0 if back.left is None else duration_s(back.left) + 1.0,
            failures=back.failures,
            refused=tuple(identity("host", node) for node in back.refused),
        ),
    )


# --- what peers share -----------------------------------------------------------------------------


def ledger(form: LedgerForm, real: Observed, epoch_s: float) -> Ledger:
    values: dict[str, FactValue] = {
        "target": Target(repository=REPOSITORY, revision=REVISION, digest=DIGEST, path="/")
    }
    for freeze in form.freeze:
        until = None if freeze.left is None else epoch_s + duration_s(freeze.left)
        values[f"freeze/{freeze.object}"] = Freeze(
            object=freeze.object,
            scopes=tuple(freeze.scopes),
            until_epoch_s=until,
            reason="",
            by="root",
        )
    for node in form.drain:
        values[f"drain/{node}"] = Drain(node=node, until_epoch_s=None, reason="", by="root")
    for reason in form.hold:
        values[f"hold/{reason}"] = Hold(id=reason, reason=reason, by="cxm")
    if form.approved:
        values["approval"] = Approval(revision=REVISION, digest=DIGEST, by="root")
    for name, by in form.ready.items():
        uuid = identity("vm", name)
        started_s = real.vms[uuid].started_epoch_s
        values[key(uuid)] = GuestReady(vm=uuid, started_epoch_s=started_s, by=by)
    values.update(deadly(form))
    return Ledger().merge(
        Fact(key=key, term=1, seq=number, at_epoch_s=epoch_s, value=value)
        for number, (key, value) in enumerate(values.items(), start=1)
    )


def deadly(form: LedgerForm) -> Iterator[tuple[str, FactValue]]:
    """The facts about death, in the order in which they would be told."""
    for name, nodes in form.places.items():
        uuid = identity("vm", name)
        hosts = (identity("host", node) for node in nodes)
        places = tuple(Place(host=host, term=1, seq=0) for host in hosts)
        yield f"may-run/{uuid}", MayRun(vm=uuid, places=places, reset=name in form.reset)
    for node, kind in form.certificates.items():
        host = identity("host", node)
        yield (
            f"certificate/{node}",
            Certificate(
                id=f"C-{node}", node=node, host=host, kind=kind, by="anna", evidence="bmc reads off"
            ),
        )
    for node, why in form.unproven.items():
        yield f"unproven/{node}", Unproven(node=node, host=identity("host", node), message=why)
    for name, node in form.lost.items():
        uuid = identity("vm", name)
        host = identity("host", node)
        yield f"lost/{uuid}", Lost(vm=uuid, node=node, host=host, certificate=f"C-{node}")


def view(kind: str) -> View:
    mine = single(ME, 1)
    match kind:
        case "leader":
            return mine
        case "follower":
            peers = {**mine.peers, "other": Peer(state=PeerState.ALIVE)}
            return msgspec.structs.replace(mine, leader="other", peers=peers)
        case "expired":
            return msgspec.structs.replace(mine, lead_until_s=MONO_S - 1.0)
    raise ValueError(f"view: {kind!r} is not leader, follower or expired")


def _verdict(belief: Belief) -> Verdict:
    """A word of its own for the reason, but where one would forbid to shoot."""
    return Verdict(belief, "" if belief is Belief.DOOMED else belief.value.capitalize())


@dataclass(frozen=True)
class Expanded:
    """Everything that a plan is a function of."""

    desired: Desired
    observed: Observed
    records: tuple[Record, ...]
    ledger: Ledger
    view: View
    now: Now
    silent: Mapping[str, str] = field(default_factory=dict)
    runs: Runs = field(default_factory=dict)

    @property
    def deaths(self) -> Deaths:
        """Who answers is as the pool has it, but for those that are silent in this case."""
        deaths = calm(self.observed, self.ledger)
        gone = {identity("host", node) for node in self.silent}
        return replace(
            deaths,
            pool=replace(deaths.pool, reporting=deaths.pool.reporting - gone),
            verdicts={node: _verdict(Belief(belief)) for node, belief in self.silent.items()},
            proofs=proofs(self.ledger, self.now, deaths.pool.boots),
            lost={fact.vm: fact for fact in self.ledger.values(Lost)},
        )

    @property
    def journal(self) -> JournalState:
        return replay(self.records)

    def sighted(self) -> Expanded:
        """With what is seen now noted, as the reconciler does before it plans."""
        book = Book()
        book.records = list(self.records)
        entries = sight(adopt(self.desired, self.observed), book.state, {}, self.now.mono_s)
        book.add(self.now.mono_s, *entries)
        return replace(self, records=tuple(book.records))


def expand(case: Case) -> Expanded:
    epoch_s = datetime.fromisoformat(case.now).timestamp()
    wanted = desired(case.desired)
    real = observed(case.observed, wanted, epoch_s)
    return Expanded(
        desired=wanted,
        observed=real,
        records=tuple(records(case, wanted, real)),
        ledger=ledger(case.ledger, real, epoch_s),
        runs=runs(case, real, epoch_s),
        view=view(case.view),
        now=Now(mono_s=MONO_S, epoch_s=epoch_s),
        silent=case.silent,
    )
