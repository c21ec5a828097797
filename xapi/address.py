"""Where a host's API listens, as people and XenAPI write it."""

from __future__ import annotations

import ipaddress

from schema.model import Frozen

HTTPS_PORT = 443


class Address(Frozen, frozen=True, kw_only=True):
    """`host` is a name or a literal without brackets."""

    host: str
    port: int = HTTPS_PORT

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == HTTPS_PORT else f"{host}:{self.port}"

    def url(self, path: str) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}:{self.port}{path}"


def parse_address(text: str) -> Address:
    """`HOST`, `HOST:PORT`, `[IPV6]:PORT` or a bare IPv6 literal; ValueError says what is wrong."""
    text = text.strip()
    if _is_ipv6(text):
        return Address(host=text)
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(HTTPS_PORT)
    host = _unbracketed(host)
    if not host or any(letter in host for letter in "/@ ?#[]"):
        raise ValueError(f"{text!r} is no address; write HOST, HOST:PORT or [IPV6]:PORT")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r}: the port must be a number from 1 to 65535, not {port!r}")
    return Address(host=host, port=int(port))


def sibling(asked: str, host: str) -> str:
    """The address of another member that `asked` named as `host`.

    HOST_IS_SLAVE and host.address carry no port (and an IPv6 literal no brackets), so all members
    of a pool are taken to listen on the same one.
    """
    return str(Address(host=_unbracketed(host.strip()), port=parse_address(asked).port))


def _unbracketed(host: str) -> str:
    return host.removeprefix("[").removesuffix("]") if _is_ipv6(host.strip("[]")) else host


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False
