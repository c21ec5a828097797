"""What one valid document must keep beyond its JSON Schema: relations between its own fields."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from schema import fence_agents, forms
from schema.dialect import Document, Path
from schema.errors import ConfigError
from schema.fields import KEYS, LANGUAGE, at
from schema.merging import Plain

_REQUIRES = re.compile(r">=([0-9]{1,4})\.([0-9]{1,4})")
Broken = Iterator[tuple[Path, str, str, str]]  # (path of keys, code, message, hint)


def broken(kind: str, plain: Plain) -> Broken:
    """What is wrong with a document of `kind` that its JSON Schema has accepted."""
    rule = _RULES.get(kind)
    return rule(plain) if rule else iter(())


def located(
    path: str, document: Document, where: Path, code: str, message: str, hint: str = ""
) -> ConfigError:
    """An error at the value at `where`; with a final `KEYS`, at the key itself."""
    span = document.spot(where)
    if where and where[-1] == KEYS:
        place = document.nearest(where[:-1])
        span = place.key or place.value
    return ConfigError(
        path=path,
        line=span.line,
        column=span.column,
        code=code,
        message=message,
        hint=hint,
        length=span.length,
    )


def _seconds(plain: Plain, kind: str, *path: str) -> float:
    part: object = plain
    for key in path:
        part = part.get(key) if isinstance(part, dict) else None
    return forms.duration_s(str(part) if part is not None else at(kind, path)["default"])


def _ordered(plain: Plain, group: tuple[str, ...], less: str, more: str, strict: bool) -> Broken:
    """`less` must not be longer than `more`; both are durations of the Cluster."""
    first = _seconds(plain, "Cluster", *group, less)
    second = _seconds(plain, "Cluster", *group, more)
    if first > second or (strict and first == second):
        word = "shorter than" if strict else "at most as long as"
        shown = f"{less} ({forms.duration_text(first)}) must be {word}"
        message = f"{'.'.join(group)}: {shown} {more} ({forms.duration_text(second)})"
        part: object = plain
        for key in group:
            part = part.get(key) if isinstance(part, dict) else None
        blamed = more if isinstance(part, dict) and more in part else less
        yield (*group, blamed), "V030", message, "raise the one or lower the other"


BEATS = 3
"""So many heartbeats fit into the silence that makes a peer suspect: one lost message is nothing."""


def _beats(plain: Plain) -> Broken:
    interval_s = _seconds(plain, "Cluster", "heartbeat", "interval")
    suspect_s = _seconds(plain, "Cluster", "heartbeat", "suspectAfter")
    if interval_s < suspect_s < BEATS * interval_s:
        message = (
            f"heartbeat: suspectAfter ({forms.duration_text(suspect_s)}) must be at least {BEATS}"
            f" intervals ({forms.duration_text(interval_s)} each)"
        )
        group = plain["heartbeat"]
        blamed = "suspectAfter" if "suspectAfter" in group else "interval"
        yield ("heartbeat", blamed), "V030", message, "raise the one or lower the other"


def _cluster(plain: Plain) -> Broken:
    yield from _ordered(plain, ("heartbeat",), "interval", "suspectAfter", strict=True)
    yield from _beats(plain)
    yield from _ordered(plain, ("heartbeat",), "suspectAfter", "deadAfter", strict=True)
    yield from _ordered(plain, ("source",), "poll", "staleAfter", strict=True)
    yield from _ordered(plain, ("source",), "timeout", "staleAfter", strict=True)
    yield from _ordered(plain, ("reconcile", "retry"), "base", "max", strict=False)
    if "fencing" in plain:
        yield from _agent(plain["fencing"], "fencing")
        yield from _shared_agent(plain["fencing"])


def _agent(plain: Plain, *group: str) -> Broken:
    """A fence agent and its options, which stand below `group`."""
    for refused in fence_agents.faults(plain["agent"], plain.get("options", {})):
        spot = ("agent",) if refused.option is None else ("options", refused.option, KEYS)
        yield (*group, *spot), refused.code, refused.message, refused.hint


def _shared_agent(plain: Plain) -> Broken:
    """The Cluster's agent is given an address for each node, and nothing else that tells them apart."""
    agent = plain["agent"]
    known = fence_agents.MAY_CERTIFY.get(agent)
    if "ip" in plain.get("options", {}):
        message = "ip: all nodes would have the same address"
        yield (
            ("fencing", "options", "ip", KEYS),
            "V028",
            message,
            "each node says its own: bmc: ADDRESS",
        )
    if known and known.kind in (fence_agents.Kind.PDU, fence_agents.Kind.HUMAN):
        message = f"agent: {agent} is not told apart by a node's bmc: ADDRESS"
        hint = (
            "write a FenceDevice and a FencingPolicy, and name that in each node: fencing: POLICY"
        )
        yield ("fencing", "agent"), "V028", message, hint


