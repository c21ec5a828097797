"""A small cluster as its daemon would tell it, in each state that the commands must show."""

from __future__ import annotations

from datetime import timedelta, timezone

from msgspec.structs import replace

from cli.render.units import Moment
from reconciler import records as r
from reconciler.actions import (
    Action,
    Blocked,
    Cause,
    Disruption,
    Done,
    Plan,
    PoolMigrate,
    Precondition,
    Rejection,
    Retry,
    StartOn,
    Told,
    Verb,
    Waits,
)
from reconciler.status import (
    Condition,
    ExceptionStatus,
    FlightStatus,
    NodeStatus,
    Observation,
    RevisionStatus,
    SourceStatus,
    Status,
    UnmanagedVm,
    Verdict,
    VmStatus,
)
from schema.errors import ConfigError

GIB = 1 << 30
EPOCH_S = 1795335244.0
"""2026-11-22T08:14:04Z."""
MOMENT = Moment(epoch_s=EPOCH_S, zone=timezone(timedelta(hours=1)))
WEB1 = "73f80e52-a369-48b5-a441-4c46f147ecf9"
XEN2 = "cbf27734-ac10-4525-8b66-402800e03d2c"


def node(name: str, **more: object) -> NodeStatus:
    base = NodeStatus(
        name=name,
        uuid=f"{name}-uuid",
        condition=Condition.READY,
        state="alive",
        vms_running=3,
        memory_total=32 * GIB,
        memory_used=20 * GIB,
    )
    return replace(base, **more)


def vm(name: str, **more: object) -> VmStatus:
    base = VmStatus(
        name=name,
        uuid=f"{name}-uuid",
        condition=Condition.READY,
        desired="running",
        observed="running",
        node="xen1",
        manage="enforce",
    )
    return replace(base, **more)


OBSERVATION = Observation(
    at="2026-11-22T08:14:02.000Z", by="xen1", age_s=2.0, complete=True, missing=()
)


CONVERGED_AGE_S = 12.0


def just_now(status: Status) -> Status:
    """The same at the very moment when it was seen and proven: a wait would sit out its usual age."""
    if status.observation == OBSERVATION:
        status = replace(status, observation=replace(OBSERVATION, age_s=0.0))
    if status.converged_age_s == CONVERGED_AGE_S:
        status = replace(status, converged_age_s=0.0)
    return status


CALM = Status(
    cluster="lyon",
    cluster_id="6caf76a5-7035-48ae-8280-ad3729a6f2e7",
    node="xen1",
    version="0.1.0",
    mode="auto",
    verdict=Verdict.CONVERGED,
    condition=Condition.READY,
    leader="xen1",
    term=3,
    armed=("intent", "drift"),
    observation=OBSERVATION,
    revision=RevisionStatus(
        head=145,
        target=145,
        staged=145,
        converged=145,
        state="converged",
        author="alice",
        summary="web1 to 4 GiB",
        target_author="alice",
        target_summary="web1 to 4 GiB",
    ),
    source=SourceStatus(reachable=True, age_s=3.0, looks=7),
    nodes=(node("xen1"), node("xen2"), node("xen3")),
    vms=(vm("db1"), vm("web1"), vm("web2", node="xen2")),
    planned=145,
    unmanaged=(UnmanagedVm(name="scratch", uuid="scratch-uuid", node="xen3", power="running"),),
    copies={"template": 3, "copy": 1, "snapshot": 2},
    converged_age_s=CONVERGED_AGE_S,
    sequence=812,
)

