"""Logging in and out, and whose word counts on which host."""

from __future__ import annotations

from simulator.database import Row
from simulator.machines import Machine
from simulator.pool import Pool
from simulator.reigns import Reigns
from simulator.site import Site
from simulator.values import ApiError

SESSIONS_KEPT = {True: 400, False: 500}
"""How many sessions one bucket holds: the common one of nameless clients, and any other."""


async def login(reigns: Reigns, machine: Machine, user: str, password: str, originator: str) -> str:
    """session.login_with_password: a session of the pool, on its master only."""
    if not machine.is_master:
        raise slave(reigns.site, machine)
    await _authenticate(reigns.site, user, password)
    pool = reigns.of(machine)
    now = pool.clock.date()
    _evict(pool, originator)
    session = pool.db.insert(
        "session",
        this_host=pool.hosts[machine.name].row.ref,
        last_active=now,
        is_local_superuser=True,
        validation_time=now,
        auth_user_name=user,
        originator=originator,
    )
    return session.ref


async def local_login(reigns: Reigns, machine: Machine, user: str, password: str) -> str:
    """session.slave_local_login_with_password: good on this host alone, until its toolstack ends."""
    await _authenticate(reigns.site, user, password)
    ref = reigns.of(machine).db.fresh_ref()
    machine.local_sessions.add(ref)
    return ref


def slave(site: Site, machine: Machine) -> ApiError:
    """What a slave answers to whatever is the master's."""
    return ApiError("HOST_IS_SLAVE", site.machines[machine.master].address)


def check(reigns: Reigns, machine: Machine, ref: str) -> Row:
    """The pool's session, if it counts here. SESSION_INVALID or HOST_IS_SLAVE."""
    db = reigns.of(machine).db
    session = db.find("session", ref)
    if session is None:
        raise ApiError("SESSION_INVALID", ref)
    if not machine.is_master:
        raise slave(reigns.site, machine)
    db.update(session, last_active=reigns.site.clock.date())
    return session


def logout(pool: Pool, machine: Machine, ref: str) -> None:
    """End a session; whoever waits in event.from by it is told."""
    machine.local_sessions.discard(ref)
    session = pool.db.find("session", ref)
    if session is not None:
        pool.db.delete(session)
    pool.db.wake_all()


def forget_all(pool: Pool) -> None:
    """The master's toolstack restarts: sessions live in its memory only."""
    for session in pool.db.rows("session"):
        pool.db.delete(session)


async def _authenticate(site: Site, user: str, password: str) -> None:
    if site.spec.users.get(user) == password:
        await site.clock.work(site.latencies.draw("login"))
        return
    await site.clock.work(site.latencies.draw("login_refused"))
    known = "Authentication failure"
    unknown = "User not known to the underlying authentication module"
    text = known if user in site.spec.users else unknown
    raise ApiError("SESSION_AUTHENTICATION_FAILED", user, text)


def _evict(pool: Pool, originator: str) -> None:
    """The oldest idle session of a full bucket makes room."""
    bucket = [s for s in pool.db.rows("session") if s.text("originator") == originator]
    if len(bucket) >= SESSIONS_KEPT[not originator]:
        pool.db.delete(min(bucket, key=lambda session: session.text("last_active")))
