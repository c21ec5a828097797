"""What a Redfish controller says of its server, over TLS."""

from __future__ import annotations

import base64
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fencing.binding import Identity
from fencing.devices import DeviceUse
from fencing.edge.agent import Agents
from fencing.ladder import Power
from tests.fencing.edge.bmcs import PASSWORD
from tests.fencing.edge.conftest import soon

GUID = UUID("4c4c4544-0051-3610-8052-b4c04f4d3132")
LOGIN = "Basic " + base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
ONE, OTHER = "/redfish/v1/Systems/1", "/redfish/v1/Systems/2"


def certified(folder: Path) -> ssl.SSLContext:
    """A server's side of TLS, with a certificate that nobody vouches for, as controllers have."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bmc")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = folder / "bmc.pem"
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


class Redfish:
    """Two systems behind one controller; which was switched is to be seen."""

    def __init__(self) -> None:
        self.power = {ONE: "On", OTHER: "On"}
        self.serials: dict[str, str | None] = {ONE: "SN0001", OTHER: "SN0002"}

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/redfish/v1", self.root)
        app.router.add_get("/redfish/v1/Systems", self.systems)
        app.router.add_get("/redfish/v1/Systems/{name}", self.system)
        app.router.add_post("/redfish/v1/Systems/{name}/Reset", self.reset)
        app.router.add_get("/long", self.long)
        return app

    async def root(self, _: web.Request) -> web.Response:
        return web.json_response({"Systems": {"@odata.id": "/redfish/v1/Systems"}})

    async def systems(self, _: web.Request) -> web.Response:
        return web.json_response({"Members": [{"@odata.id": ONE}, {"@odata.id": OTHER}]})

    async def system(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != LOGIN:
            raise web.HTTPUnauthorized
        if request.path not in self.power:
            raise web.HTTPNotFound
        return web.json_response(
            {
                "PowerState": self.power[request.path],
                "UUID": str(GUID),
                "SerialNumber": self.serials[request.path],
                "Actions": {"#ComputerSystem.Reset": {"target": f"{request.path}/Reset"}},
            }
        )

    async def reset(self, request: web.Request) -> web.Response:
        asked = await request.json()
        self.power[request.path.removesuffix("/Reset")] = asked["ResetType"].removeprefix("Force")
        return web.Response(status=204)

    async def long(self, _: web.Request) -> web.Response:
        return web.json_response({"SerialNumber": "x" * 300_000})


@pytest.fixture
def redfish() -> Redfish:
    return Redfish()


Using = Callable[..., Awaitable[DeviceUse]]


@pytest.fixture
async def use(redfish: Redfish, tmp_path: Path) -> AsyncIterator[Using]:
    runner = web.AppRunner(redfish.app())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=certified(tmp_path))
    await site.start()
    port = runner.addresses[0][1]

    async def one(uri: str = ONE, insecure: str = "1", ref: str = "bmc") -> DeviceUse:
        options = {"ip": "127.0.0.1", "ipport": str(port), "systems_uri": uri}
        return DeviceUse(
            device="bmc/xen1",
            node="xen1",
            agent="fence_redfish",
            options={**options, "ssl_insecure": insecure},
            credentials_ref=ref,
            power_s=5.0,
        )

    yield one
    await runner.cleanup()


async def test_it_says_uuid_and_serial_number(agents: Agents, use: Using) -> None:
    found = await agents.identity(await use(), soon())
    assert found == Identity(guid=GUID.bytes, serial="SN0001")


async def test_the_system_that_is_named_is_switched(
    agents: Agents, use: Using, redfish: Redfish
) -> None:
    first = await use(ONE)
    assert (await agents.read_power(first, soon())).power is Power.ON
    assert (await agents.power_off(first, soon())).ok
    assert (await agents.read_power(first, soon())).power is Power.OFF
    assert redfish.power == {ONE: "Off", OTHER: "On"}


async def test_a_system_without_a_serial_number_says_none(
    agents: Agents, use: Using, redfish: Redfish
) -> None:
    redfish.serials[ONE] = None
    assert await agents.identity(await use(), soon()) == Identity(guid=GUID.bytes)


@pytest.mark.parametrize("uri", ["/redfish/v1/Systems/9", "/redfish/v1/Systems", "/long"])
async def test_what_is_no_system_says_nothing(agents: Agents, use: Using, uri: str) -> None:
    assert await agents.identity(await use(uri), soon()) is None


async def test_a_wrong_password_and_an_unknown_certificate_say_nothing(
    agents: Agents, use: Using
) -> None:
    assert await agents.identity(await use(ref="wrong"), soon()) is None
    assert await agents.identity(await use(insecure="0"), soon()) is None
    assert (await agents.read_power(await use(insecure="0"), soon())).power is Power.UNKNOWN
