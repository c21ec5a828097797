"""An operation takes possession of an object: its current_operations, and the wait for others."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from simulator import checks
from simulator.calls import Call
from simulator.database import Row
from simulator.latency import RETRY_BUSY_S
from simulator.pool import Pool, without


def refresh(pool: Pool, vm: Row) -> None:
    """Compute the VM's allowed_operations anew."""
    if pool.db.find("VM", vm.ref) is not None:
        pool.db.update(vm, allowed_operations=checks.allowed(pool, vm))


@asynccontextmanager
async def occupied(call: Call, vm: Row, operation: str, strict: bool = True) -> AsyncIterator[None]:
    """Hold the VM by ``operation``, which the checks admit at the moment of entry.

    Raises the first failing check. A VM that is busy is waited for: the server itself retries,
    for two hours, while its caller learns nothing. What an abandoned call still does to the VM is
    not to be seen, but the hypervisor's own queue makes everybody wait for it.
    """
    await _admitted(call, vm, operation, strict)
    task = call.task_ref
    call.holding = vm
    call.pool.db.update(vm, current_operations={**vm.map("current_operations"), task: operation})
    refresh(call.pool, vm)
    try:
        yield
    finally:
        left = without(vm.map("current_operations"), task)
        call.holding = None
        call.pool.db.update(vm, current_operations=left)
        refresh(call.pool, vm)
        call.calls.reigns.wake()


@contextmanager
def host_occupied(call: Call, host: Row, operation: str) -> Iterator[None]:
    """Show the operation on the host while it lasts; it excludes nothing."""
    db, task = call.pool.db, call.task_ref
    db.update(host, current_operations={**host.map("current_operations"), task: operation})
    try:
        yield
    finally:
        db.update(host, current_operations=without(host.map("current_operations"), task))


async def _admitted(call: Call, vm: Row, operation: str, strict: bool) -> None:
    pool = call.pool
    limit = pool.clock.now() + RETRY_BUSY_S
    if operation in checks.HARD:
        _cancel_the_soft(call, vm)
    while True:
        pool.db.row("VM", vm.ref)
        refusal = checks.refusal(pool, vm, operation, strict)
        unseen = operation not in checks.HARD and call.calls.in_the_dark(vm)
        if refusal is None and not unseen:
            return
        left = limit - pool.clock.now()
        if refusal and (refusal.code != "OTHER_OPERATION_IN_PROGRESS" or left <= 0):
            raise refusal
        await pool.db.changed(max(left, 0.0))


def _cancel_the_soft(call: Call, vm: Row) -> None:
    """A hard stop first cancels what would be in its way; what is past cancelling it waits for."""
    for task, operation in vm.map("current_operations").items():
        if operation in checks.CANCELLED_BY_HARD:
            call.calls.cancel(task)
