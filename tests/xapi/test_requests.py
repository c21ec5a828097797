"""Calls -> what is asked of the pool, as far as more than a name is in it."""

from __future__ import annotations

import pytest

from reconciler.actions import CleanShutdown, DeclareDead, DisableNode, ResetPower
from tests.xapi.recorded_pool import Pool
from xapi.calls import Refused, request_for


def test_an_operation_that_ends_in_no_other_way_holds_up_no_reset() -> None:
    pool = Pool()
    pool.vm(current_operations={"t1": "pool_migrate"})
    pool.node(current_operations={"t2": "evacuate"})
    for waits in (CleanShutdown(vm="u-vm1"), DisableNode(node="u-host1")):
        with pytest.raises(Refused, match="in an operation"):
            request_for(waits, pool.tables)
    reset = request_for(ResetPower(vm="u-vm1"), pool.tables)
    assert (reset.method, reset.params) == ("VM.power_state_reset", ("vm1",))
    dead = request_for(DeclareDead(node="u-host1"), pool.tables)
    assert (dead.method, dead.params) == ("host.declare_dead", ("host1",))
