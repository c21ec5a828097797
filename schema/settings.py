"""A node's own settings, `/etc/cxm/node.yaml`: read by the same dialect, checked the same way.

Everything that differs between nodes is here; secrets are only named (`credentialsRef: NAME` is a
file in `secrets.d/` beside node.yaml). Every path and port can be set, so that several nodes can
run on one machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from schema import dialect, fields, forms, rules, validation
from schema.errors import ConfigError, arranged
from schema.merging import Plain
from schema.model import Frozen

PATH = "/etc/cxm/node.yaml"


class SubversionAccess(Frozen, frozen=True, kw_only=True):
    """The directory that holds cluster.yaml, and how to log in there."""

    url: str
    user: str | None = None
    credentials_ref: str | None = None
    ca_file: str | None = None


class XenapiAccess(Frozen, frozen=True, kw_only=True):
    """The pool's servers, tried in order. `fingerprints`: SHA-256, 64 lower-case digits each.

    Exactly one of `ca_file` and `fingerprints` is given.
    """

    addresses: tuple[str, ...]
    credentials_ref: str
    user: str = "root"
    ca_file: str | None = None
    fingerprints: tuple[str, ...] = ()


class Endpoint(Frozen, frozen=True, kw_only=True):
    """`address` None: the node's own heartbeat addresses, never the wildcard."""

    port: int
    address: str | None = None


class Listen(Frozen, frozen=True, kw_only=True):
    heartbeat: Endpoint
    peer: Endpoint
    metrics: Endpoint
    snmp: Endpoint


class Engine(Frozen, frozen=True, kw_only=True):
    """Who may act: `single` (this daemon is the only one), `builtin` or `etcd`."""

    kind: str = "single"
    endpoints: tuple[str, ...] = ()
    user: str | None = None
    credentials_ref: str | None = None
    ca_file: str | None = None


class Notify(Frozen, frozen=True, kw_only=True):
    """One way to tell people: `way` is exec, mail or webhook, `target` its path, address or URL."""

    way: str
    target: str
    severity: str = "warning"


class Settings(Frozen, frozen=True, kw_only=True):
    """node.yaml, with every default filled in."""

    node: str
    cluster_id: str
    source: SubversionAccess
    xenapi: XenapiAccess
    listen: Listen
    cluster_key_ref: str | None = None
    state_dir: str = "/var/lib/cxm"
    run_dir: str = "/run/cxm"
    boot_id_file: str = "/proc/sys/kernel/random/boot_id"
    engine: Engine = Engine()
    notify: tuple[Notify, ...] = ()


class SettingsRead(Frozen, frozen=True, kw_only=True):
    """`settings` is None exactly where there are errors."""

    settings: Settings | None
    errors: tuple[ConfigError, ...]


def read_settings(content: bytes, path: str = PATH) -> SettingsRead:
    """Reads node.yaml; `path` is how errors name it. Never raises for bad input."""
    reading = dialect.read(path, content)
    if reading.document is None:
        return SettingsRead(settings=None, errors=arranged(reading.errors))
    errors = [*reading.errors, *validation.check("settings", path, reading.document)]
    if not errors:
        faults = _faults(reading.document.value)
        errors = [rules.located(path, reading.document, *fault) for fault in faults]
    if errors:
        return SettingsRead(settings=None, errors=arranged(errors))
    return SettingsRead(settings=_settings(reading.document.value), errors=())


def _faults(plain: Plain) -> rules.Broken:
    yield from _source_faults(plain["source"])
    yield from _xenapi_faults(plain["xenapi"])
    yield from _listen_faults(plain)
    yield from _engine_faults(plain)
    if _or_default(plain, "stateDir") == _or_default(plain, "runDir"):
        hint = "what must outlive a reboot, and sockets, do not mix"
        yield ("stateDir",), "V028", "stateDir and runDir are the same directory", hint
    for index, way in enumerate(plain.get("notify", ())):
        if len({"exec", "mail", "webhook"} & way.keys()) != 1:
            message = "notify: one of exec, mail and webhook"
            yield ("notify", index), "V028", message, "write an entry for each"


def _or_default(plain: Plain, *path: str) -> Any:
    for key in path[:-1]:
        plain = plain.get(key, {})
    return plain.get(path[-1], fields.at("settings", path).get("default"))


def _source_faults(source: Plain) -> rules.Broken:
    parts = urlsplit(source["url"])
    if parts.password is not None:
        hint = "write user: NAME and credentialsRef: NAME"
        yield ("source", "url"), "V031", "url: a password in the open", hint
    if "user" in source and "credentialsRef" not in source and parts.scheme != "svn+ssh":
        hint = "add credentialsRef: NAME"
        yield ("source", "user"), "V028", "user: a user without a password", hint
    if "caFile" in source and parts.scheme != "https":
        yield ("source", "caFile"), "V028", "caFile goes with https only", "remove it"