MIGRATE = Action(
    id="A-146-1",
    object="vm/web2",
    verb=Verb.MIGRATE,
    cause=Cause.INTENT,
    reason="NotInOnly",
    message="xen2 -> xen3",
    disruption=Disruption.LIVE,
    estimate_s=20.0,
    preconditions=(Precondition(object="vm/web2", field="power_state", equals="Running"),),
    call=PoolMigrate(vm="web2-uuid", node="xen3-uuid"),
    node="xen3",
)
RESTART = Action(
    id="A-146-2",
    object="vm/web1",
    verb=Verb.RESTART,
    cause=Cause.INTENT,
    reason="MemoryChanged",
    message="memory 4GiB -> 8GiB",
    disruption=Disruption.COLD,
    estimate_s=40.0,
    waits=Waits(on="limits.migrations", message="limits.migrations (4)"),
)
START = Action(
    id="A-146-3",
    object="vm/db1",
    verb=Verb.START,
    cause=Cause.DRIFT,
    reason="StoppedByOther",
    message="halted, should be running",
    disruption=Disruption.NONE,
    waits=Waits(on="driftGrace", until_s=EPOCH_S + 720),
    call=StartOn(vm="db1-uuid", node="xen1-uuid"),
)
TOO_BIG = Blocked(
    object="vm/ci2",
    verb=Verb.START,
    cause=Cause.INTENT,
    reason="InsufficientMemory",
    message="no node has enough free memory",
    remedy="cxm why vm/ci2",
    needs=16 * GIB,
    best=Rejection(node="xen2", reason="InsufficientMemory", needs=16 * GIB, has=11 * GIB),
    rejected=(
        Rejection(node="xen1", reason="InsufficientMemory", needs=16 * GIB, has=3 * GIB),
        Rejection(node="xen2", reason="InsufficientMemory", needs=16 * GIB, has=11 * GIB),
        Rejection(node="xen3", reason="Draining"),
    ),
)
FAILING = Blocked(
    object="vm/web3",
    verb=Verb.MIGRATE,
    cause=Cause.DRAIN,
    reason="VM_LACKS_FEATURE",
    message="the guest has no tools that answer a migration",
    remedy="install the guest tools, or onDrain: shutdown",
    until_s=EPOCH_S + 80,
)
PREFERS = Told(
    object="vm/db2", reason="PrefersOther", message="on xen3, prefers xen1; moved 08:51, not by cxm"
)
PLAN = Plan(actions=(MIGRATE, RESTART, START), blocked=(TOO_BIG, FAILING), told=(PREFERS,))

FLIGHT = FlightStatus(
    txn="cxm-3-813",
    object="vm/web2",
    verb="migrate",
    message="xen2 -> xen3",
    running_s=6.0,
    phase="running",
    progress=0.42,
    node="xen3",
)

DIFFERS = replace(
    CALM,
    verdict=Verdict.DIFFERS,
    condition=Condition.PROGRESSING,
    reason="Converging",
    revision=replace(
        CALM.revision,
        head=146,
        target=146,
        staged=146,
        state="target",
        summary="web1 to 8 GiB",
        target_summary="web1 to 8 GiB",
    ),
    plan=PLAN,
    planned=146,
    in_flight=(FLIGHT,),
    nodes=(node("xen1"), node("xen2"), node("xen3", draining=True, schedulable=False)),
    vms=(
        vm("db1", condition=Condition.PROGRESSING, observed="halted", node=None),
        vm("web1", condition=Condition.PROGRESSING),
        vm("web2", condition=Condition.PROGRESSING, node="xen2"),
        vm(
            "ci2",
            condition=Condition.DEGRADED,
            observed="halted",
            node=None,
            reason="InsufficientMemory",
            message="no node has enough free memory",
        ),
    ),
    exceptions=(
        ExceptionStatus(
            kind="drain", object="node/xen3", owner="bob", reason="DIMM swap", seconds_left=14400.0
        ),
        ExceptionStatus(
            kind="freeze",
            object="vm/db2",
            scopes=("intent", "drift"),
            owner="alice",
            reason="backup runs",
            seconds_left=1800.0,
        ),
    ),
)

