"""The loop around the heart: an event in, its effects out in order, its deadline kept."""

from __future__ import annotations

import os
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from membership.edge import clock, engines, log
from membership.edge.disk import Disk
from membership.edge.names import Names
from membership.edge.node_settings import NodeSettings
from membership.edge.stored import MemoryFile
from membership.edge.told import tell_changes
from membership.edge.udp import Channels
from membership.events import (
    Effect,
    Event,
    Granted,
    HandOver,
    Heard,
    KeysChanged,
    Leaving,
    Machine,
    Memory,
    Push,
    Remember,
    RosterChanged,
    Send,
    Stand,
    Tick,
    WriteSlot,
)
from membership.heart import Heart
from membership.roster import Roster
from membership.slots import SLOTS
from membership.view import Standing, View, unknown

NO_ROSTER = "no membership yet: cxmd has not told this node who its peers are"
NONCE_BYTES = 16
SOONEST_S = 0.0005
"""A deadline that has come by one clock and not yet by the other must not make the loop spin."""


class Beating:
    """Everything that touches the heart happens in the loop's thread, one event after the other.

    What fails in here ends the process: a heart that is half way through a step has no state to go on
    from, and what it could not remember must not be sent.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        settings: NodeSettings,
        store: tuple[MemoryFile, Memory],
        keys: tuple[bytes, ...],
        machine: Machine,
        push: Callable[[View], None],
    ) -> None:
        self._loop = loop
        self._settings = settings
        self._file, self._memory = store
        self._keys = keys
        self._machine = machine
        self._push = push
        self._heart: Heart | None = None
        self._roster: Roster | None = None
        self._names = Names(loop, self._bind)
        self._channels = Channels(loop, self._heard)
        self._disk: Disk | None = None
        self._disk_path: str | None = None
        self._engine: engines.Running | None = None
        self._stand: Stand | None = None
        self._timer: TimerHandle | None = None
        self._armed_s: float | None = None
        self._told: View | None = None
        self._half_way = False

    # --- what comes in --------------------------------------------------------------------------

    def follow(self, roster: Roster) -> None:
        """Work by this roster from now on; the first one starts the heart."""
        before, self._roster = self._roster, roster
        self._names.keep({host for member in roster.members for host, _ in member.addresses})
        self._bind()
        self._mount(roster.disk)
        self._use_engine(before, roster)
        log.info("membership", revision=roster.revision, peers=len(roster.members))
        if self._heart is None:
            self._start(roster)
        else:
            self.handle(RosterChanged(roster=roster))

    def use_keys(self, keys: tuple[bytes, ...]) -> None:
        if keys != self._keys:
            self._keys = keys
            log.info("cluster-key-changed", keys=len(keys))
            self.handle(KeysChanged(keys=keys))

    def handle(self, event: Event) -> None:
        """Before there is a roster nothing is known to any purpose: the event is dropped."""
        heart = self._heart
        if heart is not None:
            self._step(heart, lambda: heart.handle(event, clock.now()))

    def hand_over(self, to: str | None) -> None:
        """Step down, for the sake of `to` where it is given."""
        if self._engine is not None:
            self._engine.engine.hand_over(to)
        else:
            self.handle(HandOver(to=to or ""))

    def view(self) -> View:
        if self._heart is None:
            return unknown(self._settings.node, "builtin", self._memory.term, NO_ROSTER)
        return self._heart.view(clock.now())

    @property
    def beats(self) -> bool:
        """Whether there is a roster to beat by."""
        return self._heart is not None

    async def leave(self) -> None:
        """Say goodbye, and wait until the disk and the engine know; what follows is `close`."""
        self.handle(Leaving())
        if self._timer is not None:
            self._timer.cancel()
        if self._engine is not None:
            await self._engine.engine.leave()
        if self._disk is not None:
            await self._disk.settled()

    def close(self) -> None:
        self._heart = None
        self._channels.close()
        self._mount(None)
        if self._engine is not None:
            self._engine.close()

    # --- the heart ------------------------------------------------------------------------------

    def _start(self, roster: Roster) -> None:
        self._heart = Heart(
            roster=roster,
            keys=self._keys,
            memory=self._memory,
            machine=self._machine,
            nonce=os.urandom(NONCE_BYTES),
            # Spreads candidacies; nothing secret hangs on it.
            random=Random(int.from_bytes(os.urandom(8), "big")),  # noqa: S311
        )
        heart = self._heart
        self._step(heart, lambda: heart.start(clock.now()))

    def _step(self, heart: Heart, step: Callable[[], Sequence[Effect]]) -> None:
        """After a step that failed no other one is made, though the loop may still turn."""
        if self._half_way:
            return
        self._half_way = True
        self._perform(step())
        self._arm(heart)
        self._half_way = False

    def _heard(self, channel: int, data: bytes) -> None:
        self.handle(Heard(channel=channel, data=data))

    def _granted(self, standing: Standing) -> None:
        self.handle(Granted(standing=standing))

    def _tick(self) -> None:
        self._armed_s = None
        self.handle(Tick())

    def _arm(self, heart: Heart) -> None:
        deadline_s = heart.deadline()
        if deadline_s == self._armed_s:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._armed_s = deadline_s
        wait_s = max(SOONEST_S, deadline_s - clock.boot_s())
        self._timer = self._loop.call_later(wait_s, self._tick)

    # --- what goes out --------------------------------------------------------------------------

    def _perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    self._send(effect)
                case WriteSlot():
                    self._write(effect)
                case Remember(memory=memory):
                    self._file.store(memory)
                    self._memory = memory
                case Push(view=view):
                    tell_changes(self._told, view)
                    self._told = view
                    self._push(view)
                case Stand(wants=wants, floor=floor):
                    self._stand = effect
                    if self._engine is not None:
                        self._engine.engine.stand(wants, floor)

    def _send(self, send: Send) -> None:
        member = self._roster.member(send.peer) if self._roster is not None else None
        if member is None or send.channel >= len(member.addresses):
            return
        host, port = member.addresses[send.channel]
        address = self._names.address(host)
        if address is not None:
            self._channels.send(send.channel, (address, port), send.data)

    def _write(self, write: WriteSlot) -> None:
        roster, disk = self._roster, self._disk
        if roster is None or disk is None:
            return
        last = max(member.slot for member in (*roster.members, *roster.former))
        disk.exchange(write.slot, write.data, min(SLOTS, 1 + last), roster.timing.suspect_after_s)

    # --- what the roster asks for ---------------------------------------------------------------

    def _bind(self) -> None:
        """At the node's own addresses; node.yaml may replace the first of them."""
        me = self._roster.member(self._settings.node) if self._roster is not None else None
        if me is None:
            return
        own = list(me.addresses)
        if self._settings.listen is not None:
            own[:1] = [self._settings.listen]
        found = [(self._names.address(host), port) for host, port in own]
        self._channels.bind(tuple((host, port) if host else None for host, port in found))

    def _mount(self, path: str | None) -> None:
        if path == self._disk_path:
            return
        if self._disk is not None:
            self._disk.close()
        self._disk_path = path
        self._disk = None if path is None else Disk(Path(path), self._loop, self.handle)

    def _use_engine(self, before: Roster | None, roster: Roster) -> None:
        """An engine counts by the timing that it began with: another one, and it begins anew."""
        if before is not None and (before.engine, before.timing) == (roster.engine, roster.timing):
            return
        if self._engine is not None:
            self._engine.close()
        self._engine = engines.start(self._settings, roster, self._granted)
        if self._engine is not None and self._stand is not None:
            self._engine.engine.stand(self._stand.wants, self._stand.floor)
