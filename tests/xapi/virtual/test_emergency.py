"""One member by itself: against the simulated pool what that knows, and recorded answers for the rest."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from simulator.world import World
from tests.xapi.inprocess import ADDRESSES, XEN1, XEN2, XEN3, WorldTransport
from tests.xapi.virtual.conftest import make_client
from xapi.acting import Acting
from xapi.emergency import Emergency, recover_slaves
from xapi.records import HostRecord
from xapi.session import PoolSession
from xapi.tables import Tables
from xapi.transport import (
    FailureKind,
    JsonValue,
    NotBegun,
    TransportFailure,
    UnknownCertificate,
    XapiFailure,
)

SLAVE = "127.77.0.2"
SOON_S = 5.0
LOCAL, POOL_SESSION = "OpaqueRef:local", "OpaqueRef:pool"


class Member:
    """Answers as a real slave did while its master was gone, and as a master afterwards."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, tuple[JsonValue, ...], float]] = []
        self.answers: dict[str, JsonValue | Exception] = {
            "session.slave_local_login_with_password": LOCAL,
            "session.local_logout": "",
            "host.is_in_emergency_mode": False,
            "pool.is_slave": True,
            "pool.emergency_transition_to_master": "",
            "session.login_with_password": POOL_SESSION,
            "pool.get_all_records": {"pool1": {"uuid": "u-pool", "master": "host2"}},
            "pool.recover_slaves": ["host1"],
            "session.logout": "",
        }

    async def call(
        self, address: str, method: str, params: Sequence[JsonValue], deadline_s: float
    ) -> JsonValue:
        self.asked.append((address, method, tuple(params), deadline_s))
        answer = self.answers[method]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        self.asked.clear()

    def last(self) -> tuple[str, str, tuple[JsonValue, ...], float]:
        return self.asked[-1]


def session(transport: Member | WorldTransport, address: str = SLAVE) -> PoolSession:
    return PoolSession(transport, [address], ("root", "secret"), "cxm/0.1@tests")


async def entered(member: Member) -> Emergency:
    slave = Emergency(session(member), SLAVE)
    await slave.local_login(SOON_S)
    return slave


async def test_a_running_slave_lets_us_in_by_itself(
    transport: WorldTransport, world: World
) -> None:
    world.power_off("xen1")
    slave = Emergency(session(transport), ADDRESSES["xen2"])
    await slave.local_login(SOON_S)
    assert not await slave.is_in_emergency_mode(SOON_S)
    await slave.leave()
    assert transport.methods() == [
        "session.slave_local_login_with_password",
        "host.is_in_emergency_mode",
        "session.local_logout",
    ]
    assert world.site.machines["xen2"].local_sessions == set()


async def test_a_wrong_password_is_said_so(transport: WorldTransport) -> None:
    asking = PoolSession(transport, [SLAVE], ("root", "wrong"), "cxm/0.1@tests")
    with pytest.raises(XapiFailure) as refused:
        await Emergency(asking, SLAVE).local_login(60.0)
    assert refused.value.code == "SESSION_AUTHENTICATION_FAILED"


async def test_a_member_that_is_off_is_unreachable(transport: WorldTransport, world: World) -> None:
    world.power_off("xen2")
    with pytest.raises(TransportFailure) as failed:
        await Emergency(session(transport), SLAVE).local_login(SOON_S)
    assert not failed.value.sent


async def test_the_pools_port_holds_where_none_is_given() -> None:
    member = Member()
    asking = session(member, "127.77.0.1:8443")
    await Emergency(asking, "127.77.0.2").local_login(SOON_S)
    assert member.last()[0] == "127.77.0.2:8443"
    with pytest.raises(NotBegun, match="port"):
        await Emergency(asking, "127.77.0.2:none").local_login(SOON_S)


async def test_a_promotion() -> None:
    member = Member()
    slave = await entered(member)
    assert member.last()[2:] == (("root", "secret"), SOON_S)
    assert await slave.is_slave(1.0)
    assert member.last() == (SLAVE, "pool.is_slave", (LOCAL, "OpaqueRef:NULL"), 1.0)
    await slave.transition_to_master(2.0)
    assert member.last() == (SLAVE, "pool.emergency_transition_to_master", (LOCAL,), 2.0)


