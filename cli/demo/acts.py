"""The acts: from a pool that nobody described to one that follows its repository."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from cli.demo import servers, silence
from cli.demo.stage import Stage
from cli.demo.typist import Typist
from cli.envelope import failure

_WAIT = "cxm wait all --for converged --timeout 90s"
_ENFORCE = "sed -i 's/^manage: observe/manage: enforce/' $WC/vms/*.yaml"
_RUNNING = "for f in $WC/vms/*.yaml; do grep -q ^state $f || echo 'state: running' >> $f; done"
_TEST_RUNS = "sed -i 's/^manage: observe/manage: enforce/; $a state: running' $WC/vms/test1.yaml"
_AUTO = (
    "sed -i 's/^mode: observe/mode: auto/; $a reconcile: {driftGrace: 15s}\\n"
    "defaults: {vm: {restart: now}}' $WC/cluster.yaml"
)

MOVED = "web1"
MOVED_TO = "xen3"
GROWN = "dns1"
GROWN_TO = 2 << 30
DRAINED = "xen2"
STOPPED = "web3"


def survey_and_import(stage: Stage, typist: Typist) -> None:
    """The pool as it is becomes a tree in Subversion; nothing changes by that."""
    host = stage.first_host
    address = host["url"].removeprefix("https://").rstrip("/")
    secret = stage.config.parent / "secrets.d" / "pool"
    typist.tell("A pool of four servers that nobody has described yet. cxm looks, and only looks.")
    pin = f"--fingerprint {host['fingerprint']}"
    typist.type(f"cxm survey {address} --password-file {secret} {pin}")
    typist.tell("Written down as it is, and committed. cxmd reads it, finds nothing to do.")
    typist.type("cxm import --out $WC")
    servers.describe_controllers(stage.ready["bmcs"], typist)
    silence.describe_peers(stage, typist)
    _commit(typist, "the pool as it is", new=True)
    stage.start_daemons()
    typist.type(_WAIT)
    typist.type("cxm diff")


def first_vm(typist: Typist) -> None:
    """One VM is trusted to cxm: from observe to enforce."""
    typist.tell("The first VM in cxm's hands: test1, which is off, shall run.")
    typist.type(_AUTO)
    typist.type(_TEST_RUNS)
    typist.type("cxm diff --wc $WC", expect=2)
    _commit(typist, "test1 shall run")
    typist.type(_WAIT)


def all_vms(typist: Typist) -> None:
    typist.tell("It went well: all the others, too. They run already, so nothing happens.")
    typist.type(_ENFORCE)
    typist.type(_RUNNING)
    _commit(typist, "every VM enforced")
    typist.type(_WAIT)


def move_grow_drain(typist: Typist) -> None:
    typist.tell(f"One commit: {MOVED} moves, {GROWN} grows, {DRAINED} is emptied for maintenance.")
    typist.type(f"echo 'placement: {{only: [{MOVED_TO}]}}' >> $WC/vms/{MOVED}.yaml")
    typist.type(f"echo 'memory: 2GiB' >> $WC/vms/{GROWN}.yaml")
    typist.type(f"echo 'maintenance: {{reason: DIMM swap}}' >> $WC/nodes/{DRAINED}.yaml")
    typist.type("cxm validate $WC")
    typist.type("cxm diff --wc $WC", expect=2)
    _commit(typist, f"{MOVED} to {MOVED_TO}, {GROWN} to 2 GiB, {DRAINED} out for a DIMM")
    typist.type(_WAIT)


def foreign_stop(typist: Typist) -> None:
    typist.tell(
        f"Somebody stops {STOPPED} behind cxm's back. It is told, and honoured for a while."
    )
    typist.type(f"cxm sim ctl act VM.clean_shutdown {STOPPED}")
    typist.type("sleep 2; cxm diff", expect=2)
    typist.tell("After driftGrace it is started again: the files say that it runs.")
    typist.type(f"cxm wait vm/{STOPPED} --for converged --timeout 60s")


def bad_commit(typist: Typist) -> None:
    typist.tell("A misspelt key never gets in: the repository's hook refuses it.")
    typist.type(f"sed -i 's/^placement:/placment:/' $WC/vms/{MOVED}.yaml")
    typist.type("svn commit -q -m 'quick fix' $WC", expect=1)
    typist.tell(
        "With the hook taken away it gets in, is rejected, and the last good stays in force."
    )
    typist.type("mv $REPO/hooks/pre-commit $REPO/hooks/pre-commit.away")
    typist.type("svn commit -q -m 'quick fix' $WC")
    typist.type(_WAIT, expect=3)
    typist.type("cxm status", expect=3)
    typist.tell(f"Mended; and {DRAINED} has its DIMM.")
    typist.type("mv $REPO/hooks/pre-commit.away $REPO/hooks/pre-commit")
    typist.type(f"sed -i 's/^placment:/placement:/' $WC/vms/{MOVED}.yaml")
    typist.type(f"sed -i '/^maintenance:/d' $WC/nodes/{DRAINED}.yaml")
    _commit(typist, f"mend the quick fix; {DRAINED} is back")
    typist.type(_WAIT)


def skipped(stage: Stage, typist: Typist) -> None:
    """The end of the acts without the acts: everything enforced, nothing moved."""
    typist.type("cxm import --out $WC")
    typist.type(_AUTO)
    typist.type(_ENFORCE)
    typist.type(_RUNNING)
    servers.describe_controllers(stage.ready["bmcs"], typist)
    silence.describe_peers(stage, typist)
    _commit(typist, "the pool as it is, enforced", new=True)
    stage.start_daemons()
    typist.type(_WAIT)


def _commit(typist: Typist, message: str, *, new: bool = False) -> None:
    add = "svn add -q --force $WC/* $WC/.schema && " if new else ""
    typist.type(f"{add}svn commit -q -m '{message}' $WC")


# --- the proof ------------------------------------------------------------------------------------

WHERE: Mapping[str, str] = MappingProxyType({MOVED: MOVED_TO})
"""Where peers are, that server dies afterwards."""


def prove(stage: Stage, typist: Typist, *, played: bool) -> None:
    """Ask the simulator, not cxm, whether the pool really is as desired. Raises Failure (1)."""
    wrong: list[str] = []
    where = WHERE if played and not stage.peers else {}
    names = sorted(path.stem for path in (stage.working_copy / "vms").glob("*.yaml"))
    for name in names:
        seen = typist.ask("cxm", "sim", "ctl", "-o", "json", "vm", name)
        wrong += _wrong(name, seen["host"], seen["power_state"], where)
    if played:
        method = "VM.get_memory_static_max"
        grown = typist.ask("cxm", "sim", "ctl", "-o", "json", "act", method, GROWN)["result"]
        wrong += [] if int(grown) == GROWN_TO else [f"{GROWN} has {grown} bytes"]
    corruption = typist.ask("cxm", "sim", "ctl", "-o", "json", "corruption")
    wrong += [f"{corruption['count']} corruptions"] if corruption["count"] else []
    if wrong or not names:
        told = "; ".join(wrong) or "there is no VM in the working copy"
        raise failure("error", "NotAsDesired", f"the pool is not as desired: {told}")
    typist.tell(f"The simulator agrees: {len(names)} VMs as desired, corruption 0.")


def _wrong(name: str, host: str | None, power: str, where: Mapping[str, str]) -> list[str]:
    if power != "Running" or host is None:
        return [f"{name} is {power} on {host}"]
    wanted = where.get(name, host)
    return [] if host == wanted else [f"{name} runs on {host}, not on {wanted}"]
