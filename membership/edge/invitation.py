"""Joining by a one-time code: a new node and a member that have nothing in common but the code.

    cxm1-AAAAA-AAABB-BBBBB-BBBBB    A: 40 bits of the hash of the member's certificate
                                    B: 60 bits that nobody else knows

The joiner talks to whoever shows a certificate with that hash, and to nobody else. Then each side
proves to the other that it knows the secret, bound to the very certificate that the joiner saw: whoever
stands between them has another certificate, so what it passes on proves nothing, and guessing the
secret from what it saw takes longer than any code is good for. Codes are in memory only; each of them is
for one node, whose name is part of both proofs, and good once.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
import ssl
from collections.abc import Callable

import aiohttp
import msgspec

from membership.edge.bundle import BundleError
from membership.edge.identity import Identity
from membership.edge.peer_wire import JOIN, LARGEST, TooLarge, bounded, decoded
from schema.model import Frozen

GOOD_FOR_S = 600.0
MOST_WRONG = 5
"""So many wrong tries end all codes: one who guesses gets no further, a human asks for a new code."""

MOST_CODES = 16
WITHIN_S = 15.0

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's: no letter that could be read as another sign."""

_MISREAD = str.maketrans("OIL", "011", "- \t\r\n")
_PREFIX = "CXM1"
_HASH_BITS, _SECRET_BITS = 40, 60
_SIGNS = (_HASH_BITS + _SECRET_BITS) // 5

_log = logging.getLogger("cxm.peers")


class JoinError(Exception):
    """The node cannot join; the text says why, and never what the code was."""


class Unreachable(JoinError):
    """Nobody answers there."""


class OfAnother(JoinError):
    """The code is for the node `name`, and was not spent."""

    def __init__(self, name: str, wanted: str) -> None:
        super().__init__(f"the code is for {name}, not for {wanted}, and was not spent")
        self.name = name


class Code(Frozen, frozen=True, kw_only=True):
    """What a one-time code says: of which certificate the member is, and the secret."""

    pin: int
    secret: int

    def __str__(self) -> str:
        number = self.pin << _SECRET_BITS | self.secret
        signs = [_ALPHABET[number >> shift & 31] for shift in range(5 * (_SIGNS - 1), -1, -5)]
        groups = ["".join(signs[at : at + 5]) for at in range(0, _SIGNS, 5)]
        return "-".join([_PREFIX.lower(), *groups])


def parsed(text: str) -> Code:
    """The code as a human may type it: small letters, O for 0, I and L for 1. Raises JoinError."""
    signs = text.upper().translate(_MISREAD)
    rest = signs.removeprefix(_PREFIX)
    if rest == signs or len(rest) != _SIGNS or not set(rest) <= set(_ALPHABET):
        raise JoinError("this is no one-time code; one looks like cxm1-XXXXX-XXXXX-XXXXX-XXXXX")
    number = 0
    for sign in rest:
        number = number << 5 | _ALPHABET.index(sign)
    return Code(pin=number >> _SECRET_BITS, secret=number & ((1 << _SECRET_BITS) - 1))


class Asking(Frozen, frozen=True, kw_only=True):
    """The joiner's proof, for a nonce of its own. `name`: who it wants to be; "": whom the code is for."""

    nonce: str
    name: str = ""
    proof: str


class Answer(Frozen, frozen=True, kw_only=True):
    """The member's proof, which covers the rest: what the joiner needs, as text, and who it is."""

    name: str
    bundle: str
    proof: str


class OtherName(Frozen, frozen=True, kw_only=True):
    """The answer to who has the code of another node, which stays good."""

    name: str


class Joined(Frozen, frozen=True, kw_only=True):
    """Who the joiner is from now on, and the bundle that it was given."""

    name: str
    bundle: bytes


class _Given(Frozen, frozen=True, kw_only=True):
    """A code that was given out for `name`, good until `until_s`."""

    name: str
    until_s: float


