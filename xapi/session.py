"""One session with the pool, wherever its master is now."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

from msgspec.structs import replace

from schema.model import Frozen
from xapi.address import parse_address, sibling
from xapi.records import PoolRecord, Unreadable, decode_record
from xapi.transport import (
    FailureKind,
    JsonValue,
    NotBegun,
    Transport,
    TransportFailure,
    Unavailable,
    UnknownCertificate,
    XapiFailure,
)

READ_S = 20.0
"""A toolstack whose storage or database is stuck accepts a call and never answers it."""

LOGIN_S = 12.0
"""A wrong password is answered only after a deliberate sleep of up to 5 s."""

GOODBYE_S = 3.0

SECOND_OPINION_S = 2.0
"""How long the other addresses may still speak up once one has let us in."""

REFUSED_PAUSE_S = 60.0
"""Between two attempts with credentials that the pool refused."""

REFUSED = frozenset({"SESSION_AUTHENTICATION_FAILED", "SESSION_AUTHORIZATION_FAILED"})

_ENTER = "session.login_with_password"
_ENTER_LOCALLY = "session.slave_local_login_with_password"

LOST = frozenset({"SESSION_INVALID", "HOST_IS_SLAVE"})
"""The session is not, or no longer, good where it was used; the call was not carried out."""

_log = logging.getLogger("cxm.xapi")


class NoMaster(Unavailable):
    """No address led to the pool's master; the message says what each of them answered."""


class Login(Frozen, frozen=True, kw_only=True):
    """A session: good at `address` only. `serial` grows with each one.

    `master` is the host that lets us in, as it knows itself: one host may be known by two addresses.
    """

    address: str
    ref: str
    pool_ref: str
    pool_uuid: str
    master: str
    serial: int = 0


_Finding = Login | str | Unavailable
"""What an address said: let us in, named its master, or neither."""

Permitted = Callable[[], bool]
"""Whether we may begin something at this very moment."""


def always() -> bool:
    """For what is no change, or where nobody else could act."""
    return True


def assure(permitted: Permitted) -> None:
    """To be called with no `await` between it and the transport. Raises NotBegun."""
    if not permitted():
        raise NotBegun("LeaseOver", "This node may not act any more; nothing was begun.")