ERROR = ConfigError(
    path="vms/web2.yaml",
    line=5,
    column=1,
    code="V003",
    message='unknown key "placment"; did you mean "placement"?',
    length=8,
)
REJECTED = replace(
    CALM,
    verdict=Verdict.INVALID,
    condition=Condition.DEGRADED,
    reason="Invalid",
    message="vms/web2.yaml:5: unknown key",
    revision=replace(
        CALM.revision,
        head=147,
        state="rejected",
        author="mallory",
        summary="quick fix",
        reason="Invalid",
        message="vms/web2.yaml:5: unknown key",
        errors=(ERROR,),
    ),
    source=replace(CALM.source, using_last_known_good=True),
)

UNKNOWN = replace(
    CALM,
    verdict=Verdict.UNKNOWN,
    condition=Condition.UNKNOWN,
    reason="Timeout",
    message="event.from at 127.0.1.1 gave no answer within 20 s",
    observation=replace(OBSERVATION, age_s=63.0, complete=False),
)

OFFLINE = replace(
    CALM,
    condition=Condition.DEGRADED,
    reason="unreachable",
    message="connection refused",
    source=SourceStatus(
        reachable=False,
        age_s=420.0,
        failures=9,
        looks=30,
        using_last_known_good=True,
        reason="unreachable",
        message="connection refused",
    ),
)

GATED = replace(
    DIFFERS,
    mode="gated",
    armed=("drift",),
    in_flight=(),
    plan=Plan(actions=(START,)),
    planned=145,
    proposed=PLAN,
    revision=replace(
        DIFFERS.revision, target=145, staged=145, state="gated", target_summary="web1 to 4 GiB"
    ),
    vms=DIFFERS.vms[:3],
)
"""r146 waits; meanwhile a VM that somebody stopped is to be started in any case."""

UNREAD = replace(
    CALM,
    verdict=Verdict.DIFFERS,
    revision=replace(CALM.revision, head=146, state="fetching", summary="web1 to 8 GiB"),
)
UNPLANNED = replace(
    DIFFERS, plan=Plan(), planned=145, in_flight=(), exceptions=(), vms=CALM.vms, nodes=CALM.nodes
)
"""r146 has been in force for less than a second."""

_ENTRIES: tuple[r.AnyEntry, ...] = (
    r.DaemonStarted(version="0.1.0", node="xen1", term=3),
    r.HeadSeen(revision=146, author="alice", summary="web1 to 8 GiB"),
    r.Targeted(revision=146, author="alice", summary="web1 to 8 GiB", digest="d1"),
    r.Diverged(revision=146),
    r.Intended(txn="cxm-3-5", action=MIGRATE, subject="web2-uuid"),
    r.Answered(txn="cxm-3-5", answer=Done()),
    r.Settled(txn="cxm-3-5", object="vm/web2", subject="web2-uuid", outcome=Done()),
    r.ForeignChange(
        object="vm/db1",
        subject="db1-uuid",
        what="stopped",
        message="stopped, not by cxm",
        evidence="task Async.VM.clean_shutdown",
    ),
    r.Noticed(object="vm/ci2", reason="InsufficientMemory", message="needs 16GiB"),
    r.Cleared(object="vm/ci2", reason="InsufficientMemory"),
    r.Intended(txn="cxm-3-11", action=START, subject="db1-uuid"),
    r.Settled(
        txn="cxm-3-11",
        object="vm/db1",
        subject="db1-uuid",
        outcome=Retry(reason="SR_BACKEND_FAILURE", message="the storage did not answer"),
        backoff_s=10.0,
        failures=1,
    ),
    r.SourceLost(reason="unreachable", message="connection refused"),
    r.SourceBack(),
    r.Rejected(revision=147, author="", reason="Invalid", message="2 errors"),
    r.Converged(revision=146),
)
RECORDS = tuple(
    r.Record(seq=n, at_s=EPOCH_S - 60 + n, entry=entry) for n, entry in enumerate(_ENTRIES, 1)
)
