"""Logging in and out, and whose word counts on which host."""

from simulator.database import Row
from simulator.pool import HostState, Pool
from simulator.values import ApiError

SESSIONS_KEPT = {True: 400, False: 500}
"""How many sessions one bucket holds: the common one of nameless clients, and any other."""


async def login(pool: Pool, host: HostState, user: str, password: str, originator: str) -> str:
    """session.login_with_password: a session of the pool, on its master only."""
    if host is not pool.master:
        raise ApiError("HOST_IS_SLAVE", pool.master.address)
    await _authenticate(pool, user, password)
    now = pool.clock.date()
    _evict(pool, originator)
    session = pool.db.insert(
        "session",
        this_host=host.row.ref,
        last_active=now,
        is_local_superuser=True,
        validation_time=now,
        auth_user_name=user,
        originator=originator,
    )
    return session.ref


async def local_login(pool: Pool, host: HostState, user: str, password: str) -> str:
    """session.slave_local_login_with_password: good on this host alone, until its toolstack ends."""
    await _authenticate(pool, user, password)
    ref = pool.db.fresh_ref()
    host.local_sessions.add(ref)
    return ref


def check(pool: Pool, host: HostState, ref: str) -> Row | None:
    """The session, if it counts here; None for a local one. SESSION_INVALID or HOST_IS_SLAVE."""
    if ref in host.local_sessions:
        return None
    session = pool.db.find("session", ref)
    if session is None:
        raise ApiError("SESSION_INVALID", ref)
    if host is not pool.master:
        raise ApiError("HOST_IS_SLAVE", pool.master.address)
    pool.db.update(session, last_active=pool.clock.date())
    return session


def logout(pool: Pool, host: HostState, ref: str) -> None:
    """End a session; whoever waits in event.from by it is told."""
    host.local_sessions.discard(ref)
    session = pool.db.find("session", ref)
    if session is not None:
        pool.db.delete(session)
    pool.db.wake_all()


def forget_all(pool: Pool) -> None:
    """The master's toolstack restarts: sessions live in its memory only."""
    for session in pool.db.rows("session"):
        pool.db.delete(session)


async def _authenticate(pool: Pool, user: str, password: str) -> None:
    if pool.spec.users.get(user) == password:
        await pool.clock.work(pool.latencies.draw("login"))
        return
    await pool.clock.work(pool.latencies.draw("login_refused"))
    known = "Authentication failure"
    unknown = "User not known to the underlying authentication module"
    text = known if user in pool.spec.users else unknown
    raise ApiError("SESSION_AUTHENTICATION_FAILED", user, text)


def _evict(pool: Pool, originator: str) -> None:
    """The oldest idle session of a full bucket makes room."""
    bucket = [s for s in pool.db.rows("session") if s.text("originator") == originator]
    if len(bucket) >= SESSIONS_KEPT[not originator]:
        pool.db.delete(min(bucket, key=lambda session: session.text("last_active")))
