"""The one table from error codes to answers."""

from __future__ import annotations

import re

import pytest

from reconciler.actions import Done, Retry, Stalled, Unsure
from xapi.outcomes import ANSWERS, judge, judge_loss
from xapi.transport import FailureKind, NotBegun, TransportFailure, XapiFailure

# What the server's checks and work may answer to our calls, in the order in which it checks.
OUR_CALLS_GIVE = re.findall(
    r"\w+",
    """
OPERATION_BLOCKED VM_BAD_POWER_STATE OTHER_OPERATION_IN_PROGRESS VM_IS_TEMPLATE VM_IS_SNAPSHOT
VM_IS_IMMOBILE OPERATION_NOT_ALLOWED VM_LACKS_FEATURE VM_NON_SUSPENDABLE
VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION VM_HAS_PCI_ATTACHED VM_HAS_VGPU VM_HAS_VUSBS
NOT_SUPPORTED_DURING_UPGRADE NO_HOSTS_AVAILABLE MEMORY_CONSTRAINT_VIOLATION HOST_NOT_LIVE
HOST_DISABLED VM_HOST_INCOMPATIBLE_VIRTUAL_HARDWARE_PLATFORM_VERSION VM_REQUIRES_SR
VM_REQUIRES_NETWORK HOST_CANNOT_ATTACH_NETWORK VM_REQUIRES_IOMMU VM_REQUIRES_GPU VM_REQUIRES_VGPU
NETWORK_SRIOV_INSUFFICIENT_CAPACITY VM_HVM_REQUIRED HOST_NOT_ENOUGH_FREE_MEMORY
HOST_NOT_ENOUGH_PCPUS HOST_EVACUATE_IN_PROGRESS VMS_FAILED_TO_COOPERATE
VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT VM_SHUTDOWN_TIMEOUT VM_INCOMPATIBLE_WITH_THIS_HOST
BALLOONING_TIMEOUT_BEFORE_MIGRATION VM_MIGRATE_FAILED VM_MIGRATE_CONTACT_REMOTE_SERVICE_FAILED
VM_FAILED_SUSPEND_ACKNOWLEDGMENT VM_SUSPEND_TIMEOUT INTERNAL_ERROR TASK_CANCELLED
SR_BACKEND_FAILURE_46 CANNOT_CONTACT_HOST HOST_OFFLINE PIF_HAS_NO_NETWORK_CONFIGURATION
INTERFACE_HAS_NO_IP HOST_STILL_BOOTING HOST_DISABLED_UNTIL_REBOOT
HOST_PENDING_MANDATORY_GUIDANCE_NOT_EMPTY SR_HAS_NO_PBDS HANDLE_INVALID UUID_INVALID SESSION_INVALID
HOST_IS_SLAVE RBAC_PERMISSION_DENIED LICENCE_RESTRICTION HA_IS_ENABLED
HA_OPERATION_WOULD_BREAK_FAILOVER_PLAN MESSAGE_METHOD_UNKNOWN MESSAGE_PARAMETER_COUNT_MISMATCH
FIELD_TYPE_ERROR INVALID_VALUE VALUE_NOT_SUPPORTED MAP_DUPLICATE_KEY
VCPU_MAX_NOT_CORES_PER_SOCKET_MULTIPLE VBD_IS_EMPTY VBD_NOT_REMOVABLE_MEDIA VBD_TRAY_LOCKED
VM_NO_SUSPEND_SR
""",
)


@pytest.mark.parametrize("code", OUR_CALLS_GIVE)
def test_every_code_that_our_calls_give_is_known(code: str) -> None:
    assert code in ANSWERS


@pytest.mark.parametrize("code", sorted(ANSWERS))
def test_every_answer_has_words(code: str) -> None:
    answer = ANSWERS[code]
    assert not isinstance(answer, Done)
    assert re.fullmatch(r"[A-Z][A-Za-z]+", answer.reason)
    assert answer.message.endswith(".")
    judged = judge(XapiFailure(code, ["x"]))
    assert not isinstance(judged, Done)
    assert type(judged) is type(answer)
    assert judged.reason == answer.reason
    assert code in judged.message


def test_an_unknown_code_may_pass() -> None:
    answer = judge(XapiFailure("SOMETHING_NEW", ["OpaqueRef:1-2", "why"]))
    assert isinstance(answer, Retry)
    assert answer.reason == "SOMETHING_NEW"
    assert answer.after_s > 0
    assert "OpaqueRef" not in answer.message
    assert "why" in answer.message


def test_a_storage_code_of_any_number_is_a_storage_failure() -> None:
    answer = judge(XapiFailure("SR_BACKEND_FAILURE_202", ["", "io error", ""]))
    assert isinstance(answer, Retry)
    assert answer.reason == "StorageFailed"
    assert "io error" in answer.message


def test_a_lost_exchange_is_open_only_if_it_was_sent() -> None:
    cut = TransportFailure(FailureKind.RESET, "cut", sent=True)
    refused = TransportFailure(FailureKind.REFUSED, "refused", sent=False)
    assert isinstance(judge_loss(cut), Unsure)
    assert isinstance(judge_loss(refused), Retry)
    assert isinstance(judge_loss(XapiFailure("VM_MISSING_PV_DRIVERS")), Stalled)


def test_what_was_not_begun_needs_no_pause() -> None:
    answer = judge_loss(NotBegun("LeaseOver", "over"))
    assert answer == Retry(reason="LeaseOver", message="over", after_s=0.0)
