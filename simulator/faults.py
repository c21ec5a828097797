"""Faults that are on: what is broken, where, and until when.

The table knows names, scopes and ends. What a fault does is done by whoever it strikes: the world
for ``host-off``, ``api-restart``, ``db-rollback``, ``hang``, ``net-cut``, ``boot-fail``, ``pbd-fail``
and ``migrate-fail``; the fence devices for ``bmc-…``; the wire for ``api-hang``, ``answer-lost`` and
``slow``. Durations are seconds of the clock whatever the speed of operations.
"""

import asyncio
import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from simulator.clock import Clock

SCOPES: Mapping[str, frozenset[str]] = {
    "api-hang": frozenset({"host", "method"}),
    "api-restart": frozenset({"host"}),
    "boot-fail": frozenset({"host"}),
    "db-rollback": frozenset(),
    "hang": frozenset({"host"}),
    "host-off": frozenset({"host"}),
    "net-cut": frozenset({"host", "from"}),
    "pbd-fail": frozenset({"host", "sr"}),
    "migrate-fail": frozenset({"host", "vm", "count"}),
    "answer-lost": frozenset({"host", "method", "count"}),
    "slow": frozenset({"host", "method", "ms"}),
    "bmc-dead": frozenset({"host", "bmc"}),
    "bmc-hang": frozenset({"host", "bmc"}),
    "bmc-slow": frozenset({"host", "bmc", "ms"}),
    "bmc-refuses": frozenset({"host", "bmc"}),
    "bmc-unknown": frozenset({"host", "bmc"}),
    "bmc-lies": frozenset({"host", "bmc", "says"}),
    "bmc-crosswired": frozenset({"host", "bmc", "onto"}),
    "bmc-soft-off": frozenset({"host", "bmc", "ms"}),
    "bmc-auto-on": frozenset({"host", "bmc", "ms"}),
    "bmc-reply-lost": frozenset({"host", "bmc", "count"}),
}
"""The faults and what each can be narrowed to. ``count`` ends a fault after so many strikes."""

_WHICH_HOST = ("host", "say which host, for instance host=xen2")

_NEEDED: Mapping[str, tuple[str, str]] = {
    "slow": ("ms", "say how slow, for instance ms=500"),
    **dict.fromkeys(("boot-fail", "hang", "host-off", "net-cut", "pbd-fail"), _WHICH_HOST),
    "bmc-slow": ("ms", "say how slow, for instance ms=500"),
    "bmc-lies": ("says", "say what it says, for instance says=off"),
    "bmc-crosswired": ("onto", "say which host it switches, for instance onto=xen2"),
    "bmc-auto-on": ("ms", "say how soon, for instance ms=5000"),
}
"""A scope without which the fault has no meaning, and what to say to whoever leaves it out."""

_LIES = ("done", "off")

_SIDES = ("client", "hosts", "master")
"""From whom a ``net-cut`` cuts the host off; from everybody if that is not said."""


class FaultError(Exception):
    """A fault that was asked for wrongly; the text says what would have been right."""


@dataclass(slots=True)
class Fault:
    """One fault that is on. ``until`` is in the clock's monotonic seconds."""

    id: int
    name: str
    until: float
    scope: Mapping[str, str]
    strikes_left: int | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def concerns(self, about: Mapping[str, str]) -> bool:
        """Whether the fault's scope lets it strike this; a scope that is not given is open."""
        return all(self.scope[key] == about[key] for key in self.scope.keys() & about.keys())


Listener = Callable[[Fault], None]