def too_new(plain: Plain) -> Broken:
    """Whether a Cluster needs a newer cxm: asked before its schema, which cannot know new keys."""
    required = _REQUIRES.fullmatch(str(plain.get("requires", "")))
    if required and (int(required[1]), int(required[2])) > LANGUAGE:
        own = ".".join(map(str, LANGUAGE))
        message = f"requires: this cxm reads version {own}, the tree asks for {required[0]}"
        yield ("requires",), "V902", message, "upgrade cxm on this node first"


def _node(plain: Plain) -> Broken:
    roles = plain.get("roles", ("run", "peer"))
    runs, witness = "run" in roles, "witness" in roles
    if runs and witness:
        yield ("roles",), "V028", "a witness is a peer without VMs, so not a run node", "remove one"
    if runs and "host" not in plain:
        yield ("roles",), "V028", "a run node needs host", "add host: {uuid: ..., address: ...}"
    if witness and "host" in plain:
        yield ("host",), "V028", "a witness is no server of the pool", "remove host"
    if runs and not {"bmc", "fencing", "unfenced"} & plain.keys():
        message = "a run node needs bmc or fencing"
        hint = "or write unfenced: accepted; its loss is then a hold until a human decides"
        yield ("name",), "V029", message, hint
    if "bmc" in plain and "fencing" in plain:
        yield ("fencing",), "V028", "bmc and fencing are two ways to say it", "keep one"
    yield from _addresses(plain)
    yield from _daemon(plain)
    yield from _maintenance(plain)


def _addresses(plain: Plain) -> Broken:
    given: list[tuple[Path, str]] = [
        (("host", "address"), plain.get("host", {}).get("address", "")),
        (("bmc",), plain.get("bmc", "")),
    ]
    heard = plain.get("heartbeat", {}).get("addresses", ())
    given += [(("heartbeat", "addresses", index), text) for index, text in enumerate(heard)]
    for spot, text in given:
        fault = forms.endpoint_fault(text)
        if fault:
            key = spot[1] if len(spot) > 1 else spot[0]
            yield spot, "V018", f"{key}: {fault}", forms.FORMS["endpoint"].example


def _daemon(plain: Plain) -> Broken:
    daemon = plain.get("daemon")
    if not daemon:
        return
    service_vm = daemon["runsIn"] == "service-vm"
    if service_vm and "vm" not in daemon:
        yield ("daemon",), "V028", "runsIn: service-vm needs the VM's uuid", "add vm: UUID"
    if not service_vm and "vm" in daemon:
        yield ("daemon", "vm"), "V028", "vm goes with runsIn: service-vm only", "remove it"
    if not {"peer", "witness"} & set(plain.get("roles", ("run", "peer"))):
        yield ("daemon",), "V028", "a node that is no peer runs no daemons", "remove daemon"


def _maintenance(plain: Plain) -> Broken:
    until = plain.get("maintenance", {}).get("until")
    if until is None:
        return
    try:
        forms.epoch_s(until)
    except (ValueError, OverflowError):
        message = f'until: "{until}" is not an instant'
        yield ("maintenance", "until"), "V018", message, "there is no such day or hour"


def _window(plain: Plain) -> Broken:
    fault = forms.cron_fault(plain["cron"])
    if fault:
        yield ("cron",), "V018", f"cron: {fault}", forms.FORMS["cron"].example


def _device(plain: Plain) -> Broken:
    yield from _agent(plain)
    known = fence_agents.MAY_CERTIFY.get(plain["agent"])
    if known and known.kind is fence_agents.Kind.BMC:
        if plain.get("plugs"):
            message = f"plugs: what {plain['agent']} switches is one server"
            yield ("plugs",), "V028", message, "write a FenceDevice for each server"
        if not plain.get("options", {}).get("ip"):
            message = f"agent: {plain['agent']} needs the option ip"
            yield ("agent",), "V028", message, "add options: {ip: ADDRESS}"


def _policy(plain: Plain) -> Broken:
    if sum(key.startswith("per ") for key in plain.get("budget", ())) > 1:
        yield ("budget",), "V028", "budget: one period, not two", "keep one of the keys per ..."


_RULES: dict[str, Callable[[Plain], Broken]] = {
    "Cluster": _cluster,
    "Node": _node,
    "FenceDevice": _device,
    "MaintenanceWindow": _window,
    "FencingPolicy": _policy,
}
