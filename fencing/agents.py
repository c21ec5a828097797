"""The language of fence agents: what is written to one, and what its answer means.

A request is lines `name=value` on standard input, never arguments and never environment: other
users of the machine can read those. An agent ignores an option that it does not know, and one that
it does not understand gets its default; so both are refused here, against its own metadata.

Exit codes alone are not believed. 2 means off, but it is also how a shell with a syntax error ends
and a Python that cannot open its program, so an answer counts only with the words that go with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from shlex import quote as shell_quoted
from urllib.parse import quote

from fencing.devices import Action, DeviceUse
from fencing.ladder import Power
from fencing.metadata import Metadata
from schema.fence_agents import Kind, refusal
from schema.model import Frozen
from schema.suggest import did_you_mean, listed


class Said(Frozen, frozen=True, kw_only=True):
    """What a device says of a node's power. `message` is for people, without secrets."""

    power: Power
    message: str


class Attempt(Frozen, frozen=True, kw_only=True):
    """One try to switch. `ok` is what the agent says, no proof: that is a `Said` afterwards."""

    ok: bool
    message: str


class Ended(Frozen, frozen=True, kw_only=True):
    """How a run of a program ended: its exit code and the beginning of what it wrote.

    Codes that agents do not have are those of `fencing.edge.warden`, and below 0 the warden's own end.
    """

    code: int
    out: str = ""
    err: str = ""


DEADLINE = 124
"""Code of a run that was killed at its deadline. Agents themselves end with 0, 1 or 2."""

NO_PROGRAM = 127
"""Code of a run that could not be begun."""

_SHOWN = 300
_REASONS = 3
"""So many last lines of an agent's complaints are shown: net-snmp needs three for one."""

_VISIBLE = ("username", "login")
"""Credentials that are no secrets: who logs in may stand in a message."""


# --- the request ----------------------------------------------------------------------------------


def faults(
    use: DeviceUse, metadata: Metadata | None, credentials: Mapping[str, str]
) -> tuple[str, ...]:
    """Why the agent must not be run like this, for people; empty where it may.

    `metadata` is None for a program of one's own, which has the options that it likes. Texts name
    credentials, never their values.
    """
    open_options = tuple(_refused(use))
    if metadata is None:
        return open_options
    given = {**use.options, **credentials}
    return (
        *open_options,
        *(
            fault
            for name, value in given.items()
            for fault in _misfit(name, value, metadata, name in credentials)
        ),
        *_missing(use, metadata, given),
    )


def _refused(use: DeviceUse) -> Iterator[str]:
    if use.known.kind is Kind.PROGRAM:
        return
    for name, value in use.options.items():
        why = refusal(name, value)
        if why:
            yield f'option "{name}" is not for {use.agent} to be given: {why}; remove it'


def _misfit(name: str, value: str, metadata: Metadata, secret: bool) -> Iterator[str]:
    known = metadata.parameters.get(name)
    if known is None:
        current = [p.name for p in metadata.parameters.values() if not p.deprecated]
        near = did_you_mean(name, current)
        yield f'{metadata.name} has no option "{name}"' + (
            near or f"; it has {listed(current, 24)}"
        )
    elif known.deprecated:
        yield f'option "{name}" of {metadata.name} is an old name; write {known.name_now or "none"}'
    elif not known.accepts(value):
        shown = "its value" if secret else f'"{value}"'
        yield f'option "{name}" of {metadata.name}: {shown} is not {known.wanted}'


def _missing(use: DeviceUse, metadata: Metadata, given: Mapping[str, str]) -> Iterator[str]:
    there = {*given, *_said(use, Action.STATUS)}
    for parameter in metadata.parameters.values():
        if parameter.required and not parameter.deprecated and parameter.name not in there:
            yield f'{metadata.name} needs the option "{parameter.name}"'


def request(
    use: DeviceUse, action: Action, metadata: Metadata | None, credentials: Mapping[str, str]
) -> bytes:
    """What is written to the agent. Raises ValueError where a value would be read as another.

    The action comes first, since an agent that is told none reboots; the secrets come last.
    """
    said = _said(use, action)
    options = {name: value for name, value in use.options.items() if name != "program"}
    if metadata is not None:
        said = {name: value for name, value in said.items() if name in metadata.parameters}
        options = {name: value for name, value in options.items() if _needed(name, value, metadata)}
    lines = {**said, **options, **dict(sorted(credentials.items()))}
    return "".join(f"{name}={_plain(name, value)}\n" for name, value in lines.items()).encode()


def _needed(name: str, value: str, metadata: Metadata) -> bool:
    """False for a "no" that is the default: agents take the mere presence of many options for yes.

    fence_redfish with `ssl_insecure=0` checks no certificate.
    """
    known = metadata.parameters.get(name)
    return known is None or known.on_by_default or not known.denies(value)