class PoolSession:
    """Logs in at most once at a time, for all callers together, and logs out what it got.

    `addresses` are members of one pool, in any order; those that the pool tells are added by
    `learn`. `pool_uuid` is the pool they must belong to; without one the first pool found is kept
    to for as long as this object lives. ValueError for an ill-formed or no address.
    """

    def __init__(
        self,
        transport: Transport,
        addresses: Sequence[str],
        credentials: tuple[str, str],
        originator: str,
        pool_uuid: str = "",
    ) -> None:
        if not addresses:
            raise ValueError("at least one address of the pool is needed")
        self._transport = transport
        self._configured = tuple(str(parse_address(address)) for address in addresses)
        self._learnt: tuple[str, ...] = ()
        self._credentials = credentials
        self._originator = originator
        self._pool_uuid = pool_uuid
        self._login: Login | None = None
        self._finding: asyncio.Task[Login] | None = None
        self._serial = 0
        self._refused: tuple[float, str, str] | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._dropped: list[Login] = []

    @property
    def addresses(self) -> tuple[str, ...]:
        """All known members: the configured ones first, then those that the pool told."""
        return tuple(dict.fromkeys(self._configured + self._learnt))

    def learn(self, hosts: Iterable[str]) -> None:
        """Take over the members' addresses as the pool has them; replaces those learnt before."""
        if self._login is not None:
            asked = self._login.address
            self._learnt = tuple(sibling(asked, host) for host in hosts if _well_formed(host))

    async def login(self) -> Login:
        """The session, made now if there is none. Raises Unavailable."""
        if self._login is not None:
            return self._login
        if self._finding is None:
            self._finding = asyncio.create_task(self._find())
            self._finding.add_done_callback(self._found)
        # Shielded: a caller that is cancelled must not leave a session that nobody logs out.
        return await asyncio.shield(self._finding)

    async def call(
        self,
        method: str,
        *params: JsonValue,
        deadline_s: float = READ_S,
        replay: bool = True,
        permitted: Permitted = always,
    ) -> JsonValue:
        """Call `method` in the session; where that was lost, once more in a new one if `replay`."""
        login = await self.login()
        assure(permitted)
        try:
            return await self.call_as(login, method, *params, deadline_s=deadline_s)
        except XapiFailure as failure:
            if failure.code not in LOST or not replay:
                raise
        login = await self.login()
        assure(permitted)
        return await self.call_as(login, method, *params, deadline_s=deadline_s)

    async def call_as(
        self, login: Login, method: str, *params: JsonValue, deadline_s: float = READ_S
    ) -> JsonValue:
        """Call `method` in exactly this session, which is forgotten if it turns out to be lost."""
        try:
            return await self._transport.call(
                login.address, method, [login.ref, *params], deadline_s
            )
        except XapiFailure as failure:
            if failure.code in LOST and self._login is login:
                self._login = None
            raise

    def drop(self) -> None:
        """Look for the master anew before the next call; the session is logged out in time."""
        if self._login is not None:
            self._dropped.append(self._login)
            self._login = None

    async def close(self) -> None:
        """Log out. A login under way is waited for, so that it can be undone: `LOGIN_S` twice at worst."""
        if self._finding is not None:
            await asyncio.wait([self._finding])
        self.drop()
        self._leave_dropped()
        while self._leaving:
            await asyncio.wait(self._leaving)

    # --- other sessions than ours -----------------------------------------------------------------

    @property
    def refused(self) -> bool:
        """Whether the pool refused our credentials a moment ago; it does so after seconds only."""
        return self._refused is not None and asyncio.get_running_loop().time() < self._refused[0]

    async def enter(self, address: str, purpose: str, deadline_s: float) -> str:
        """The reference of a session at `address`, that is the caller's to end. `purpose` stands
        behind our name in the pool's list, so that such sessions only ever push out each other."""
        originator = f"{self._originator}/{purpose}" if purpose else self._originator
        arguments = [*self._credentials, "1.0", originator]
        return str(await self._transport.call(address, _ENTER, arguments, deadline_s))

    async def enter_locally(self, address: str, deadline_s: float) -> str:
        """As `enter`, for a session that is good at this member alone and needs no master."""
        return str(
            await self._transport.call(address, _ENTER_LOCALLY, self._credentials, deadline_s)
        )

    async def call_at(
        self, address: str, method: str, ref: str, *params: JsonValue, deadline_s: float
    ) -> JsonValue:
        """Call `method` in such a session."""
        return await self._transport.call(address, method, [ref, *params], deadline_s)

    async def another(self, purpose: str, deadline_s: float) -> Login:
        """A further session at the master, as `enter`."""
        login = await self.login()
        ref = await self.enter(login.address, purpose, deadline_s)
        self._serial += 1
        return replace(login, ref=ref, serial=self._serial)

    async def leave(self, address: str, ref: str) -> None:
        """Log out of such a session; a pool that does not answer drops it some day."""
        await self._leave(address, "session.logout", ref)

    async def leave_locally(self, address: str, ref: str) -> None:
        """As `leave`, for a session got by `enter_locally`."""
        await self._leave(address, "session.local_logout", ref)

    async def _leave(self, address: str, method: str, ref: str) -> None:
        try:
            await self._transport.call(address, method, [ref], GOODBYE_S)
        except Unavailable as failure:
            _log.info("not logged out at %s: %s", address, failure.message)

    def leave_later(self, address: str, ref: str) -> None:
        """As `leave`, without waiting for it."""
        self._keep(asyncio.create_task(self.leave(address, ref)))

    # --- finding the master -----------------------------------------------------------------------

    async def _find(self) -> Login:
        now = asyncio.get_running_loop().time()
        if self._refused is not None and now < self._refused[0]:
            raise NoMaster(*self._refused[1:])
        answers = await self._ask(self.addresses)
        named = {answer for answer in answers.values() if isinstance(answer, str)}
        if not any(isinstance(answer, Login) for answer in answers.values()):
            # Followed once only: members keep naming a dead master until their restart.
            answers |= await self._ask(sorted(named - answers.keys()))
        try:
            chosen = self._choose(answers)
        except NoMaster as failure:
            if failure.reason in REFUSED:
                self._refused = (now + REFUSED_PAUSE_S, failure.reason, failure.message)
            raise
        self._refused = None
        self._pool_uuid = chosen.pool_uuid
        return chosen

    def _found(self, finding: asyncio.Task[Login]) -> None:
        self._finding = None
        if not finding.cancelled() and finding.exception() is None:
            self._login = finding.result()
            self._leave_dropped()

    async def _ask(self, addresses: Iterable[str]) -> dict[str, _Finding]:
        """What each address said, in the order in which they were given: what answered first, or
        where in memory it lies, must decide nothing and be told nowhere."""
        asked = {asyncio.create_task(self._probe(address)): address for address in addresses}
        pending = set(asked)
        while pending:
            answered = [task for task in asked if task not in pending]
            inside = any(isinstance(task.result(), Login) for task in answered)
            patience = SECOND_OPINION_S if inside else None
            done, pending = await asyncio.wait(
                pending, timeout=patience, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                break
        for late in (task for task in asked if task in pending):
            self._keep(asyncio.create_task(self._discard(late)))
        return {asked[task]: task.result() for task in asked if task not in pending}

    async def _probe(self, address: str) -> _Finding:
        try:
            ref = await self.enter(address, "", LOGIN_S)
        except XapiFailure as failure:
            if failure.code != "HOST_IS_SLAVE" or not _well_formed(*failure.params[:1]):
                return failure
            return sibling(address, failure.params[0])
        except TransportFailure as failure:
            return failure
        return await self._identified(address, ref)

    async def _identified(self, address: str, ref: str) -> _Finding:
        """The session just made, once it is known which pool it is in."""
        try:
            pools = await self._transport.call(address, "pool.get_all_records", [ref], LOGIN_S)
            pool_ref, pool = _only_pool(address, pools)
        except Unavailable as failure:
            await self.leave(address, ref)
            return failure
        self._serial += 1
        return Login(
            address=address,
            ref=ref,
            pool_ref=pool_ref,
            pool_uuid=pool.uuid,
            master=pool.master,
            serial=self._serial,
        )

    def _choose(self, answers: dict[str, _Finding]) -> Login:
        """The one session to keep; all others are logged out."""
        inside = [answer for answer in answers.values() if isinstance(answer, Login)]
        known = self._pool_uuid
        ours = [login for login in inside if not known or login.pool_uuid == known]
        one = len({(login.pool_uuid, login.master) for login in ours}) == 1
        chosen = ours[0] if one else None
        self._dropped += [login for login in inside if login is not chosen]
        if chosen is None:
            self._leave_dropped()
            raise _several(ours) if ours else _none(answers, inside)
        self._note_others(answers, chosen)
        return chosen

    def _note_others(self, answers: dict[str, _Finding], chosen: Login) -> None:
        for address, answer in answers.items():
            if isinstance(answer, UnknownCertificate):
                _log.error("a member's certificate is not trusted: %s", answer.message)
            elif isinstance(answer, Login) and answer.pool_uuid != chosen.pool_uuid:
                _log.error("%s is no member of this pool any more but has its own", address)

    # --- leaving ----------------------------------------------------------------------------------

    async def _discard(self, late: asyncio.Task[_Finding]) -> None:
        answer = await late
        if isinstance(answer, Login):
            _log.warning("%s let us in too late: its session is not needed", answer.address)
            await self.leave(answer.address, answer.ref)

    def _leave_dropped(self) -> None:
        for login in self._dropped:
            self.leave_later(login.address, login.ref)
        self._dropped.clear()

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)