class FaultTable:
    """All faults that are on. ``begun`` and ``ended`` are told of every change."""

    def __init__(self, clock: Clock, begun: Listener, ended: Listener) -> None:
        self._clock = clock
        self._begun = begun
        self._ended = ended
        self._faults: dict[int, Fault] = {}
        self._last = 0
        self._timers: dict[int, asyncio.Task[None]] = {}

    def start(self, name: str, for_s: float, **scope: str) -> int:
        """Switch a fault on for ``for_s`` seconds; answers its id. ``FaultError`` if ill asked."""
        _check(name, for_s, scope)
        self._last += 1
        strikes = int(scope["count"]) if "count" in scope else None
        narrowed = {key: value for key, value in scope.items() if key != "count"}
        fault = Fault(self._last, name, self._clock.now() + for_s, narrowed, strikes)
        self._faults[fault.id] = fault
        self._timers[fault.id] = asyncio.create_task(self._expire(fault, for_s))
        self._begun(fault)
        return fault.id

    def stop(self, fault_id: int) -> None:
        """Switch a fault off before its time. ``FaultError`` if there is none of that id."""
        if fault_id not in self._faults:
            on = ", ".join(map(str, self._faults)) or "none"
            raise FaultError(f"no fault {fault_id} is on (on now: {on})")
        self._end(fault_id)

    def active(self, name: str, **about: str) -> Fault | None:
        """The oldest fault of that name that strikes ``about`` (host, method, vm), if any is on."""
        return next(self.all_active(name, **about), None)

    def all_active(self, name: str, **about: str) -> Iterator[Fault]:
        """Every fault of that name that strikes ``about``, oldest first."""
        now = self._clock.now()
        for fault in self._faults.values():
            if fault.name == name and now < fault.until and fault.concerns(about):
                yield fault

    def stop_all(self, name: str, **about: str) -> None:
        """Switch off what strikes ``about``: the cause is gone."""
        for fault in list(self.all_active(name, **about)):
            self._end(fault.id)

    def strike(self, name: str, **about: str) -> Fault | None:
        """As ``active``, but counts: after its last strike a counted fault is over."""
        fault = self.active(name, **about)
        if fault is not None and fault.strikes_left is not None:
            fault.strikes_left -= 1
            if fault.strikes_left <= 0:
                self._end(fault.id)
        return fault

    def listed(self) -> list[Fault]:
        """The faults that are on, oldest first."""
        return list(self._faults.values())

    async def _expire(self, fault: Fault, seconds: float) -> None:
        await self._clock.sleep(seconds)
        if fault.id in self._faults:
            self._end(fault.id)

    def _end(self, fault_id: int) -> None:
        fault = self._faults.pop(fault_id)
        timer = self._timers.pop(fault_id)
        if timer is not asyncio.current_task():
            timer.cancel()
        fault.ended.set()
        self._ended(fault)


def _check(name: str, for_s: float, scope: Mapping[str, str]) -> None:
    if name not in SCOPES:
        raise FaultError(f"unknown fault {name!r}{_hint(name, SCOPES)}; known: {_list(SCOPES)}")
    if for_s <= 0:
        raise FaultError(f"{name}: a fault must last more than 0 s, not {for_s}")
    for key in scope.keys() - SCOPES[name]:
        raise FaultError(
            f"{name}: unknown scope {key!r}{_hint(key, SCOPES[name])}; it takes: "
            f"{_list(SCOPES[name])}"
        )
    for key in scope.keys() & {"count", "ms"}:
        if not scope[key].isdigit() or int(scope[key]) == 0:
            raise FaultError(f"{name}: {key} must be a whole number above 0, not {scope[key]!r}")
    if scope.get("says", "off") not in _LIES:
        raise FaultError(f"{name}: says is one of {', '.join(_LIES)}, not {scope['says']!r}")
    if scope.get("from", _SIDES[0]) not in _SIDES:
        raise FaultError(f"{name}: from is one of {', '.join(_SIDES)}, not {scope['from']!r}")
    needed, otherwise = _NEEDED.get(name, ("", ""))
    if needed and needed not in scope:
        raise FaultError(f"{name}: {otherwise}")


def _hint(word: str, known: "Mapping[str, frozenset[str]] | frozenset[str]") -> str:
    close = difflib.get_close_matches(word, sorted(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _list(known: "Mapping[str, frozenset[str]] | frozenset[str]") -> str:
    return ", ".join(sorted(known))
