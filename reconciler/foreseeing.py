"""Foreseeing: what becomes of the VMs on one node if that is dead: which run again, and where."""

from __future__ import annotations

from collections.abc import Iterator

from membership.ledger import Ledger
from membership.proofs import Lost
from reconciler.actions import UP
from reconciler.adoption import Adoption
from reconciler.deaths import recoverable
from reconciler.journal import JournalState
from reconciler.memory import need
from reconciler.observed import Observed, ObservedNode, ObservedVM
from reconciler.placement import Board, Wanted
from schema.model import VM, Frozen, Manage, Node, Priority


class Foreseen(Frozen, frozen=True, kw_only=True):
    """`vm` is a name for people. `node` is where it would run again; None where it would not, `reason`
    says why."""

    vm: str
    node: str | None = None
    reason: str = ""


_PRIORITY = {Priority.CRITICAL: 0, Priority.NORMAL: 1, Priority.LOW: 2}


def foresee(
    node: Node,
    host: ObservedNode,
    observed: Observed,
    adoption: Adoption,
    ledger: Ledger,
    closed: dict[str, str],
    journal: JournalState,
) -> tuple[Foreseen, ...]:
    """Every VM that is there or died there, in the order of their recovery. `closed`: nodes on which
    nothing is put, with the reason."""
    lost = {fact.vm for fact in ledger.values(Lost) if fact.node == node.name}
    there = [
        real
        for real in observed.vms.values()
        if real.uuid in lost or (real.node == host.uuid and real.power in UP)
    ]
    wishes = {real.uuid: vm for vm, real in adoption.vms}
    board = Board(observed, adoption, closed | {node.name: "Dead"}, journal)
    return tuple(_foreseen(_ordered(there, wishes), wishes, board))


def _ordered(there: list[ObservedVM], wishes: dict[str, VM]) -> list[ObservedVM]:
    def rank(real: ObservedVM) -> tuple[int, int, str]:
        vm = wishes.get(real.uuid)
        return (9, 0, real.name) if vm is None else (_PRIORITY[vm.priority], vm.start.wave, vm.name)

    return sorted(there, key=rank)


def _foreseen(there: list[ObservedVM], wishes: dict[str, VM], board: Board) -> Iterator[Foreseen]:
    for real in there:
        vm = wishes.get(real.uuid)
        if vm is None:
            yield Foreseen(vm=f'"{real.name}"', reason="it is in no file of the tree")
            continue
        name = f"vm/{vm.name}"
        if not recoverable(vm):
            yield Foreseen(vm=name, reason=_unwanted(vm))
            continue
        size = need(real)
        choice = board.choose(Wanted(vm=vm, real=real, size=size, vcpus=real.vcpus_max))
        if choice.node is None:
            why = ", ".join(f"{row.node} {row.reason}" for row in choice.rejected)
            yield Foreseen(vm=name, reason=f"no node takes it: {why}")
            continue
        board.place(real, board.adoption.node_uuids[choice.node.name], size)
        yield Foreseen(vm=name, node=choice.node.name)


def _unwanted(vm: VM) -> str:
    if vm.manage is Manage.OBSERVE:
        return "manage is observe"
    if not vm.recovery.enabled:
        return "recovery.enabled is false"
    return f"state is {vm.state.value}" if vm.state is not None else "it is not recovered"