async def test_a_further_login_leaves_no_session_behind() -> None:
    member = Member()
    slave = await entered(member)
    member.answers["session.slave_local_login_with_password"] = "OpaqueRef:second"
    await slave.local_login(SOON_S)
    methods = [method for _, method, _, _ in member.asked]
    assert methods == [
        "session.slave_local_login_with_password",
        "session.local_logout",
        "session.slave_local_login_with_password",
    ]
    assert member.asked[1][2] == (LOCAL,)
    assert await slave.is_slave(SOON_S)
    assert member.last()[2][0] == "OpaqueRef:second"


async def test_nothing_is_begun_without_permission_or_session() -> None:
    member = Member()
    slave = await entered(member)
    with pytest.raises(NotBegun, match="LeaseOver"):
        await slave.transition_to_master(SOON_S, lambda: False)
    await slave.leave()
    assert member.last()[:3] == (SLAVE, "session.local_logout", (LOCAL,))
    with pytest.raises(NotBegun, match="NoLocalSession"):
        await slave.transition_to_master(SOON_S)
    assert not any("emergency" in method for _, method, _, _ in member.asked)


@pytest.mark.parametrize(
    "failure",
    [
        XapiFailure("SESSION_INVALID", [LOCAL]),
        XapiFailure("HOST_BROKEN"),
        TransportFailure(FailureKind.TIMEOUT, "no answer", sent=True),
        UnknownCertificate(SLAVE, "AA:BB"),
    ],
)
async def test_what_goes_wrong_is_handed_on(failure: Exception) -> None:
    member = Member()
    slave = await entered(member)
    member.answers["pool.emergency_transition_to_master"] = failure
    with pytest.raises(type(failure)) as raised:
        await slave.transition_to_master(SOON_S)
    assert raised.value is failure


@pytest.mark.parametrize("answer", ["true", "", None, 1, ["x"]])
async def test_an_answer_of_another_kind_is_none(answer: JsonValue) -> None:
    member = Member()
    member.answers["host.is_in_emergency_mode"] = answer
    slave = await entered(member)
    with pytest.raises(TransportFailure, match="BadAnswer"):
        await slave.is_in_emergency_mode(SOON_S)


async def test_the_members_that_a_new_master_gathered() -> None:
    member = Member()
    tables = Tables(host={"host1": HostRecord(uuid=XEN1), "host3": HostRecord(uuid=XEN3)})
    acting = Acting(session(member))
    assert await acting.enter(SOON_S)
    member.answers["pool.recover_slaves"] = []
    assert await recover_slaves(acting, tables, 9.0) == ()
    assert member.last() == (SLAVE, "pool.recover_slaves", (POOL_SESSION,), 9.0)
    member.answers["pool.recover_slaves"] = ["host3", "host1", "OpaqueRef:new"]
    assert await recover_slaves(acting, tables, 9.0) == tuple(sorted([XEN3, XEN1, "OpaqueRef:new"]))


@pytest.mark.parametrize("answer", ["host1", [1], None])
async def test_members_that_cannot_be_read_are_not_none(answer: JsonValue) -> None:
    member = Member()
    member.answers["pool.recover_slaves"] = answer
    with pytest.raises(TransportFailure, match="BadAnswer"):
        await recover_slaves(Acting(session(member)), Tables(), SOON_S)


async def test_a_revoked_leader_gathers_nobody() -> None:
    member = Member()
    acting = Acting(session(member))
    assert await acting.enter(SOON_S)
    with pytest.raises(NotBegun, match="LeaseOver"):
        await recover_slaves(acting, Tables(), SOON_S, lambda: False)
    member.answers["pool.recover_slaves"] = XapiFailure("SESSION_INVALID", [POOL_SESSION])
    with pytest.raises(NotBegun, match="SessionRevoked"):
        await recover_slaves(acting, Tables(), SOON_S)


async def test_the_client_leads_to_a_member(transport: WorldTransport) -> None:
    async with make_client(transport) as client:
        seen = await client.snapshot()
        slave = client.emergency(seen.nodes[XEN2].address)
        await slave.local_login(SOON_S)
        assert not await slave.is_in_emergency_mode(SOON_S)
        await slave.leave()
