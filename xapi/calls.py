"""Actions -> methods and parameters of XenAPI."""

from __future__ import annotations

from functools import singledispatch

from reconciler.actions import (
    AddTag,
    Call,
    CleanShutdown,
    DeclareDead,
    DisableNode,
    EjectMedia,
    EnableNode,
    PoolMigrate,
    ResetPower,
    ResumeOn,
    Retry,
    SetMemory,
    SetNameLabel,
    SetVcpusAtStartup,
    SetVcpusMax,
    StartOn,
    Suspend,
    Unpause,
)
from schema.model import Frozen
from xapi.outcomes import LATER_S, SOON_S
from xapi.records import HostRecord, VmRecord
from xapi.tables import Tables
from xapi.transport import JsonValue

# What runs on a host beside what we ask of it: VMs come and go there all the time.
_HARMLESS_ON_HOST = frozenset({"vm_start", "vm_resume", "vm_migrate"})


class Refused(Exception):
    """The call is not even made; `answer` says why."""

    def __init__(self, answer: Retry) -> None:
        super().__init__(answer.message)
        self.answer = answer


class Request(Frozen, frozen=True, kw_only=True):
    """`method` without the `Async.` prefix, `params` without the session.

    A `lasting` one runs as a task of the pool, that can be tagged and cancelled.
    """

    method: str
    params: tuple[JsonValue, ...]
    lasting: bool = True


def request_for(call: Call, tables: Tables) -> Request:
    """The request that carries out `call` on what the tables know.

    Raises Refused where an object is not there, or an operation is under way on it: the server
    would not refuse then but wait, up to two hours, and carry out an obsolete plan. It waits for
    nothing where it only writes off what was on a dead host: such an operation ends in no other way.
    """
    return _request(call, _Objects(tables))


class _Objects:
    """References by uuid, or Refused."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def vm(self, uuid: str) -> str:
        ref = self.vm_as_it_is(uuid)
        self._idle(self._tables.vm[ref])
        return ref

    def vm_as_it_is(self, uuid: str) -> str:
        return self._existing("vm", uuid, "the VM")

    def drive_of(self, vm: str, uuid: str) -> str:
        ref = self._existing("vbd", uuid, "the drive")
        owner = self.vm(vm)
        if owner != self._tables.vbd[ref].VM:
            raise Refused(_gone("the drive", uuid))
        return ref

    def host(self, uuid: str) -> str:
        return self._existing("host", uuid, "the node")

    def idle_host(self, uuid: str) -> str:
        ref = self.host(uuid)
        self._idle(self._tables.host[ref])
        return ref

    def network(self, uuid: str) -> str:
        return self._existing("network", uuid, "the migration network")

    def _existing(self, cls: str, uuid: str, what: str) -> str:
        ref = self._tables.ref_of(cls, uuid)
        if ref is None:
            raise Refused(_gone(what, uuid))
        return ref

    def _idle(self, record: VmRecord | HostRecord) -> None:
        running = set(record.current_operations.values())
        if isinstance(record, HostRecord):
            running -= _HARMLESS_ON_HOST
        if running:
            message = f"{record.name_label} is in an operation: {', '.join(sorted(running))}"
            raise Refused(Retry(reason="ObjectBusy", message=message, after_s=SOON_S))


def _gone(what: str, uuid: str) -> Retry:
    message = f"{what} {uuid} is not in the pool"
    return Retry(reason="ObjectGone", message=message, after_s=LATER_S)


@singledispatch
def _request(call: Call, objects: _Objects) -> Request:
    raise AssertionError(f"no request for {call!r} of {objects!r}")


@_request.register
def _start(call: StartOn, objects: _Objects) -> Request:
    # Neither paused nor forced: force would skip the check of the memory limits.
    params = (objects.vm(call.vm), objects.host(call.node), False, False)
    return Request(method="VM.start_on", params=params)


@_request.register
def _resume(call: ResumeOn, objects: _Objects) -> Request:
    params = (objects.vm(call.vm), objects.host(call.node), False, False)
    return Request(method="VM.resume_on", params=params)


@_request.register
def _unpause(call: Unpause, objects: _Objects) -> Request:
    return Request(method="VM.unpause", params=(objects.vm(call.vm),))


@_request.register
def _shut_down(call: CleanShutdown, objects: _Objects) -> Request:
    return Request(method="VM.clean_shutdown", params=(objects.vm(call.vm),))


@_request.register
def _suspend(call: Suspend, objects: _Objects) -> Request:
    return Request(method="VM.suspend", params=(objects.vm(call.vm),))


@_request.register
def _migrate(call: PoolMigrate, objects: _Objects) -> Request:
    options: dict[str, JsonValue] = {"live": "true"}
    if call.network is not None:
        options["network"] = objects.network(call.network)
    params = (objects.vm(call.vm), objects.host(call.node), options)
    return Request(method="VM.pool_migrate", params=params)


@_request.register
def _set_memory(call: SetMemory, objects: _Objects) -> Request:
    # The server's order: static minimum, static maximum, dynamic minimum, dynamic maximum.
    limits = (min(call.static_min, call.size), call.size, call.size, call.size)
    params = (objects.vm(call.vm), *limits)
    return Request(method="VM.set_memory_limits", params=params, lasting=False)


@_request.register
def _set_vcpus_max(call: SetVcpusMax, objects: _Objects) -> Request:
    params = (objects.vm(call.vm), call.count)
    return Request(method="VM.set_VCPUs_max", params=params, lasting=False)


@_request.register
def _set_vcpus_at_startup(call: SetVcpusAtStartup, objects: _Objects) -> Request:
    params = (objects.vm(call.vm), call.count)
    return Request(method="VM.set_VCPUs_at_startup", params=params, lasting=False)


@_request.register
def _set_name(call: SetNameLabel, objects: _Objects) -> Request:
    params = (objects.vm(call.vm), call.label)
    return Request(method="VM.set_name_label", params=params, lasting=False)


@_request.register
def _add_tag(call: AddTag, objects: _Objects) -> Request:
    params = (objects.vm(call.vm), call.label)
    return Request(method="VM.add_tags", params=params, lasting=False)


@_request.register
def _eject(call: EjectMedia, objects: _Objects) -> Request:
    return Request(method="VBD.eject", params=(objects.drive_of(call.vm, call.vbd),))


@_request.register
def _reset_power(call: ResetPower, objects: _Objects) -> Request:
    return Request(method="VM.power_state_reset", params=(objects.vm_as_it_is(call.vm),))


@_request.register
def _disable(call: DisableNode, objects: _Objects) -> Request:
    return Request(method="host.disable", params=(objects.idle_host(call.node),))


@_request.register
def _enable(call: EnableNode, objects: _Objects) -> Request:
    return Request(method="host.enable", params=(objects.idle_host(call.node),))


@_request.register
def _declare_dead(call: DeclareDead, objects: _Objects) -> Request:
    return Request(method="host.declare_dead", params=(objects.host(call.node),))
