"""The control socket of a served simulator: look into the world, and break it.

A Unix socket, one JSON object a line each way. A request is ``{"op": NAME, …}``; the answer is
``{"ok": true, "pool": NAME, "data": {…}}`` or ``{"ok": false, "pool": NAME, "error": {"code",
"message", "hint"}}``. The socket's mode keeps everybody else out; nothing here is authenticated.
"""

from __future__ import annotations

import asyncio
import difflib
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from simulator.bmc import BmcError
from simulator.database import Row
from simulator.domains import CorruptionCase
from simulator.faults import Fault, FaultError
from simulator.machines import Machine
from simulator.site import LogEntry
from simulator.spec import BmcSpec
from simulator.values import ApiError, DateTime, Unreachable, Value
from simulator.world import World

# sun_path of Linux, less its terminating zero.
MAX_SOCKET_PATH = 107
_MAX_LINE = 1 << 20

_SPANS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}

Request = Mapping[str, Any]
Data = dict[str, Any]


class Refused(Exception):
    """A request that cannot be carried out; becomes the answer's error."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message, "hint": hint}


class Control:
    """Serves one world on one socket."""

    def __init__(self, world: World, path: Path) -> None:
        self._world = world
        self._path = path
        self._server: asyncio.Server | None = None
        self._operations: Mapping[str, Callable[[Request], Awaitable[Data]]] = {
            "status": self._status,
            "power": self._power,
            "bmc": self._bmc,
            "fault": self._fault,
            "vm": self._vm,
            "act": self._act,
            "log": self._log,
            "clock": self._clock,
            "corruption": self._corruption,
        }

    async def open(self) -> None:
        """Start to listen; a socket left behind by a simulator that died is replaced."""
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, self._path, limit=_MAX_LINE)
        self._path.chmod(0o600)

    async def end(self) -> None:
        """Stop to listen and remove the socket; idempotent."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._path.unlink(missing_ok=True)

    async def answer(self, request: object) -> Data:
        """The answer to one decoded request."""
        name = self._world.pool.spec.name
        try:
            return {"ok": True, "pool": name, "data": await self._do(request)}
        except Refused as error:
            return {"ok": False, "pool": name, "error": error.error}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self.answer(_decoded(line))).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            # ValueError: a line beyond the limit. Either way there is nobody left to tell.
            pass
        finally:
            writer.close()

    async def _do(self, request: object) -> Data:
        if not isinstance(request, dict) or request.get("op") not in self._operations:
            known = ", ".join(self._operations)
            raise Refused("bad-request", f"a request is a JSON object with one of op: {known}")
        try:
            return await self._operations[request["op"]](request)
        except KeyError as error:
            raise Refused("bad-request", f"{request['op']}: {error.args[0]!r} is missing") from None

    # --- operations -------------------------------------------------------------------------------

    async def _status(self, _request: Request) -> Data:
        pool = self._world.pool
        return {
            "pool": {"name": pool.spec.name, "uuid": pool.spec.uuid},
            "clock": _iso(pool.clock.wall()),
            "hosts": [self._host_status(machine) for machine in self._world.site.machines],
            "bmcs": [self._bmc_status(name) for name in self._world.bmcs.names()],
            "faults": [self._fault_status(fault) for fault in pool.faults.listed()],
            "corruption": len(pool.domains.corruption),
        }

    def _host_status(self, machine: Machine) -> Data:
        domains = self._world.site.domains.on(machine.name)
        return {
            "name": machine.name,
            "uuid": machine.uuid,
            "address": machine.address,
            "role": "master" if machine.is_master else "slave",
            "powered": machine.powered,
            "reachable": machine.up,
            "emergency": machine.stashed is not None,
            "running": sorted(self._vm_name(domain.vm_uuid) for domain in domains),
        }

    def _bmc_status(self, name: str) -> Data:
        bmcs = self._world.bmcs
        spec = bmcs.spec(name)
        kind = "bmc" if isinstance(spec, BmcSpec) else "outlet"
        answers = bmcs.lives(name) and not bmcs.hangs(name)
        return {"name": name, "host": spec.host, "kind": kind, "answers": answers}

    def _fault_status(self, fault: Fault) -> Data:
        scope = dict(fault.scope)
        if fault.strikes_left is not None:
            scope["count"] = str(fault.strikes_left)
        left = max(0.0, fault.until - self._world.pool.clock.now())
        return {"id": fault.id, "name": fault.name, "left_s": round(left, 3), "scope": scope}

    async def _power(self, request: Request) -> Data:
        host = _one_of("host", request["host"], self._hosts())
        if request["to"] not in ("on", "off"):
            raise Refused("bad-request", f"power is switched on or off, not {request['to']!r}")
        switch = self._world.power_on if request["to"] == "on" else self._world.power_off
        switch(host)
        return {"host": host, "powered": self._world.site.machines[host].powered}

    async def _bmc(self, request: Request) -> Data:
        """What a program at the device's own wires would do: the command is taken, not followed."""
        bmcs = self._world.bmcs
        name = _one_of("fence device", request["name"], bmcs.names())
        if request["do"] not in ("status", "on", "off"):
            raise Refused(
                "bad-request", f"a fence device does status, on, off, not {request['do']!r}"
            )
        try:
            if request["do"] == "status":
                return {"bmc": name, "power": await bmcs.status(name)}
            await bmcs.switch(name, request["do"])
            return {"bmc": name, "told": request["do"]}
        except BmcError as error:
            raise Refused(error.kind, error.message) from None

    async def _fault(self, request: Request) -> Data:
        faults = self._world.faults
        try:
            if request["do"] == "stop":
                number = int(request["id"]) if str(request["id"]).isdigit() else -1
                faults.stop(number)
                return {"id": number, "active": False}
            settings = dict(request["settings"])
            for_s = _seconds("for", settings.pop("for", "60s"))
            for key in ("host", "onto"):
                if key in settings:
                    _one_of("host", settings[key], self._hosts())
            if "bmc" in settings:
                _one_of("fence device", settings["bmc"], self._world.bmcs.names())
            return {"id": faults.start(request["name"], for_s, **settings), "active": True}
        except FaultError as error:
            raise Refused("bad-fault", str(error)) from None

    async def _vm(self, request: Request) -> Data:
        vm = self._find_vm(request["name"])
        where = self._world.running_on(vm.text("uuid"))
        pool = self._world.pool
        return {
            "vm": where.name,
            "uuid": where.uuid,
            # None where it runs nowhere; the first of several, which are corruption.
            "host": where.hosts[0] if where.hosts else None,
            "hosts": list(where.hosts),
            "power_state": where.power_state,
            "database": {
                "host": pool.host_name_of(vm) or None,
                "power_state": vm.text("power_state"),
            },
        }

    async def _act(self, request: Request) -> Data:
        method = request["method"]
        cls = method.removeprefix("Async.").partition(".")[0]
        about = self._about(cls, request["name"])
        try:
            args = [_argument(text) for text in request["args"]]
            result = await self._world.act(method, about.text("uuid"), *args)
        except ApiError as error:
            raise Refused(error.code, f"{method} failed: {', '.join(error.description)}") from None
        except Unreachable as error:
            raise Refused("unreachable", f"{method}: no answer from the pool: {error}") from None
        return {
            "method": method,
            "object": {"class": about.cls, "name": about.text("name_label")},
            "result": result,
        }

    def _about(self, cls: str, name: str) -> Row:
        """What a method is called on: a host or the pool for one of theirs, a VM for any other."""
        if cls not in ("host", "pool"):
            return self._find_vm(name)
        db = self._world.pool.db
        rows = [*db.rows("host"), *(db.rows("pool") if cls == "pool" else [])]
        named = {text: row for row in rows for text in (row.text("name_label"), row.text("uuid"))}
        return named[_one_of(cls, name, named)]

    async def _log(self, _request: Request) -> Data:
        return {"entries": [_log_entry(entry) for entry in self._world.log]}

    async def _clock(self, request: Request) -> Data:
        clock = self._world.pool.clock
        clock.advance(_seconds("clock", str(request["advance"]).removeprefix("+")))
        return {"clock": _iso(clock.wall())}

    async def _corruption(self, _request: Request) -> Data:
        cases = [self._case(case) for case in self._world.corruption]
        return {"count": len(cases), "cases": cases}

    # --- names ------------------------------------------------------------------------------------

    def _case(self, case: CorruptionCase) -> Data:
        clock = self._world.pool.clock
        return {
            "time": _iso(clock.wall() - (clock.now() - case.time)),
            "kind": case.kind,
            "object": self._vm_name(case.uuid),
            "uuid": case.uuid,
            "hosts": list(case.hosts),
            "vms": list(case.vms),
        }

    def _hosts(self) -> list[str]:
        return [machine.name for machine in self._world.site.machines]

    def _vm_name(self, uuid: str) -> str:
        vms = (vm for vm in self._world.pool.db.rows("VM") if vm.text("uuid") == uuid)
        return next((vm.text("name_label") for vm in vms), uuid)

    def _find_vm(self, name: str) -> Row:
        vms = [vm for vm in self._world.pool.db.rows("VM") if not vm.flag("is_control_domain")]
        found = [vm for vm in vms if name in (vm.text("name_label"), vm.text("uuid"))]
        if len(found) > 1:
            raise Refused("ambiguous", f"{len(found)} VMs are named {name!r}", "give the uuid")
        if not found:
            _one_of("VM", name, [vm.text("name_label") for vm in vms])
        return found[0]


def _one_of(what: str, name: str, known: Iterable[str]) -> str:
    names = list(known)
    if name in names:
        return name
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(names)}"
    raise Refused("no-such-object", f"there is no {what} {name!r}", hint)


def _seconds(what: str, text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|)", text)
    if match is None:
        raise Refused("bad-request", f"{what}: {text!r} is no span of time", "such as 60s or 5m")
    return float(match[1]) * _SPANS[match[2]]


def _argument(text: str) -> Value:
    """A word of a command line as a value: JSON where it is JSON, text otherwise."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if value is None else value


def _decoded(line: bytes) -> object:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _iso(epoch: float) -> str:
    day = DateTime.at(epoch)
    return f"{day[:4]}-{day[4:6]}-{day[6:]}"


def _log_entry(entry: LogEntry) -> Data:
    return {
        "time": _iso(entry.time),
        "host": entry.host,
        "originator": entry.originator,
        "method": entry.method,
        "object": {"class": entry.cls, "uuid": entry.uuid, "name": entry.name},
        "outcome": entry.outcome,
    }
