"""Another client: the hand of somebody who knows nothing of whoever is being tested."""

import json
from collections.abc import Awaitable, Callable, Sequence

from simulator.database import Row
from simulator.datamodel import Message, Type, data_model
from simulator.pool import Pool
from simulator.reigns import Reigns
from simulator.values import ApiError, Value, as_text

Send = Callable[[str, str, Sequence[Value]], Awaitable[Value]]
"""Host, method, arguments: one API call."""

_AT_A_HOST = frozenset(
    {
        "pool.emergency_transition_to_master", "pool.emergency_reset_master", "pool.is_slave",
        "host.is_in_emergency_mode",
    }
)  # fmt: skip
"""What is asked of the named host itself, by a session of its own, and not of the master."""


class ForeignClient:
    """Acts by a session that it opens for each deed."""

    def __init__(self, reigns: Reigns, send: Send) -> None:
        self._reigns = reigns
        self._send = send

    async def act(self, method: str, name: str, args: Sequence[Value]) -> Value:
        """Call the method on what is called so, as ``find`` finds it. What is left out of ``args``
        is false or empty; hosts among them are given by name."""
        message = data_model().message(method.removeprefix("Async."))
        if message is None:
            raise ApiError("MESSAGE_METHOD_UNKNOWN", method)
        about = find(self._reigns.newest, message.cls, name)
        given = self._fill(message, about, args)
        if message.full_name in _AT_A_HOST:
            return await self._at(about, method, given)
        return await self._at_master(method, given)

    async def _at_master(self, method: str, given: Sequence[Value]) -> Value:
        master = self._reigns.newest.master
        login = [*self._login(), "1.0", "another client"]
        session = await self._send(master.name, "session.login_with_password", login)
        try:
            return await self._send(master.name, method, [session, *given])
        finally:
            if master.reachable:
                await self._send(master.name, "session.logout", [session])

    async def _at(self, host: Row, method: str, given: Sequence[Value]) -> Value:
        login, name = "session.slave_local_login_with_password", host.text("name_label")
        session = await self._send(name, login, self._login())
        return await self._send(name, method, [session, *given])

    def _login(self) -> Sequence[Value]:
        return next(iter(self._reigns.site.spec.users.items()))

    def _fill(self, message: Message, about: Row, args: Sequence[Value]) -> list[Value]:
        params = message.params[: message.required]
        filled: list[Value] = []
        if params and params[0][1] == Type("ref", name=about.cls) and message.cls == about.cls:
            filled, params = [about.ref], params[1:]
        for index, (_, kind) in enumerate(params):
            filled.append(self._argument(kind, args[index]) if args[index:] else _empty(kind))
        return filled

    def _argument(self, kind: Type, value: Value) -> Value:
        hosts = self._reigns.newest.hosts
        if kind.kind == "ref" and kind.name == "host" and value in hosts:
            return hosts[as_text(value)].row.ref
        if kind.kind == "bool" and isinstance(value, str):
            return value == "true"
        if kind.kind == "string" and not isinstance(value, str):
            return json.dumps(value)
        return value


def find(pool: Pool, cls: str, name: str) -> Row:
    """The VM of that name or uuid for a method of VMs; a host for one of hosts; for one of the
    pool the host or the pool of that name. LookupError if there is not exactly one."""
    db = pool.db
    wanted = {"host": ("host",), "pool": ("pool", "host")}.get(cls, ("VM",))
    rows = [row for kind in wanted for row in db.rows(kind)]
    found = [row for row in rows if name in (row.text("uuid"), row.text("name_label"))]
    if len(found) != 1:
        raise LookupError(f"{len(found)} objects of {' or '.join(wanted)} are called {name!r}")
    return found[0]


def _empty(kind: Type) -> Value:
    empty: dict[str, Value] = {"bool": False, "map": {}, "set": [], "int": 0, "float": 0.0}
    return empty.get(kind.kind, "")