class Invitations:
    """The codes that one member has given out.

    `bundle` makes what a joiner gets (raises BundleError), in a thread of its own; `boot_clock` reads
    seconds that go on while the machine sleeps.
    """

    def __init__(
        self, identity: Identity, bundle: Callable[[], bytes], boot_clock: Callable[[], float]
    ) -> None:
        self._fingerprint = identity.fingerprint
        self._bundle = bundle
        self._now_s = boot_clock
        self._given: dict[bytes, _Given] = {}
        self._wrong = 0

    def use(self, identity: Identity) -> None:
        """Another certificate is shown from now on, which the codes given out do not name."""
        self._fingerprint = identity.fingerprint
        self._given.clear()

    async def invite(self, name: str) -> str:
        """A new code for the node of this name, good once and for `GOOD_FOR_S`."""
        code = Code(pin=_pin(self._fingerprint), secret=secrets.randbits(_SECRET_BITS))
        key = await asyncio.to_thread(_key, code.secret, self._fingerprint)
        if not self._good():
            self._wrong = 0
        while len(self._given) >= MOST_CODES:
            del self._given[next(iter(self._given))]
        self._given[key] = _Given(name=name, until_s=self._now_s() + GOOD_FOR_S)
        return str(code)

    async def joining(self, body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer to who claims to have a code. Raises msgspec.DecodeError."""
        asking = decoded(body, Asking)
        key = self._known(asking)
        if key is None:
            return 403, b""
        name = self._given[key].name
        if asking.name not in ("", name):
            return 409, msgspec.json.encode(OtherName(name=name))
        del self._given[key]
        try:
            bundle = (await asyncio.to_thread(self._bundle)).decode()
        except BundleError as error:
            _log.error("a node with a good code got nothing: %s", error)
            return 503, b""
        _log.info("%s joins by a one-time code", name)
        proof = _proof(key, b"member", self._fingerprint, asking.nonce, name, bundle)
        return 200, msgspec.json.encode(Answer(name=name, bundle=bundle, proof=proof))

    def _good(self) -> tuple[bytes, ...]:
        """The codes that are still good; the others are forgotten."""
        now_s = self._now_s()
        self._given = {key: given for key, given in self._given.items() if now_s < given.until_s}
        return tuple(self._given)

    def _known(self, asking: Asking) -> bytes | None:
        """The code of which the proof is."""
        good = self._good()
        for key in good:
            right = _proof(key, b"joiner", self._fingerprint, asking.nonce, asking.name)
            if hmac.compare_digest(right.encode(), asking.proof.encode()):
                return key
        if good:
            self._wrong += 1
            _log.warning("wrong one-time code, try %d of %d", self._wrong, MOST_WRONG)
            if self._wrong >= MOST_WRONG:
                self._given.clear()
        return None


async def accept(host: str, port: int, code: str, name: str = "") -> Joined:
    """What the member at this address gives for its code. Raises JoinError, and Unreachable where there
    is none. `name`: who the caller is; "": whom the code is for."""
    known = parsed(code)
    try:
        async with asyncio.timeout(WITHIN_S):
            fingerprint = await _shown(host, port)
            if _pin(fingerprint) != known.pin:
                raise JoinError(
                    "it is not the node that gave this code, or it was restarted since, or somebody"
                    " stands between: nothing was told to it"
                )
            key = await asyncio.to_thread(_key, known.secret, fingerprint)
            return await _asked(host, port, key, fingerprint, name)
    except TimeoutError:
        raise Unreachable(f"no answer within {WITHIN_S:g} s") from None
    except (OSError, aiohttp.ClientConnectionError) as error:
        raise Unreachable(str(error) or type(error).__name__) from error
    except (aiohttp.ClientError, TooLarge, msgspec.DecodeError) as error:
        raise JoinError(str(error) or type(error).__name__) from error


async def _shown(host: str, port: int) -> bytes:
    """The SHA-256 of the certificate that is shown there. Raises OSError."""
    _, writer = await asyncio.open_connection(host, port, ssl=_unverified())
    try:
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.close()
    return hashlib.sha256(shown or b"").digest()


async def _asked(host: str, port: int, key: bytes, fingerprint: bytes, name: str) -> Joined:
    nonce = secrets.token_hex(32)
    proof = _proof(key, b"joiner", fingerprint, nonce, name)
    place = f"[{host}]" if ":" in host else host
    connector = aiohttp.TCPConnector(ssl=aiohttp.Fingerprint(fingerprint))
    async with (
        aiohttp.ClientSession(connector=connector, auto_decompress=False) as session,
        session.post(
            f"https://{place}:{port}{JOIN}",
            data=msgspec.json.encode(Asking(nonce=nonce, name=name, proof=proof)),
            allow_redirects=False,
        ) as response,
    ):
        body = await bounded(response.content, LARGEST)
    if response.status == 403:
        raise JoinError("the code is not good, or not any more")
    if response.status == 409:
        raise OfAnother(decoded(body, OtherName).name, name)
    if response.status != 200:
        raise JoinError(f"it answers with {response.status}; its log says why")
    answer = decoded(body, Answer)
    right = _proof(key, b"member", fingerprint, nonce, answer.name, answer.bundle)
    if not hmac.compare_digest(right.encode(), answer.proof.encode()):
        raise JoinError("it does not know the code itself: it is not the node that gave it")
    return Joined(name=answer.name, bundle=answer.bundle.encode())


def _unverified() -> ssl.SSLContext:
    """Who is there is found out by the code, not by any authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def _pin(fingerprint: bytes) -> int:
    return int.from_bytes(fingerprint[: _HASH_BITS // 8], "big")


def _key(secret: int, fingerprint: bytes) -> bytes:
    """Slow on purpose: whoever saw a proof must pay this for each guess at the secret."""
    return hashlib.scrypt(
        secret.to_bytes(8, "big"), salt=fingerprint, n=2**14, r=8, p=1, maxmem=2**26, dklen=32
    )


def _proof(
    key: bytes, who: bytes, fingerprint: bytes, nonce: str, name: str, bundle: str = ""
) -> str:
    """That `who` knows the code, and sees this certificate. Each part is told apart by its hash."""
    parts = (who, fingerprint, nonce.encode(), name.encode(), bundle.encode())
    told = b"".join(hashlib.sha256(part).digest() for part in parts)
    return hmac.digest(key, b"cxm join 1" + told, "sha256").hex()