def _well_formed(*hosts: str) -> bool:
    try:
        return bool(hosts) and all(parse_address(host) for host in hosts)
    except ValueError:
        return False


def _only_pool(address: str, pools: JsonValue) -> tuple[str, PoolRecord]:
    if isinstance(pools, dict) and len(pools) == 1:
        ((ref, snapshot),) = pools.items()
        try:
            return ref, decode_record("pool", snapshot, PoolRecord)
        except Unreadable as error:
            raise TransportFailure(FailureKind.HTTP, f"{address}: {error}", sent=True) from None
    text = f"{address}: pool.get_all_records: not one pool"
    raise TransportFailure(FailureKind.HTTP, text, sent=True)


def _several(masters: Sequence[Login]) -> NoMaster:
    where = " and ".join(sorted(login.address for login in masters))
    if len({login.pool_uuid for login in masters}) > 1:
        pools = ", ".join(sorted(f"{login.address}: {login.pool_uuid}" for login in masters))
        return NoMaster("OtherPool", f"the addresses lead to different pools ({pools})")
    return NoMaster("TwoMasters", f"{where} both answer as master of this pool")


def _none(answers: dict[str, _Finding], foreign: Sequence[Login]) -> Unavailable:
    failures = [answer for answer in answers.values() if isinstance(answer, Unavailable)]
    failures += [
        NoMaster("OtherPool", f"{login.address} belongs to another pool ({login.pool_uuid})")
        for login in foreign
    ]
    worst = min(failures, key=_telling, default=NoMaster("NoMaster", ""))
    if isinstance(worst, UnknownCertificate):
        return worst
    told = [failure.message for failure in failures]
    told += [
        f"{address} is a member of {answer}'s pool"
        for address, answer in answers.items()
        if isinstance(answer, str)
    ]
    return NoMaster(worst.reason, "; ".join(told))


def _telling(failure: Unavailable) -> int:
    """Smaller tells more about what a person has to do."""
    match failure:
        case XapiFailure() if failure.code in REFUSED:
            return 0
        case UnknownCertificate():
            return 1
        case NoMaster():
            return 2
        case XapiFailure():
            return 3
    return 4
