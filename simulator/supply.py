"""What gives each host its power: the feed of its rack, outlets that can be switched, its button."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.spec import OutletSpec

if TYPE_CHECKING:
    from simulator.site import Site


class Supply:
    """The power of all hosts of a site. A host without outlets hangs on its feed alone."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._fed = {host.name: True for host in site.spec.hosts}
        outlets = [bmc for bmc in site.spec.bmcs if isinstance(bmc, OutletSpec)]
        self._host_of = {outlet.name: outlet.host for outlet in outlets}
        self._outlets = dict.fromkeys(self._host_of, True)
        self._shown = dict.fromkeys(self._host_of, True)

    def has_power(self, host: str) -> bool:
        """Whether electricity reaches the host, be it switched on or not."""
        outlets = [on for name, on in self._outlets.items() if self._host_of[name] == host]
        return self._fed[host] and (any(outlets) or not outlets)

    def is_on(self, host: str) -> bool:
        """Whether the host runs, boots, or hangs."""
        return self._site.machines[host].powered

    def outlet_is_on(self, outlet: str) -> bool:
        """Whether the outlet is switched on, whatever hangs on it."""
        return self._shown[outlet]

    def feed(self, host: str, on: bool) -> None:
        """Cut the host's feed or give it back; with power the host boots, as its firmware is set
        to."""
        had = self.has_power(host)
        self._fed[host] = on
        self._settle(host, had)

    def switch_outlet(self, outlet: str, on: bool, wired_to: str) -> None:
        """Switch one outlet. Its host falls with the last of its outlets and boots with the first;
        if the cable leads to another host, that one falls instead."""
        self._shown[outlet] = on
        if wired_to != self._host_of[outlet]:
            self.feed(wired_to, on)
            return
        had = self.has_power(wired_to)
        self._outlets[outlet] = on
        self._settle(wired_to, had)

    def press(self, host: str, on: bool) -> None:
        """The host's own switch: off at once; on, where electricity reaches it."""
        machine = self._site.machines[host]
        if not on:
            self._site.toolstacks.power_off(machine)
        elif self.has_power(host):
            self._site.toolstacks.power_on(machine)

    def _settle(self, host: str, had: bool) -> None:
        has = self.has_power(host)
        if has != had:
            self.press(host, on=has)
