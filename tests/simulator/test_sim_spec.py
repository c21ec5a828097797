"""Pool files: what they mean, and what is said of bad ones."""

from random import Random

import pytest

from simulator.latency import Latencies
from simulator.spec import SpecError, load_spec

GOOD = """
pool: {uuid: ee1fc617-30ba-8adf-da91-6d0220996c40, name: lab}
users: {root: secret}
hosts:
  - {name: xen1, uuid: 19e17c1a-5f57-482e-a974-03078926c84e, memory: 64GiB, cpus: 16}
srs:
  - {name: nfs, uuid: 32e33fd3-3b35-5356-db4b-705c67f4c203}
vms:
  - {name: web1, uuid: 0d8c32ac-37a0-54e1-72ff-0f5518d3f789, host: xen1, memory: 1.5GiB, vcpus: 2,
     sr: nfs, guest: {boot: 200ms, dirty: 1MiB}}
latency: {migrate: 1m}
"""


def test_units_defaults_and_references() -> None:
    spec = load_spec(GOOD)
    (host,), (vm,) = spec.hosts, spec.vms
    assert (host.memory, host.dom0_memory) == (64 << 30, 4 << 30)
    assert (vm.memory, vm.memory_min, vm.power_state) == (3 << 29, 3 << 29, "Running")
    assert (vm.guest.boot, vm.guest.shutdown, vm.guest.dirty) == (0.2, 5.0, 1 << 20)
    assert spec.srs[0].hosts == ("xen1",)
    assert (spec.seed, spec.latency) == (1, {"migrate": (60.0, 96.0)})


def test_a_latency_keeps_its_usual_spread_or_says_its_own() -> None:
    own = load_spec(GOOD.replace("migrate: 1m", "migrate: [1m, 61s], start: 0s"))
    assert own.latency == {"migrate": (60.0, 61.0), "start": (0.0, 0.0)}
    drawn = Latencies(Random(1), own.latency)
    assert all(58.0 < drawn.draw("migrate") < 62.0 for _ in range(100))
    assert drawn.draw("start") == drawn.draw_at_least_median("start") == 0.0


BAD = {
    "memory: 64GiB": ("memory: lots", r"hosts\[0\]\.memory: expected a size such as 4GiB"),
    "cpus: 16": ("cpu: 16", r"hosts\[0\]: 'cpus' is missing"),
    "sr: nfs,": ("sr: nsf,", r"vms\[0\]\.sr: no such name 'nsf'; did you mean 'nfs'\?"),
    "{boot: 200ms": ("{boots: 200ms", r"vms\[0\]\.guest: unknown key 'boots'; did you mean 'boot'"),
    "vcpus: 2": ("vcpus: 0", r"vms\[0\]\.vcpus: expected a whole number above 0, found 0"),
    "users: {root: secret}": ("users: {root: 1}", r"users: expected text, found 1"),
    "migrate: 1m": ("migrate: 1", r"latency\.migrate: expected a span of time such as 5s"),
    " {migrate: 1m}": (" {migrate: [1m]}", r"latency\.migrate: expected a median, or \[median, "),
    ": {migrate: 1m}": (": {migrate: [1m, 1s]}", r"latency\.migrate: the 95th percentile is below"),
    "{migrate: 1m}": ("{migrat: 1m}", r"latency: no such name 'migrat'; did you mean 'migrate'"),
    "32e33fd3-3b35-5356-db4b-705c67f4c203": ("32e33fd3", r"srs\[0\]\.uuid: '32e33fd3' is no uuid"),
    "0d8c32ac-37a0-54e1-72ff-0f5518d3f789": (
        "32e33fd3-3b35-5356-db4b-705c67f4c203",
        r"pool file: '32e33fd3.*' stands twice",
    ),
    "latency: {migrate: 1m}": ("latency: [", r"line \d+, column \d+"),
    "host: xen1, memory: 1.5GiB": (
        "power_state: Running, memory: 1.5GiB",
        r"vms\[0\]: web1 is Running: say on which host",
    ),
}


@pytest.mark.parametrize(("right", "wrong"), list(BAD.items()))
def test_a_bad_pool_file_is_told_where_and_why(right: str, wrong: tuple[str, str]) -> None:
    text, complaint = wrong
    assert right in GOOD
    with pytest.raises(SpecError, match=complaint):
        load_spec(GOOD.replace(right, text))


def test_a_vm_without_a_host_is_halted() -> None:
    assert load_spec(GOOD.replace("host: xen1, ", "")).vms[0].power_state == "Halted"


def test_a_pool_without_hosts_is_refused() -> None:
    start, _, rest = GOOD.partition("hosts:")
    with pytest.raises(SpecError, match="at least one host"):
        load_spec(start + "srs:" + rest.partition("srs:")[2])
