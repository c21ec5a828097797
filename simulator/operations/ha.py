"""The pool's own high availability: its flag, and what it forbids. It never acts."""

from simulator.calls import Call
from simulator.pool import Pool
from simulator.registry import operation
from simulator.values import ApiError


def assert_no_ha(pool: Pool) -> None:
    """HA_IS_ENABLED if it is on."""
    if pool.row.flag("ha_enabled"):
        raise ApiError("HA_IS_ENABLED")


@operation("pool.enable_ha", tracked=True)
async def enable_ha(call: Call, _srs: list[str], configuration: dict[str, str]) -> None:
    assert_no_ha(call.pool)
    await call.take("sync")
    call.pool.db.update(call.pool.row, ha_enabled=True, ha_configuration=configuration)


@operation("pool.disable_ha", tracked=True)
async def disable_ha(call: Call) -> None:
    if not call.pool.row.flag("ha_enabled"):
        raise ApiError("HA_NOT_ENABLED")
    await call.take("sync")
    call.pool.db.update(call.pool.row, ha_enabled=False, ha_configuration={})
