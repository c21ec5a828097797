"""How long things take: log-normal draws around published medians, from the one source of chance.

The medians and 95th percentiles are engineering estimates of real pools; a pool file's ``latency``
replaces a median and keeps the spread, or both. All figures are seconds at speed 1.
"""

import math
import random
from collections.abc import Mapping

MEDIANS: Mapping[str, tuple[float, float]] = {
    "read": (0.005, 0.03),
    "per_object": (0.0005, 0.001),
    "write": (0.01, 0.05),
    "login": (0.08, 0.3),
    "login_refused": (2.0, 2.5),
    "start": (6.0, 15.0),
    "pause": (0.2, 0.5),
    "hard_shutdown": (2.0, 5.0),
    "migrate": (5.0, 8.0),
    "handover": (0.3, 1.0),
    "clone": (1.0, 3.0),
    "restart": (25.0, 60.0),
    "host_boot": (180.0, 400.0),
    "plug": (3.0, 20.0),
    "bmc": (0.1, 0.5),
    "bmc_switch": (2.0, 8.0),
    "unreachable": (8.0, 60.0),
    "sync": (0.2, 1.0),
}
"""Name to (median, 95th percentile)."""

_Z95 = 1.6449

SUSPEND_BYTES_PER_S = 250e6
"""Rate at which RAM goes to and comes from the suspend disk."""

MIGRATE_BYTES_PER_S = 650e6
"""What one host can send or receive in all: a 10 GbE link as migrations use it."""

SHUTDOWN_ACKNOWLEDGED_WITHIN_S = 60.0
"""A guest that has not answered by then refuses a clean stop."""

SHUTDOWN_DONE_WITHIN_S = 1200.0
"""A guest that is not off by then has timed out."""

RETRY_BUSY_S = 7200.0
"""For so long the server itself waits for an object that another operation holds."""

ASSUMED_DEAD_AFTER_S = 600.0
"""Without a heartbeat for so long a host's ``live`` turns false; real seconds, at any speed."""

TCP_GIVES_UP_S = (3.0, 130.0)
"""A connection to a server without power fails neither sooner nor later; real seconds."""

FUSE_S = 8.0
"""Between the order to change its role and the end of the toolstack that was given it."""

SHUTDOWN_FUSE_S = 10.0
"""Between host.shutdown or host.reboot and the server's going down."""

STILL_BOOTING_S = 5.0
"""A toolstack that starts accepts calls so long before it performs any."""

EMERGENCY_RETRY_S = 5.0
"""A toolstack in emergency mode asks its master so often whether it may join."""

POWER_ON_WITHIN_S = 600.0
"""host.power_on waits so long for the host to become live."""


class Latencies:
    """Draws durations. ``overrides`` are medians and 95th percentiles in seconds, as in MEDIANS."""

    def __init__(self, chance: random.Random, overrides: Mapping[str, tuple[float, float]]) -> None:
        assert overrides.keys() <= MEDIANS.keys(), overrides
        self._chance = chance
        self._known = {**MEDIANS, **overrides}

    def draw(self, name: str) -> float:
        """One duration in seconds."""
        median, p95 = self._known[name]
        return median * self._chance.lognormvariate(0.0, _sigma(median, p95))

    def draw_tcp_patience(self) -> float:
        """Real seconds until a connection to nowhere fails."""
        soonest, latest = TCP_GIVES_UP_S
        return min(latest, max(soonest, self.draw("unreachable")))

    def draw_at_least_median(self, name: str) -> float:
        """One duration from the slower half."""
        median, p95 = self._known[name]
        return median * math.exp(abs(self._chance.gauss(0.0, _sigma(median, p95))))


def _sigma(median: float, p95: float) -> float:
    """Of what takes no time at all there is no spread."""
    return math.log(p95 / median) / _Z95 if median else 0.0
