"""What really runs, host by host, whatever the database says; and the detector of corruption.

A domain that a migration is building on its target is there, but it does not run and holds no disk
until the handover.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk that a domain holds open."""

    vdi_uuid: str
    writes: bool
    sharable: bool


@dataclass(frozen=True, slots=True)
class Domain:
    """One domain. ``incoming`` until a migration hands over to it."""

    vm_uuid: str
    host: str
    domid: int
    disks: tuple[Disk, ...]
    paused: bool = False
    incoming: bool = False


@dataclass(frozen=True, slots=True)
class CorruptionCase:
    """Something that must never be. ``kind`` is double-run or double-writer."""

    kind: str
    time: float
    uuid: str
    hosts: tuple[str, ...]
    vms: tuple[str, ...]


class Domains:
    """The domains of all hosts. ``corruption`` only grows."""

    def __init__(self, hosts: Iterable[str]) -> None:
        self._running: dict[str, dict[str, Domain]] = {host: {} for host in hosts}
        self._last_domid = dict.fromkeys(self._running, 0)
        self.corruption: list[CorruptionCase] = []

    def on(self, host: str) -> list[Domain]:
        """The domains on a host, incoming ones too."""
        return list(self._running[host].values())

    def get(self, host: str, vm_uuid: str) -> Domain | None:
        """The VM's domain on that host, if there is one."""
        return self._running[host].get(vm_uuid)

    def running(self, vm_uuid: str) -> list[Domain]:
        """Where the VM really runs: nowhere, on one host, or, as it must never be, on several."""
        found = (domains.get(vm_uuid) for domains in self._running.values())
        return [domain for domain in found if domain is not None and not domain.incoming]

    def create(
        self, now: float, host: str, vm_uuid: str, disks: tuple[Disk, ...], incoming: bool = False
    ) -> Domain:
        """A new domain with the host's next domid."""
        self._last_domid[host] += 1
        domid = self._last_domid[host]
        domain = Domain(vm_uuid, host, domid, () if incoming else disks, incoming=incoming)
        self._put(now, domain)
        return domain

    def set_paused(self, host: str, vm_uuid: str, paused: bool) -> None:
        """Stop or go on with its vCPUs; nothing if it is gone."""
        domain = self.get(host, vm_uuid)
        if domain is not None:
            self._running[host][vm_uuid] = replace(domain, paused=paused)

    def hand_over(self, now: float, vm_uuid: str, source: str, target: str) -> Domain | None:
        """The end of a migration in one step; None, and nothing done, if either end is gone."""
        old, new = self.get(source, vm_uuid), self.get(target, vm_uuid)
        if old is None or new is None:
            return None
        del self._running[source][vm_uuid]
        arrived = replace(new, incoming=False, disks=old.disks)
        self._put(now, arrived)
        return arrived

    def destroy(self, host: str, vm_uuid: str) -> None:
        """End a domain; nothing if it is gone already."""
        self._running[host].pop(vm_uuid, None)

    def clear(self, host: str) -> None:
        """The power is gone, and with it all that ran."""
        self._running[host].clear()

    def boot(self, host: str) -> None:
        """A fresh hypervisor counts its domains from the beginning."""
        self._last_domid[host] = 0

    def _put(self, now: float, domain: Domain) -> None:
        self._running[domain.host][domain.vm_uuid] = domain
        if not domain.incoming:
            self._check_double_run(now, domain)
            self._check_double_writer(now, domain)

    def _check_double_run(self, now: float, domain: Domain) -> None:
        hosts = tuple(sorted(other.host for other in self.running(domain.vm_uuid)))
        if len(hosts) > 1:
            case = CorruptionCase("double-run", now, domain.vm_uuid, hosts, (domain.vm_uuid,))
            self.corruption.append(case)

    def _check_double_writer(self, now: float, domain: Domain) -> None:
        everywhere = [d for domains in self._running.values() for d in domains.values()]
        for disk in domain.disks:
            if disk.sharable or not disk.writes:
                continue
            holders = [d for d in everywhere if _writes(d, disk.vdi_uuid)]
            if len(holders) > 1:
                hosts = tuple(sorted(d.host for d in holders))
                vms = tuple(sorted({d.vm_uuid for d in holders}))
                case = CorruptionCase("double-writer", now, disk.vdi_uuid, hosts, vms)
                self.corruption.append(case)


def _writes(domain: Domain, vdi_uuid: str) -> bool:
    return any(disk.writes and disk.vdi_uuid == vdi_uuid for disk in domain.disks)
