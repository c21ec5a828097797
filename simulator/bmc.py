"""Fence devices as they are: management controllers and outlets that switch a host's power.

A device takes a command at once and carries it out when it pleases; whoever wants to know whether
the power is off has to ask again. That is the business of a fence agent (``simulator.agent``).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from simulator.faults import Fault
from simulator.site import Site
from simulator.spec import BmcSpec, OutletSpec
from simulator.toolstacks import Toolstacks

PowerState = Literal["on", "off"]
Kind = Literal["no-answer", "refused", "unknown", "not-switched"]

SOFT_OFF_S = 90.0
"""How long an operating system takes to shut itself down when a device asks instead of cutting."""


class BmcError(Exception):
    """What a fence device, or a fence agent that speaks to it, has to tell instead of an answer.

    ``kind`` is no-answer (silence, and nobody knows whether the command was carried out), refused
    (the credentials), unknown (it knows no power state), or not-switched (an agent saw no effect).
    """

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


@dataclass(frozen=True, slots=True)
class BmcIdentity:
    """Of which server a controller says it is a part. ``serial`` is also what the server's firmware
    tells XenAPI; ``system_uuid`` is the firmware's, and no uuid of XenAPI."""

    system_uuid: str
    serial: str


class Bmcs:
    """All fence devices of a pool, by name. An unknown name raises LookupError."""

    def __init__(self, site: Site, toolstacks: Toolstacks) -> None:
        self._site = site
        self._toolstacks = toolstacks
        self._supply = site.supply
        self._specs = {spec.name: spec for spec in site.spec.bmcs}
        self._watchers: list[Callable[[], None]] = []

    def names(self) -> list[str]:
        """In the order of the pool file."""
        return list(self._specs)

    def spec(self, name: str) -> BmcSpec | OutletSpec:
        """What kind it is and to which host it belongs."""
        if name not in self._specs:
            known = ", ".join(self._specs) or "none"
            raise LookupError(f"there is no fence device {name!r}; there are: {known}")
        return self._specs[name]

    # --- condition --------------------------------------------------------------------------------

    def lives(self, name: str) -> bool:
        """Whether there is anything at its address; not if it fell with its host's supplies."""
        spec = self.spec(name)
        fed = not isinstance(spec, BmcSpec) or spec.feed == "own"
        return self._fault("dead", name) is None and (fed or self._supply.has_power(spec.host))

    def hangs(self, name: str) -> bool:
        """Whether it takes what it is sent and does not stir."""
        return self._fault("hang", name) is not None

    def refuses(self, name: str) -> bool:
        """Whether its credentials are others than everybody believes."""
        return self._fault("refuses", name) is not None

    def identity(self, name: str) -> BmcIdentity:
        """What the controller at that address says of itself; LookupError for an outlet."""
        if isinstance(self.spec(name), OutletSpec):
            raise LookupError(f"{name} is an outlet and knows nothing of what hangs on it")
        switched = self._switched(name)
        host = next(host for host in self._site.spec.hosts if host.name == switched)
        return BmcIdentity(str(uuid.uuid5(uuid.UUID(host.uuid), "system")), host.serial)

    def watch(self, changed: Callable[[], None]) -> None:
        """Have ``changed`` called whenever the condition of a device may be another."""
        self._watchers.append(changed)

    def notify(self) -> None:
        """A fault began or ended, or a host's power came or went."""
        for changed in self._watchers:
            changed()

    # --- commands ---------------------------------------------------------------------------------

    async def status(self, name: str) -> PowerState:
        """The power state as the device tells it. Raises BmcError."""
        await self._reach(name)
        if self._fault("unknown", name) is not None:
            raise BmcError("unknown", f"{name} does not know whether its host is on")
        return self._believed(name)

    async def switch(self, name: str, to: PowerState) -> None:
        """Give the command; returns when the device has taken it. Raises BmcError."""
        await self._reach(name)
        if self._fault("lies", name) is None:
            self._site.in_background(self._carry_out(name, to))
        about = {"bmc": name, "host": self.spec(name).host}
        if self._site.faults.strike("bmc-reply-lost", **about) is not None:
            raise BmcError("no-answer", f"{name} did not answer")

    async def _reach(self, name: str) -> None:
        """One request on its way to the device and through its front door."""
        while (hang := self._fault("hang", name)) is not None:
            await hang.ended.wait()
        slow = self._fault("slow", name)
        if slow is not None:
            await self._site.clock.sleep(int(slow.scope["ms"]) / 1000)
        await self._site.clock.work(self._site.latencies.draw("bmc"))
        if not self.lives(name):
            raise BmcError("no-answer", f"{name} does not answer")
        if self.refuses(name):
            raise BmcError("refused", f"{name} does not accept the user name or the password")

    async def _carry_out(self, name: str, to: PowerState) -> None:
        soft = self._fault("soft-off", name) if to == "off" else None
        if soft is not None:
            await self._site.clock.sleep(_ms(soft, SOFT_OFF_S))
        else:
            await self._site.clock.work(self._site.latencies.draw("bmc_switch"))
        self._throw(name, on=to == "on")
        again = self._fault("auto-on", name) if to == "off" else None
        if again is not None:
            await self._site.clock.sleep(_ms(again, 0.0))
            self._throw(name, on=True)

    def _throw(self, name: str, on: bool) -> None:
        """The power follows, at the host that the device is really wired to."""
        wired_to = self._switched(name)
        own = isinstance(self.spec(name), BmcSpec)
        if own or self._supply.switch_outlet(name, on, wired_to):
            self._toolstacks.press(wired_to, on)
        self.notify()

    def _believed(self, name: str) -> PowerState:
        lie = self._fault("lies", name)
        if lie is not None and lie.scope["says"] == "off":
            return "off"
        if isinstance(self.spec(name), OutletSpec):
            on = self._supply.outlet_is_on(name)
        else:
            on = self._site.machines[self._switched(name)].powered
        return "on" if on else "off"

    def _switched(self, name: str) -> str:
        """The host whose power the device switches."""
        crossed = self._fault("crosswired", name)
        return self.spec(name).host if crossed is None else crossed.scope["onto"]

    def _fault(self, kind: str, name: str) -> Fault | None:
        about = {"bmc": name, "host": self.spec(name).host}
        return self._site.faults.active(f"bmc-{kind}", **about)


def _ms(fault: Fault, otherwise_s: float) -> float:
    return int(fault.scope["ms"]) / 1000 if "ms" in fault.scope else otherwise_s
