"""What gives each host its power: the feed of its rack, and outlets that can be switched."""

from __future__ import annotations

from simulator.spec import OutletSpec, PoolSpec


class Supply:
    """The power of all hosts of a site. A host without outlets hangs on its feed alone."""

    def __init__(self, spec: PoolSpec) -> None:
        self._fed = {host.name: True for host in spec.hosts}
        outlets = [bmc for bmc in spec.bmcs if isinstance(bmc, OutletSpec)]
        self._host_of = {outlet.name: outlet.host for outlet in outlets}
        self._outlets = dict.fromkeys(self._host_of, True)
        self._shown = dict.fromkeys(self._host_of, True)

    def has_power(self, host: str) -> bool:
        """Whether electricity reaches the host, be it switched on or not."""
        outlets = [on for name, on in self._outlets.items() if self._host_of[name] == host]
        return self._fed[host] and (any(outlets) or not outlets)

    def outlet_is_on(self, outlet: str) -> bool:
        """Whether the outlet is switched on, whatever hangs on it."""
        return self._shown[outlet]

    def feed(self, host: str, on: bool) -> bool:
        """Cut the host's feed or give it back. Answers whether its power went or came by that."""
        had = self.has_power(host)
        self._fed[host] = on
        return self.has_power(host) != had

    def switch_outlet(self, outlet: str, on: bool, wired_to: str) -> bool:
        """Switch one outlet. Its host falls with the last of its outlets; if the cable leads to
        another host, that one falls instead. Answers whether power went or came there."""
        self._shown[outlet] = on
        if wired_to != self._host_of[outlet]:
            return self.feed(wired_to, on)
        had = self.has_power(wired_to)
        self._outlets[outlet] = on
        return self.has_power(wired_to) != had
