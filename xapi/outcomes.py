"""What an error code of XenAPI means for an action: the one table, and the words for people.

Retry: it may pass; Stalled: somebody has to do something; Unsure: it may have been done all the
same. None of them proves anything: an action is judged from what is observed afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.actions import Answer, Retry, Stalled, Unsure
from xapi.transport import NotBegun, TransportFailure, Unavailable, XapiFailure

SOON_S = 5.0
LATER_S = 30.0
LONG_S = 120.0


def _retry(reason: str, message: str, after_s: float = SOON_S) -> Retry:
    return Retry(reason=reason, message=message, after_s=after_s)


def _stalled(reason: str, message: str) -> Stalled:
    return Stalled(reason=reason, message=message)


def _unsure(reason: str, message: str) -> Unsure:
    return Unsure(reason=reason, message=message)


_MEMORY = "The target node has too little free memory now; another node, or less memory, is needed."
_PRIVILEGE = "The pool account may not do this; give it the role pool-operator or pool-admin."
_BOOTING = "The toolstack of the node is still starting."
_POOL_HA = "The pool's own HA forbids it; cxm stands aside while pool HA is on."
_FROM_UPGRADE = "The pool is in a rolling upgrade; wait until it is over."
_HARDWARE = "It needs a device of one particular server; detach the device or leave the VM there."
_DISK = "The storage refused; look at the SR and its logs on the node."

ANSWERS: Mapping[str, Answer] = {
    # --- the object or its state is not what the call assumed: look again ---
    "VM_BAD_POWER_STATE": _retry("StateChanged", "The VM is not in the state that was assumed."),
    "HANDLE_INVALID": _retry("ObjectGone", "The object is not there any more."),
    "UUID_INVALID": _retry("ObjectGone", "The object is not there any more."),
    "OBJECT_NOLONGER_EXISTS": _retry("ObjectGone", "The object is not there any more."),
    "VM_NOT_RESIDENT_HERE": _retry("StateChanged", "The VM is on another node than was assumed."),
    "OTHER_OPERATION_IN_PROGRESS": _retry(
        "ObjectBusy", "Another operation holds the object.", LATER_S
    ),
    "VDI_IN_USE": _retry("ObjectBusy", "A disk of the VM is in use by another operation.", LATER_S),
    "VM_IS_TEMPLATE": _stalled(
        "IsTemplate", "It has been made a template; remove it from the tree."
    ),
    "VM_IS_SNAPSHOT": _stalled("IsSnapshot", "It is a snapshot; remove it from the tree."),
    "DOMAIN_EXISTS": _stalled("DomainExists", "A domain of it runs where none should; look there."),
    "DUPLICATE_VM": _stalled("DomainExists", "The pool has the VM twice; remove one of them."),
    "HOST_IS_LIVE": _stalled(
        "HostIsLive",
        "The pool reaches the node, or its own master is meant: it is not written off.",
    ),
    "CANNOT_RESET_CONTROL_DOMAIN": _stalled(
        "IsControlDomain", "It is a node's control domain, which is never reset."
    ),
    # --- somebody or something forbids it ---
    "OPERATION_BLOCKED": _stalled(
        "OperationBlocked", "The VM's blocked_operations forbid it; remove the entry to allow it."
    ),
    "OPERATION_NOT_ALLOWED": _stalled("NotAllowed", "XenAPI does not allow it."),
    "RBAC_PERMISSION_DENIED": _stalled("NoPermission", _PRIVILEGE),
    "PERMISSION_DENIED": _stalled("NoPermission", _PRIVILEGE),
    "SESSION_AUTHENTICATION_FAILED": _retry(
        "LoginRefused", "The pool refused user name or password; correct the credentials.", LONG_S
    ),
    "SESSION_AUTHORIZATION_FAILED": _retry("LoginRefused", _PRIVILEGE, LONG_S),
    "LICENCE_RESTRICTION": _stalled(
        "LicenceRestriction", "The pool's licence does not include it."
    ),
    "FEATURE_RESTRICTED": _stalled("LicenceRestriction", "The pool's licence does not include it."),
    "LICENSE_EXPIRED": _stalled("LicenceRestriction", "The pool's licence has expired; renew it."),
    "VM_IS_PROTECTED": _retry("PoolHa", _POOL_HA, LONG_S),
    "HA_IS_ENABLED": _retry("PoolHa", _POOL_HA, LONG_S),
    "HA_OPERATION_WOULD_BREAK_FAILOVER_PLAN": _retry("PoolHa", _POOL_HA, LONG_S),
    "HA_ENABLE_IN_PROGRESS": _retry("PoolHa", _POOL_HA, LONG_S),
    "HA_DISABLE_IN_PROGRESS": _retry("PoolHa", _POOL_HA, LATER_S),
    "HA_NO_PLAN": _retry("PoolHa", _POOL_HA, LONG_S),
    "NOT_SUPPORTED_DURING_UPGRADE": _retry("RollingUpgrade", _FROM_UPGRADE, LONG_S),
    "VM_IS_PART_OF_AN_APPLIANCE": _stalled(
        "InAppliance", "It is started and stopped with its vApp only; take it out of the vApp."
    ),
    # --- the guest ---
    # Also said of a guest whose agent has not spoken yet since it was started: it may pass.
    "VM_LACKS_FEATURE": _retry(
        "NoTools", "The guest shows no drivers for this; install its tools, or act in the guest."
    ),
    "VM_MISSING_PV_DRIVERS": _stalled("NoTools", "The guest has no tools installed; install them."),
    "VM_OLD_PV_DRIVERS": _stalled("NoTools", "The guest's tools are too old; update them."),
    "VM_NON_SUSPENDABLE": _stalled("NotSuspendable", "The guest says that it cannot be suspended."),
    "VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT": _retry(
        "GuestSilent", "The guest did not react to the request to shut down.", LATER_S
    ),
    "VM_SHUTDOWN_TIMEOUT": _retry(
        "GuestSlow", "The guest did not get itself off in time.", LATER_S
    ),
    "VM_FAILED_SUSPEND_ACKNOWLEDGMENT": _retry(
        "GuestSilent", "The guest did not react to the request to suspend.", LATER_S
    ),
    "VM_SUSPEND_TIMEOUT": _retry("GuestSlow", "The guest did not suspend in time.", LATER_S),
    "VM_REBOOTED": _retry("GuestRebooted", "The guest rebooted in the meantime.", LATER_S),
    "VM_HALTED": _retry("GuestHalted", "The guest switched itself off in the meantime."),
    "VM_CRASHED": _retry("GuestCrashed", "The guest crashed in the meantime."),
    "VM_IS_IMMOBILE": _stalled(
        "Immobile", "Its platform forbids to move it (nomigrate or nested virtualisation)."
    ),
    "VM_IS_USING_NESTED_VIRT": _stalled(
        "Immobile", "It uses nested virtualisation; it cannot move."
    ),
    "VM_HAS_PCI_ATTACHED": _stalled("Immobile", _HARDWARE),
    "VM_HAS_VGPU": _stalled("Immobile", _HARDWARE),
    "VM_HAS_VUSBS": _stalled("Immobile", _HARDWARE),
    "VM_HAS_SRIOV_VIF": _stalled("Immobile", _HARDWARE),
    "VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION": _stalled(
        "Immobile", "One of its disks is reset at boot and cached; it can only be stopped."
    ),
    # --- the target node ---
    "HOST_NOT_ENOUGH_FREE_MEMORY": _retry("NotEnoughMemory", _MEMORY, 10.0),
    "VMS_FAILED_TO_COOPERATE": _retry("NotEnoughMemory", _MEMORY, 10.0),
    "BALLOONING_TIMEOUT_BEFORE_MIGRATION": _retry(
        "BalloonSlow", "The guest did not give memory back in time for the migration.", LATER_S
    ),
    "HOST_NOT_ENOUGH_PCPUS": _stalled(
        "NotEnoughCpus", "It has more vCPUs than the node has CPUs; choose fewer or another node."
    ),
    "NO_HOSTS_AVAILABLE": _retry("NoNode", "No node of the pool can take it now.", LATER_S),
    "HOST_DISABLED": _retry(
        "NodeDisabled", "The target node takes no VMs: it is disabled.", LATER_S
    ),
    "HOST_DISABLED_UNTIL_REBOOT": _stalled("NodeDisabled", "The node must be rebooted first."),
    "HOST_DISABLED_INDEFINITELY": _stalled(
        "NodeDisabled", "The node was disabled for good; enable it by hand when it is sound."
    ),
    "HOST_PENDING_MANDATORY_GUIDANCE_NOT_EMPTY": _stalled(
        "NodeDisabled", "Updates of the node ask for a restart that is still due; carry it out."
    ),
    "HOST_EVACUATION_IS_REQUIRED": _stalled("NodeNotEmpty", "The node must be emptied first."),
    "HOST_EVACUATE_IN_PROGRESS": _retry("NodeEvacuating", "The target is being emptied.", LONG_S),
    "HOST_NOT_LIVE": _retry("NodeNotLive", "The pool holds the target node for dead.", LATER_S),
    "HOST_OFFLINE": _retry("NodeNotLive", "The pool holds the node for dead.", LATER_S),
    "CANNOT_CONTACT_HOST": _unsure(
        "NodeUnreachable", "The pool master lost contact with the node while it was at work."
    ),
    "HOST_STILL_BOOTING": _retry("NodeBooting", _BOOTING, LATER_S),
    "HOST_IN_EMERGENCY_MODE": _retry(
        "EmergencyMode", "The node cannot reach its pool master.", LONG_S
    ),
    "HOST_HAS_NO_MANAGEMENT_IP": _retry(
        "EmergencyMode", "The node has no management address; repair its network.", LONG_S
    ),
    "HOST_MASTER_CANNOT_TALK_BACK": _retry(
        "EmergencyMode", "The pool master cannot reach the node; repair the network.", LONG_S
    ),
    "HOST_UNKNOWN_TO_MASTER": _retry(
        "EmergencyMode", "The pool master does not know the node; join it again.", LONG_S
    ),
    "HOST_ITS_OWN_SLAVE": _retry("EmergencyMode", "The node takes itself for its master.", LONG_S),
    "HOST_BROKEN": _retry("EmergencyMode", "The node could not join its pool master.", LONG_S),
    "HOST_XAPI_VERSION_HIGHER_THAN_COORDINATOR": _retry(
        "EmergencyMode", "The node is newer than its pool master; upgrade the master first.", LONG_S
    ),
    "HA_HOST_CANNOT_ACCESS_STATEFILE": _retry("EmergencyMode", _POOL_HA, LONG_S),
    "HA_HEARTBEAT_DAEMON_STARTUP_FAILED": _retry("EmergencyMode", _POOL_HA, LONG_S),
    "VM_REQUIRES_SR": _retry(
        "NoStorage", "A disk, CD or suspend image is on an SR that is not attached there.", LATER_S
    ),
    "VM_REQUIRES_VDI": _stalled("NoStorage", "One of its disks is missing."),
    "SR_HAS_NO_PBDS": _retry("NoStorage", "The SR is not attached on the pool master.", LATER_S),
    "SR_NOT_ATTACHED": _retry("NoStorage", "The SR is not attached on the node.", LATER_S),
    "VM_REQUIRES_NETWORK": _retry("NoNetwork", "One of its networks is not on the node.", LATER_S),
    "HOST_CANNOT_ATTACH_NETWORK": _retry(
        "NoNetwork", "The node cannot bring up one of its networks.", LATER_S
    ),
    "NETWORK_SRIOV_INSUFFICIENT_CAPACITY": _retry(
        "NoNetwork", "The node has no free virtual function on an SR-IOV network.", LATER_S
    ),
    "INTERFACE_HAS_NO_IP": _stalled(
        "NoMigrationAddress", "The migration network has no address on the target; give it one."
    ),
    "PIF_HAS_NO_NETWORK_CONFIGURATION": _stalled(
        "NoMigrationAddress", "The migration network has no address on the target; give it one."
    ),
    "VM_REQUIRES_IOMMU": _stalled("NoDevice", "The node has no IOMMU, which its devices need."),
    "VM_REQUIRES_GPU": _stalled("NoDevice", "The node has no suitable GPU."),
    "VM_REQUIRES_VGPU": _stalled("NoDevice", "The node has no suitable virtual GPU."),
    "VM_REQUIRES_VUSB": _stalled("NoDevice", "The node has not its USB device."),
    "VM_HVM_REQUIRED": _stalled("CpuIncompatible", "The node cannot run hardware-assisted guests."),
    "VM_INCOMPATIBLE_WITH_THIS_HOST": _stalled(
        "CpuIncompatible", "It was started with CPU features that the node lacks; restart it cold."
    ),
    "VM_HOST_INCOMPATIBLE_VERSION": _stalled("VersionIncompatible", "The node's Xen is too old."),
    "VM_HOST_INCOMPATIBLE_VERSION_MIGRATE": _stalled(
        "VersionIncompatible", "A VM can only move to a node with the same or a newer version."
    ),
    "VM_HOST_INCOMPATIBLE_VIRTUAL_HARDWARE_PLATFORM_VERSION": _stalled(
        "VersionIncompatible", "The node does not offer the virtual hardware that it was made for."
    ),
    # --- limits and arguments ---
    "MEMORY_CONSTRAINT_VIOLATION": _stalled(
        "BadMemory", "Its memory limits contradict each other."
    ),
    "MEMORY_CONSTRAINT_VIOLATION_ORDER": _stalled(
        "BadMemory", "Its memory limits must not decrease: static_min, dynamic, static_max."
    ),
    "MEMORY_CONSTRAINT_VIOLATION_MAXPIN": _stalled(
        "BadMemory", "Its memory cannot vary: dynamic and static maximum must be equal."
    ),
    "VM_MEMORY_SIZE_TOO_LOW": _stalled("BadMemory", "It has too little memory to start."),
    "VM_NO_VCPUS": _stalled("BadVcpus", "It has no vCPU."),
    "VM_TOO_MANY_VCPUS": _stalled("BadVcpus", "It has more vCPUs than are supported."),
    "VCPU_MAX_NOT_CORES_PER_SOCKET_MULTIPLE": _stalled(
        "BadVcpus", "The number of vCPUs must be a multiple of its cores-per-socket."
    ),
    "INVALID_VALUE": _stalled("BadValue", "XenAPI does not take the value."),
    "VALUE_NOT_SUPPORTED": _stalled("BadValue", "XenAPI does not support the value."),
    "FIELD_TYPE_ERROR": _stalled("BadValue", "XenAPI does not take a value of this kind."),
    "MAP_DUPLICATE_KEY": _retry("StateChanged", "Somebody else has set the same key."),
    "MESSAGE_METHOD_UNKNOWN": _stalled("NotOffered", "This version of XenAPI has no such call."),
    "MESSAGE_REMOVED": _stalled("NotOffered", "This version of XenAPI has no such call any more."),
    "MESSAGE_PARAMETER_COUNT_MISMATCH": _stalled(
        "NotOffered", "This version of XenAPI takes other arguments."
    ),
    "NOT_IMPLEMENTED": _stalled("NotOffered", "This pool does not implement the call."),
    # --- removable media ---
    "VBD_IS_EMPTY": _retry("StateChanged", "The drive is empty already."),
    "VBD_NOT_REMOVABLE_MEDIA": _stalled("NotRemovable", "The drive's medium cannot be ejected."),
    "VBD_TRAY_LOCKED": _retry("TrayLocked", "The guest has locked the drive's tray.", LATER_S),
    # --- storage ---
    "VM_NO_SUSPEND_SR": _stalled(
        "NoSuspendStorage", "There is no SR for suspend images; set one for the VM or the pool."
    ),
    "VM_HAS_NO_SUSPEND_VDI": _stalled(
        "NoSuspendImage", "Its suspend image is gone; stop the VM to start it afresh."
    ),
    "SUSPEND_IMAGE_NOT_ACCESSIBLE": _retry(
        "NoSuspendImage", "Its suspend image cannot be reached from the node.", LATER_S
    ),
    "SR_SUSPEND_SPACE_INSUFFICIENT": _stalled("StorageFull", "No room for the suspend image."),
    "SR_FULL": _stalled("StorageFull", "The SR is full; free or add space."),
    "OUT_OF_SPACE": _stalled("StorageFull", "A file system of the node is full; free space."),
    "SR_BACKEND_FAILURE": _retry("StorageFailed", _DISK, LATER_S),
    "SR_BACKEND_FAILURE_44": _stalled("StorageFull", "The SR is full; free or add space."),
    "SR_BACKEND_FAILURE_46": _retry(
        "DiskLocked",
        "A disk is still marked as in use by another node; it is freed when that node is declared "
        "dead or has detached it.",
        LATER_S,
    ),
    "SR_VDI_LOCKING_FAILED": _retry("DiskLocked", "A disk could not be locked.", LATER_S),
    "VDI_NOT_AVAILABLE": _retry("DiskLocked", "A disk is not available now.", LATER_S),
    "VDI_MISSING": _stalled("NoStorage", "The storage does not find one of its disks."),
    "SM_PLUGIN_COMMUNICATION_FAILURE": _retry("StorageFailed", _DISK, LATER_S),
    "CLUSTERED_SR_DEGRADED": _retry("StorageFailed", "A clustered SR is degraded.", LONG_S),
    "DEVICE_ATTACH_TIMEOUT": _retry("StorageFailed", "A device was not attached in time.", LATER_S),
    "DEVICE_DETACH_TIMEOUT": _retry("StorageFailed", "A device was not let go in time.", LATER_S),
    "DEVICE_DETACH_REJECTED": _retry("GuestHoldsDevice", "The guest keeps a device.", LATER_S),
    # --- the work itself failed: what is left of the VM only the records tell ---
    "VM_MIGRATE_FAILED": _retry("MigrationFailed", "The migration failed.", LATER_S),
    "VM_MIGRATE_CONTACT_REMOTE_SERVICE_FAILED": _retry(
        "MigrationFailed", "The nodes could not reach each other for the migration.", LATER_S
    ),
    "BOOTLOADER_FAILED": _stalled("BootFailed", "The boot loader found nothing to start."),
    "UNKNOWN_BOOTLOADER": _stalled("BootFailed", "Its boot loader is not known to the node."),
    "FAILED_TO_START_EMULATOR": _retry("BootFailed", "A device emulator did not start.", LATER_S),
    "VM_UNSAFE_BOOT": _stalled("BootFailed", "XenAPI holds it unsafe to boot it now."),
    "DOMAIN_BUILDER_ERROR": _retry("BootFailed", "The domain could not be built.", LATER_S),
    "XAPI_HOOK_FAILED": _retry("HookFailed", "A hook script of the node refused.", LATER_S),
    "INTERNAL_ERROR": _retry("InternalError", "XenAPI failed inside.", LATER_S),
    # Not by us, who would not wait for it: a human who cancels something is not contradicted at once.
    "TASK_CANCELLED": _retry("Cancelled", "Somebody, or the pool, cancelled the task.", LONG_S),
    # --- the session or the server ---
    "SESSION_INVALID": _retry("SessionLost", "The session had ended; a new one is made.", 0.0),
    "HOST_IS_SLAVE": _retry("MasterChanged", "The pool has another master now.", 0.0),
    "TOO_MANY_PENDING_TASKS": _retry("PoolBusy", "The pool has too many tasks pending.", LATER_S),
    "TOO_BUSY": _retry("PoolBusy", "The pool is too busy.", LATER_S),
}

_STORAGE = "SR_BACKEND_FAILURE"


def judge(failure: XapiFailure) -> Answer:
    """What the pool's refusal means; the code stands at the end of the message.

    A code that is not in the table may pass: Retry with the code as reason.
    """
    code = failure.code
    known = ANSWERS.get(code)
    if known is None and code.startswith(_STORAGE):
        known = ANSWERS[_STORAGE]
    if known is None:
        return Retry(reason=code, message=failure.message, after_s=LATER_S)
    detail = failure.message.removeprefix("XenAPI answered ")
    return _reworded(known, f"{_message(known)} {detail}")


def judge_loss(failure: Unavailable) -> Answer:
    """What it means that a call with consequences brought no answer of the pool."""
    if isinstance(failure, XapiFailure):
        return judge(failure)
    if isinstance(failure, NotBegun):
        return Retry(reason=failure.reason, message=failure.message, after_s=0.0)
    if isinstance(failure, TransportFailure) and failure.sent:
        return Unsure(reason="AnswerLost", message=failure.message)
    return Retry(reason=failure.reason, message=failure.message, after_s=SOON_S)


def _message(answer: Answer) -> str:
    return getattr(answer, "message", "")


def _reworded(answer: Answer, message: str) -> Answer:
    match answer:
        case Retry(reason=reason, after_s=after_s):
            return Retry(reason=reason, message=message, after_s=after_s)
        case Stalled(reason=reason):
            return Stalled(reason=reason, message=message)
        case Unsure(reason=reason):
            return Unsure(reason=reason, message=message)
    return answer
