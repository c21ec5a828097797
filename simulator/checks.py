"""Whether a VM may undergo an operation now: the published table of states and order of checks."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from simulator.database import Row
from simulator.pool import Pool
from simulator.values import NULL, ApiError

ANY = ("Halted", "Paused", "Suspended", "Running")


@dataclass(frozen=True, slots=True)
class Rule:
    """What one operation wants. ``states`` in the order in which a refusal names them.

    ``feature`` is what a running HVM guest must announce; ``moves`` that the memory leaves the
    host; ``template`` and ``snapshot`` that the operation is for those too; ``instance`` that it
    is for VMs.
    """

    states: tuple[str, ...]
    feature: str = ""
    moves: bool = False
    instance: bool = True
    template: bool = False
    snapshot: bool = False
    dom0: bool = False


_ANY_TOOLS = "tools"

RULES: Mapping[str, Rule] = {
    "create_vtpm": Rule(("Halted",)),
    "sysprep": Rule(("Running",)),
    "destroy": Rule(("Halted", "Suspended"), template=True, snapshot=True),
    "metadata_export": Rule(ANY, template=True, snapshot=True, dom0=True),
    "export": Rule(("Halted", "Suspended"), template=True, snapshot=True),
    "make_into_template": Rule(("Halted",)),
    "changing_VCPUs_live": Rule(("Running",), feature=_ANY_TOOLS),
    "changing_NVRAM": Rule(("Halted",), template=True),
    "changing_shadow_memory": Rule(("Halted",), template=True),
    "changing_static_range": Rule(("Halted",), template=True, dom0=True),
    "changing_dynamic_range": Rule(("Halted", "Running"), template=True, dom0=True),
    "migrate_send": Rule(
        ("Halted", "Suspended", "Running"), feature="feature-suspend", moves=True, template=True
    ),
    "pool_migrate": Rule(("Running",), feature="feature-suspend", moves=True),
    "resume_on": Rule(("Suspended",)),
    "resume": Rule(("Suspended",)),
    "suspend": Rule(("Running",), feature="feature-suspend", moves=True),
    "hard_reboot": Rule(("Paused", "Running")),
    "hard_shutdown": Rule(("Paused", "Suspended", "Running")),
    "clean_reboot": Rule(("Running",), feature="feature-reboot"),
    "clean_shutdown": Rule(("Running",), feature="feature-shutdown"),
    "unpause": Rule(("Paused",)),
    "pause": Rule(("Running",)),
    "start_on": Rule(("Halted",)),
    "start": Rule(("Halted",)),
    "provision": Rule(("Halted",), instance=False, template=True),
    "copy": Rule(("Halted",), template=True, snapshot=True),
    "clone": Rule(("Halted",), template=True, snapshot=True),
    "revert": Rule(ANY, instance=False, snapshot=True),
    "checkpoint": Rule(("Running", "Paused", "Suspended"), feature="feature-suspend"),
    "snapshot": Rule(ANY),
}
"""In the order in which allowed_operations lists them."""

SHAREABLE = frozenset({"clone", "copy", "export"})
"""Operations that run together on one VM; every other excludes every other."""

HARD = frozenset({"hard_shutdown", "hard_reboot"})
CANCELLED_BY_HARD = frozenset({"clean_shutdown", "clean_reboot", "pool_migrate", "suspend"})


def refusal(pool: Pool, vm: Row, operation: str, strict: bool = True) -> ApiError | None:
    """The first failing check in the server's order, or None if the operation may begin.

    ``strict`` off leaves out the guest's features, as ``force`` of a migration does.
    """
    rule = RULES[operation]
    blocked = vm.map("blocked_operations")
    if operation in blocked:
        return ApiError("OPERATION_BLOCKED", vm.ref, blocked[operation])
    state = vm.text("power_state")
    if state not in rule.states and not (rule.dom0 and vm.flag("is_control_domain")):
        expected = ", ".join(rule.states).lower()
        return ApiError("VM_BAD_POWER_STATE", vm.ref, expected, state.lower())
    return (
        _busy(vm, operation)
        or _wrong_kind(vm, operation, rule)
        or (_guest_refusal(pool, vm, rule) if strict and state == "Running" else None)
    )


def allowed(pool: Pool, vm: Row) -> list[str]:
    """allowed_operations: what would be accepted now, in the published order."""
    return [name for name in RULES if refusal(pool, vm, name) is None and _worth_listing(vm, name)]


def _worth_listing(vm: Row, operation: str) -> bool:
    """A hard stop of a busy VM is listed once it runs, and a clone only beside other clones."""
    busy = vm.map("current_operations")
    return not busy or operation in SHAREABLE or vm.text("power_state") in ("Running", "Paused")


def conflicts(vm: Row, operation: str) -> dict[str, str]:
    """The current operations, by task, that this one has to wait for."""
    current = vm.map("current_operations")
    if operation in HARD:
        waited = HARD | CANCELLED_BY_HARD
        return {task: op for task, op in current.items() if op in waited}
    if operation in SHAREABLE:
        return {task: op for task, op in current.items() if op not in SHAREABLE}
    return current


def _busy(vm: Row, operation: str) -> ApiError | None:
    held = conflicts(vm, operation)
    if not held:
        return None
    return ApiError(
        "OTHER_OPERATION_IN_PROGRESS", "VM", vm.ref, _braced(held.values()), _braced(held)
    )


def _braced(names: Iterable[str]) -> str:
    words = list(names)
    return words[0] if len(words) == 1 else "{" + ",".join(words) + "}"


def _wrong_kind(vm: Row, operation: str, rule: Rule) -> ApiError | None:
    if vm.flag("is_control_domain"):
        text = "This operation is not allowed on the control domain"
        return None if rule.dom0 else ApiError("OPERATION_NOT_ALLOWED", text)
    if vm.flag("is_a_snapshot"):
        return None if rule.snapshot else ApiError("VM_IS_SNAPSHOT", vm.ref, operation)
    if vm.flag("is_a_template"):
        return None if rule.template else ApiError("VM_IS_TEMPLATE", vm.ref, operation)
    if not rule.instance:
        return ApiError("OPERATION_NOT_ALLOWED", f"{operation} is not for VMs")
    return None


def _guest_refusal(pool: Pool, vm: Row, rule: Rule) -> ApiError | None:
    platform = vm.map("platform")
    immobile = platform.get("nomigrate") == "true" or platform.get("nested-virt") == "true"
    if rule.moves and immobile:
        return ApiError("VM_IS_IMMOBILE", vm.ref)
    if rule.feature and vm.text("domain_type") != "pv" and not _announces(pool, vm, rule.feature):
        return ApiError("VM_LACKS_FEATURE", vm.ref)
    if rule.moves and vm.list("attached_PCIs"):
        return ApiError("VM_HAS_PCI_ATTACHED", vm.ref)
    return None


def _announces(pool: Pool, vm: Row, feature: str) -> bool:
    ref = vm.text("guest_metrics")
    metrics = None if ref == NULL else pool.db.find("VM_guest_metrics", ref)
    if metrics is None:
        return False
    if feature == _ANY_TOOLS:
        return metrics.flag("PV_drivers_detected")
    return metrics.map("other").get(feature) == "1"