def _xenapi_faults(xenapi: Plain) -> rules.Broken:
    for index, text in enumerate(xenapi["addresses"]):
        fault = forms.endpoint_fault(text)
        if fault:
            hint = forms.FORMS["endpoint"].example
            yield ("xenapi", "addresses", index), "V018", f"addresses: {fault}", hint
    given = {"caFile", "fingerprints"} & xenapi.keys()
    if len(given) != 1:
        message = "xenapi: exactly one of caFile and fingerprints"
        hint = (
            "without either no server could be told from an impostor" if not given else "keep one"
        )
        yield ("xenapi",), "V028", message, hint


_PROTOCOLS: Mapping[str, str] = {
    "heartbeat": "udp",
    "peer": "tcp",
    "metrics": "tcp",
    "snmp": "udp",
}


_WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104


def _listen_faults(plain: Plain) -> rules.Broken:
    taken: dict[tuple[str, int], tuple[str, str | None]] = {}
    for name, endpoint in _endpoints(plain).items():
        spot = ("listen", name)
        if endpoint.port > 65535:
            message = f"{name}: there is no port {endpoint.port}"
            yield spot, "V017", message, "ports end at 65535"
            continue
        if endpoint.address in _WILDCARDS:
            hint = "leave the address out for the node's own, or name one"
            yield spot, "V028", f"{name}: all addresses of the machine", hint
        place = (_PROTOCOLS[name], endpoint.port)
        other, address = taken.setdefault(place, (name, endpoint.address))
        if other != name and (address == endpoint.address or None in (address, endpoint.address)):
            message = f"{name}: {other} listens at port {endpoint.port} too"
            yield spot, "V028", message, "choose another port"


def _engine_faults(plain: Plain) -> rules.Broken:
    engine = plain.get("engine", {"kind": "single"})
    if engine["kind"] != "single" and "clusterKeyRef" not in plain:
        message = f"engine: {engine['kind']} needs clusterKeyRef"
        yield ("engine", "kind"), "V028", message, "peers know each other by that key"
    if engine["kind"] == "etcd" and "endpoints" not in engine:
        yield ("engine", "kind"), "V028", "engine: etcd needs endpoints", "add endpoints: [...]"
    for key in engine if engine["kind"] != "etcd" else ():
        if key != "kind":
            yield ("engine", key), "V028", f"engine: {key} goes with etcd only", "remove it"


def _endpoints(plain: Plain) -> dict[str, Endpoint]:
    return {name: _endpoint(_or_default(plain, "listen", name)) for name in _PROTOCOLS}


def _endpoint(written: str | int) -> Endpoint:
    address, _, port = re.sub(r"/(udp|tcp)$", "", str(written)).rpartition(":")
    return Endpoint(port=int(port), address=address.strip("[]") or None)


def _fingerprint(text: str) -> str:
    return text.lower().removeprefix("sha256:").replace(":", "")


def _access(plain: Plain) -> Iterator[tuple[str, Any]]:
    """The keys that several groups share, by the names that the structures have for them."""
    for key, name in (
        ("user", "user"),
        ("credentialsRef", "credentials_ref"),
        ("caFile", "ca_file"),
    ):
        if key in plain:
            yield name, plain[key]


def _settings(plain: Plain) -> Settings:
    xenapi, engine = plain["xenapi"], plain.get("engine", {"kind": "single"})
    rest = {
        "clusterKeyRef": "cluster_key_ref",
        "stateDir": "state_dir",
        "runDir": "run_dir",
        "bootIdFile": "boot_id_file",
    }
    return Settings(
        node=plain["node"],
        cluster_id=plain["cluster"]["id"],
        source=SubversionAccess(url=plain["source"]["url"], **dict(_access(plain["source"]))),
        xenapi=XenapiAccess(
            addresses=tuple(xenapi["addresses"]),
            fingerprints=tuple(map(_fingerprint, xenapi.get("fingerprints", ()))),
            **dict(_access(xenapi)),
        ),
        listen=Listen(**_endpoints(plain)),
        engine=Engine(
            kind=engine["kind"],
            endpoints=tuple(engine.get("endpoints", ())),
            **dict(_access(engine)),
        ),
        notify=tuple(_notify(way) for way in plain.get("notify", ())),
        **{name: plain[key] for key, name in rest.items() if key in plain},
    )


def _notify(plain: Plain) -> Notify:
    way = next(key for key in ("exec", "mail", "webhook") if key in plain)
    return Notify(way=way, target=plain[way], severity=plain.get("severity", "warning"))