def _said(use: DeviceUse, action: Action) -> dict[str, str]:
    """What cxm itself says to an agent, before the device's own options."""
    said = {"action": action.value}
    if use.known.kind is Kind.PROGRAM:
        said["node"] = use.node
    if use.plug is not None:
        said["plug"] = use.plug
    return said | {"login_timeout": _whole(use.login_s), "power_timeout": _whole(use.power_s)}


def _whole(seconds: float) -> str:
    return str(max(1, int(seconds)))


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def _plain(name: str, value: str) -> str:
    """`value` where the agent's reader would get it unchanged; it strips space and a pair of quotes."""
    if _CONTROL.search(value):
        raise ValueError(f'the value of "{name}" has a line end or another control character')
    if value != value.strip():
        raise ValueError(f'the value of "{name}" begins or ends with space, which agents cut off')
    if len(value) > 1 and value[0] == value[-1] == '"':
        raise ValueError(f'the value of "{name}" stands in quotes, which agents cut off')
    return value


# --- the answer -----------------------------------------------------------------------------------

_STATUS = re.compile(r"^\s*status:\s*(on|off)\s*$", re.IGNORECASE | re.MULTILINE)
_POWER_CODES: Mapping[int, Power] = {0: Power.ON, 2: Power.OFF}


def power_said(ended: Ended) -> Said:
    """What a run with `status` says. Unknown unless code and words are one, and the words alone."""
    said = {Power(word.lower()) for word in _STATUS.findall(ended.out)}
    power = _POWER_CODES.get(ended.code)
    if power is not None and said == {power}:
        return Said(power=power, message=f"status is {power}")
    if power is not None:
        words = " and ".join(sorted(said)) or "nothing"
        message = f"code {ended.code} means {power}, but it says {words}{_told(ended)}"
        return Said(power=Power.UNKNOWN, message=message)
    return Said(power=Power.UNKNOWN, message=failure(ended))


def attempt(ended: Ended) -> Attempt:
    """What a run with `off` or `on` says."""
    if ended.code == 0:
        return Attempt(ok=True, message=(_lines(ended.out) or ["done, it says"])[-1][:_SHOWN])
    return Attempt(ok=False, message=failure(ended))


def plugs(ended: Ended, separator: str = ",") -> frozenset[str] | None:
    """The plugs that a run with `list` names; None where it failed or cannot list any."""
    if ended.code != 0:
        return None
    lines = [line for line in ended.out.splitlines() if separator in line]
    return frozenset(line.split(separator, 1)[0].strip() for line in lines) or None


def guarded(found: Said, use: DeviceUse, listed_plugs: frozenset[str] | None) -> Said:
    """A reading of off, where the device lists the plug that it is of; else unknown."""
    if listed_plugs is None:
        return Said(power=Power.UNKNOWN, message=f"it says {found.power}, but lists no plugs")
    if use.plug in listed_plugs:
        return found
    there = listed(sorted(listed_plugs), 24)
    message = f'it has no plug "{use.plug}", so off means nothing; it lists {there}'
    return Said(power=Power.UNKNOWN, message=message)


def failure(ended: Ended) -> str:
    """Why a run failed, for people."""
    if ended.code == DEADLINE:
        return f"killed at its deadline{_told(ended)}"
    if ended.code > 128:
        return f"ended by signal {ended.code - 128}{_told(ended)}"
    return f"failed with code {ended.code}{_told(ended)}"


def _told(ended: Ended) -> str:
    words = "; ".join(_lines(ended.err)[-_REASONS:] or _lines(ended.out)[-1:])
    return f": {words[:_SHOWN]}" if words else ""


_STAMP = re.compile(r"^[0-9-]+ [0-9:,]+ (?=[A-Z]+: )")
_USAGE = "Please use '-h' for usage"


def _lines(text: str) -> list[str]:
    """The lines that say something, without the date that agents put before them."""
    lines = [_STAMP.sub("", _CONTROL.sub(" ", line).strip()) for line in text.splitlines()]
    return [line for line in lines if line and not line.endswith(_USAGE)]


# --- secrets --------------------------------------------------------------------------------------


def secrets(credentials: Mapping[str, str]) -> tuple[str, ...]:
    """The values that nobody may read in a message."""
    return tuple(value for name, value in credentials.items() if name not in _VISIBLE and value)


def redacted(text: str, hidden: Collection[str], *, cut: bool) -> str:
    """`text` without the secrets, in any of the ways in which agents and their libraries write them.

    Where the text was cut off, a secret may have been cut in two: what could be its beginning goes.
    """
    spellings = {way for secret in hidden for way in _spellings(secret)}
    for spelling in sorted(spellings, key=lambda way: (-len(way), way)):
        text = text.replace(spelling, "[secret]")
    longest = max(map(len, spellings), default=0)
    return text[: max(0, len(text) - longest)] if cut else text


def _spellings(secret: str) -> Iterator[str]:
    yield secret
    yield shell_quoted(secret)
    yield repr(secret)[1:-1]
    yield quote(secret)
    yield quote(secret, safe="")
    yield json.dumps(secret)[1:-1]
