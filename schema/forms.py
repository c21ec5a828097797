"""Texts with a meaning: sizes, durations, shares, rates, addresses.

Sizes have binary units only: `8GB` may mean 8 x 10^9 bytes or 8 GiB, so it is refused with both
readings. The least unit is KiB: every size is a whole number of KiB, fine enough for any memory
that XenAPI holds, and none is a fraction. Durations have one number and one unit.
"""

from __future__ import annotations

import re
from datetime import datetime
from ipaddress import ip_address
from types import MappingProxyType

from schema.model import Frozen

SIZE_UNITS = MappingProxyType({"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40})
DURATION_UNITS = MappingProxyType({"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0})
_WORDS_OF_TIME = MappingProxyType(
    {
        "ms": ("ms", "msec", "millisecond", "milliseconds"),
        "s": ("s", "sec", "secs", "second", "seconds"),
        "m": ("m", "min", "mins", "minute", "minutes"),
        "h": ("h", "hr", "hrs", "hour", "hours"),
        "d": ("d", "day", "days"),
    }
)
LAST_PORT = 65535
_AMOUNT = re.compile(r"([0-9]+)([A-Za-z]+)")
_LOOSE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*")


def _amount(text: str) -> tuple[int, str]:
    match = _AMOUNT.fullmatch(text)
    assert match, f"not validated: {text!r}"
    return int(match[1]), match[2]


def size_bytes(text: str) -> int:
    """Bytes of a validated size such as `4GiB`."""
    number, unit = _amount(text)
    return number * SIZE_UNITS[unit]


def duration_s(text: str) -> float:
    """Seconds of a validated duration such as `30s`."""
    number, unit = _amount(text)
    return number * DURATION_UNITS[unit]


def share(text: str) -> float:
    """A validated percentage such as `20%` as a part of one."""
    return int(text[:-1]) / 100


def rate(text: str) -> tuple[int, float]:
    """A validated rate such as `3 per 1h`: (count, seconds)."""
    count, _, period = text.partition(" per ")
    return int(count), duration_s(period)


def epoch_s(text: str) -> float:
    """Seconds since 1970 of a validated instant with an offset. Raises ValueError: no such day."""
    return datetime.fromisoformat(text).timestamp()


def size_text(number: int) -> str:
    """The shortest exact text of `number` bytes, which must be whole KiB."""
    assert number % 2**10 == 0, f"{number} bytes are not whole KiB"
    exact = (
        [unit for unit, value in SIZE_UNITS.items() if number % value == 0] if number else ["MiB"]
    )
    return f"{number // SIZE_UNITS[exact[-1]]}{exact[-1]}"


def _near(number: float) -> str:
    """`number` bytes rounded down, as GiB where that is exact, else as whole MiB or KiB."""
    grain = 2**20 if number >= 2**20 else 2**10
    return size_text(int(number) // grain * grain)


def size_hint(text: str) -> str:
    """How to write what somebody meant by `text`."""
    match = _LOOSE.fullmatch(text)
    if not match:
        return "a size is a whole number with KiB, MiB, GiB or TiB, such as 8GiB"
    number, letter = float(match[1]), match[2].lower()[:1]
    if not letter or letter == "b":
        return f"write {_near(number)}" if number >= 2**10 else "give the unit, such as 8GiB"
    power = " kmgt".find(letter)
    if power < 1 or number == 0:
        return "the units are KiB, MiB, GiB and TiB"
    binary, decimal = int(number * 1024**power), int(number * 1000**power)
    whole = f"{match[1]}{'KMGT'[power - 1]}iB" if "." not in match[1] else _near(binary)
    if match[2].lower().endswith("ib") or decimal < 2**20:
        return f"write {whole} ({binary} bytes)"
    return f"write {whole} ({binary} bytes) or {decimal // 2**20}MiB"


def duration_hint(text: str) -> str:
    """How to write what somebody meant by `text`."""
    parts = re.findall(r"([0-9]+)\s*([A-Za-z]*)", text)
    seconds = 0.0
    for number, word in parts:
        unit = next((u for u, words in _WORDS_OF_TIME.items() if word.lower() in words), None)
        if unit is None or re.search(r"[^0-9A-Za-z\s]", text):
            break
        seconds += int(number) * DURATION_UNITS[unit]
    else:
        if seconds:
            return f"write {duration_text(seconds)}"
    if len(parts) == 1 and not parts[0][1] and "." not in text:
        return f"give the unit: {parts[0][0]}s, {parts[0][0]}m or {parts[0][0]}h"
    return "a duration is a whole number with ms, s, m, h or d, such as 30s"


def duration_text(seconds: float) -> str:
    """The shortest exact text of a duration in seconds, to the millisecond."""
    thousandths = round(seconds * 1000)
    for unit, value in reversed(tuple(DURATION_UNITS.items())):
        if thousandths and thousandths % round(value * 1000) == 0:
            return f"{thousandths // round(value * 1000)}{unit}"
    return "0s"


class Form(Frozen, frozen=True, kw_only=True):
    """How a form is named in errors: what it is, and how one looks."""

    noun: str
    example: str


FORMS = MappingProxyType(
    {
        "label": Form(
            noun="a name",
            example="lower-case letters, digits and -, at most 63, such as web-1",
        ),
        "uuid": Form(noun="a uuid", example="32 lower-case hexadecimal digits, as 8-4-4-4-12"),
        "size": Form(noun="a size", example="such as 8GiB"),
        "duration": Form(noun="a duration", example="such as 30s"),
        "percent": Form(noun="a percentage", example="a whole number from 0% to 100%"),
        "rate": Form(noun="a rate", example="such as 3 per 1h"),
        "endpoint": Form(
            noun="an address", example="such as 10.0.0.1, 10.0.0.1:9850 or [fd00::1]:9850"
        ),
        "instant": Form(
            noun="an instant", example="with its offset, such as 2026-12-01T06:00:00+01:00"
        ),
        "secret-name": Form(
            noun="the name of a secret", example="such as bmc: letters, digits and ._-"
        ),
        "label-key": Form(
            noun="a label", example="lower-case letters, digits and -._/, such as rack"
        ),
        "label-value": Form(
            noun="a label's value", example="printable ASCII without space around it"
        ),
        "option-key": Form(noun="an option", example="letters, digits, _ and -"),
        "vm-reference": Form(noun="a reference to a VM", example="such as vm/db1"),
        "profile-reference": Form(noun="a reference to a Profile", example="such as profile/web"),
        "ready": Form(noun="a test of readiness", example="none, tools, ping or tcp:PORT"),
        "absolute-path": Form(noun="an absolute path", example="it begins with /"),
        "agent": Form(noun="a fence agent", example="such as fence_ipmilan, exec or manual"),
        "requires": Form(noun="a version", example='such as ">=1.0"'),
        "cron": Form(
            noun="a cron expression",
            example='such as "0 1 * * 2": minute, hour, day, month, weekday',
        ),
        "timezone": Form(noun="a time zone", example="such as Europe/Paris or UTC"),
        "url": Form(
            noun="a URL of a repository", example="file://, svn://, svn+ssh://, http:// or https://"
        ),
        "fingerprint": Form(
            noun="a SHA-256 fingerprint",
            example="64 hexadecimal digits, colons between pairs allowed",
        ),
        "listen": Form(
            noun="an endpoint to listen at",
            example="PORT or ADDRESS:PORT, /udp or /tcp after it allowed",
        ),
        "mail": Form(noun="a mail address", example="such as ops@example.org"),
        "web-url": Form(noun="a URL", example="http:// or https://"),
    }
)
SECRETS_BELONG = "name the secret by credentialsRef: NAME; its text belongs on the node"
_SECRET = re.compile(r"passw(or)?d|secret|token|community|hexadecimal_kg", re.IGNORECASE)


def names_a_secret(key: str) -> bool:
    """Whether what stands under this key would be a secret in the open. `password_script` is none."""
    return bool(_SECRET.search(key)) and not key.endswith(("_script", "-script"))


_CODES = MappingProxyType({"size": "V012", "duration": "V013"})


def complaint(form: str, value: object) -> tuple[str, str, str]:
    """(code, message, hint) for `value` that is not of `form`."""
    shown = f'"{value}"' if isinstance(value, str) else plain(value)
    text = value if isinstance(value, str) else plain(value)
    return _CODES.get(form, "V018"), f"{shown} is not {FORMS[form].noun}", _hint(form, text)


def _hint(form: str, text: str) -> str:
    if form == "size":
        return size_hint(text)
    if form == "duration":
        return duration_hint(text)
    if form == "percent" and re.fullmatch(r"[0-9]+", text):
        return f"write {text}%"
    if form in ("vm-reference", "profile-reference") and re.fullmatch(r"[a-z0-9-]+", text):
        return f"write {form.removesuffix('-reference')}/{text}"
    if form in ("uuid", "label") and re.fullmatch(r"[A-Za-z0-9-]+", text) and text.lower() != text:
        return f"write {text.lower()}"
    return FORMS[form].example


def plain(value: object) -> str:
    """A value as it would stand in YAML, for messages."""
    words = {None: "null", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return words[value]
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, list) else str(value)


def endpoint_fault(text: str) -> str:
    """What is wrong with ADDRESS or ADDRESS:PORT; empty where nothing is.

    What is not a number and not in colons may be the name of a machine, and is left to whoever asks.
    """
    bracketed = re.fullmatch(r"\[(.*)\](?::([0-9]+))?", text)
    if bracketed:
        host, port = bracketed[1], bracketed[2] or ""
    elif text.count(":") > 1:
        host, port = text, ""
    else:
        host, _, port = text.partition(":")
    if port and not port.isdecimal():
        return f"{port} is no port"
    if port and int(port) > LAST_PORT:
        return f"there is no port {port}; they end at {LAST_PORT}"
    if ":" not in host and not re.search(r"(^|\.)[0-9]+$", host):
        return ""
    try:
        ip_address(host)
    except ValueError:
        return f"{host} is not an address"
    return ""


_CRON = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def cron_fault(text: str) -> str:
    """What is wrong with a cron expression of five fields; empty where nothing is."""
    names = ("minute", "hour", "day", "month", "weekday")
    for name, field, (low, high) in zip(names, text.split(), _CRON, strict=True):
        for item in field.split(","):
            if not _cron_item(item, low, high):
                return f"{name} {item!r} is not within {low}-{high}"
    return ""


def _cron_item(item: str, low: int, high: int) -> bool:
    match = re.fullmatch(r"(\*|([0-9]{1,2})(?:-([0-9]{1,2}))?)(?:/([0-9]{1,2}))?", item)
    if not match or match[4] == "0":
        return False
    if match[1] == "*":
        return True
    first = int(match[2])
    last = int(match[3]) if match[3] else first
    return low <= first <= last <= high
