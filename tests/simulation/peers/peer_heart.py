"""`cxm-heartbeatd` of one node: the shipped heart, with a small edge around it that can fail at each seam."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from msgspec.structs import replace

from membership.events import (
    Effect,
    Event,
    Heard,
    Machine,
    Memory,
    Push,
    Remember,
    RosterChanged,
    Send,
    Tick,
    WriteSlot,
)
from membership.heart import Heart
from membership.roster import Roster
from membership.view import View
from tests.simulation.peers.peer_net import DiskPath, PeerDisk, PeerNet
from tests.simulation.peers.peer_process import NodeClock

KEY = b"k" * 32
LOOK_S = 1.0
STALE_S = 2.0
MOST_WAITING = 200
"""Datagrams that wait in the kernel for a daemon that does not read."""


@dataclass
class HeartFiles:
    """What is durable of a node's heartbeats: `memory` None before its first start."""

    roster: Roster | None = None
    memory: Memory | None = None


@dataclass
class Body:
    """Where hearts of one node live, one after the other."""

    name: str
    clock: NodeClock
    net: PeerNet
    disk: PeerDisk | None
    chance: Random
    viewed: Callable[[View], None]
    said: Callable[[bytes], None]
    files: HeartFiles = field(default_factory=HeartFiles)
    boots: int = 1

    @property
    def boot_id(self) -> str:
        return self.name if self.boots == 1 else f"{self.name}/{self.boots}"


class HeartDaemon:
    """One life. `died` is called when it ends, however it does; `seams_left` until it is killed."""

    def __init__(self, body: Body, died: Callable[[], None]) -> None:
        self._body = body
        self._died = died
        self.alive = True
        self.stopped = False
        self.seams_left: int | None = None
        self._waiting: list[Event] = []
        self._asked: list[tuple[float, Event]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._heart: Heart | None = None
        self._roster: Roster | None = None
        self._disk: DiskPath | None = None
        self._remember_start()
        self._look()

    def _remember_start(self) -> None:
        files = self._body.files
        memory = files.memory or Memory(generation=0)
        files.memory = replace(memory, generation=memory.generation + 1)

    # --- life -----------------------------------------------------------------------------------

    def die(self) -> None:
        if not self.alive:
            return
        self.alive = False
        for timer in (self._timer, self._looking):
            if timer is not None:
                timer.cancel()
        if self._disk is not None:
            self._disk.close()
        self._body.net.doors.pop(self._body.name, None)
        self._died()

    def stop(self) -> None:
        self.stopped = True

    def go_on(self) -> None:
        """What came meanwhile is in its buffers, oldest first."""
        if not self.stopped:
            return
        self.stopped = False
        waiting, self._waiting = self._waiting, []
        asked, self._asked = self._asked, []
        oldest_s = self._body.clock.boot_s() - STALE_S
        for event in (*waiting, *(event for at_s, event in asked if at_s >= oldest_s)):
            self.handle(event)
        self.handle(Tick())

    def _seam(self) -> bool:
        """False where the daemon is killed before what comes next."""
        if self.seams_left is not None:
            self.seams_left -= 1
            if self.seams_left <= 0:
                self.die()
        return self.alive

    # --- events ---------------------------------------------------------------------------------

    def handle(self, event: Event) -> None:
        if not self.alive:
            return
        if self.stopped:
            if len(self._waiting) < MOST_WAITING:
                self._waiting.append(event)
            return
        if self._heart is not None:
            self._perform(self._heart.handle(event, self._body.clock.now()))
            self._arm()

    def asked(self, event: Event) -> None:
        """`cxmd` says something: what it said long before we listen is nothing."""
        if self.stopped:
            self._asked.append((self._body.clock.boot_s(), event))
        else:
            self.handle(event)

    def _heard(self, channel: int, data: bytes) -> None:
        self.handle(Heard(channel=channel, data=data))

    def _look(self) -> None:
        """Once a second: is there another roster?"""
        self._looking = asyncio.get_running_loop().call_later(LOOK_S, self._look)
        roster = self._body.files.roster
        if self.stopped or roster is None or roster == self._roster:
            return
        self._roster = roster
        if self._disk is None and roster.disk is not None and self._body.disk is not None:
            self._disk = DiskPath(self._body.disk, self._body.clock, self._disk_answered)
        if self._heart is None:
            self._start(roster)
        else:
            self.handle(RosterChanged(roster=roster))

    def _disk_answered(self, answer: Event) -> None:
        self.handle(answer)

    def _start(self, roster: Roster) -> None:
        body = self._body
        assert body.files.memory is not None
        self._heart = Heart(
            roster=roster,
            keys=(KEY,),
            memory=body.files.memory,
            machine=Machine(boot_id=body.boot_id),
            nonce=body.chance.randbytes(16),
            random=Random(body.chance.random()),
        )
        body.net.doors[body.name] = self._heard
        self._perform(self._heart.start(body.clock.now()))
        self._arm()

    def _arm(self) -> None:
        if self._heart is None or not self.alive:
            return
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        at_s = self._body.clock.true_s(self._heart.deadline())
        self._timer = loop.call_at(max(at_s, loop.time() + 0.0005), self._tick)

    def _tick(self) -> None:
        self.handle(Tick())

    # --- effects --------------------------------------------------------------------------------

    def _perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if not self._seam():
                return
            match effect:
                case Send(peer=peer, channel=channel, data=data):
                    self._body.said(data)
                    self._body.net.send(self._body.name, peer, channel, data)
                case WriteSlot(slot=slot, data=data):
                    self._write(slot, data)
                case Remember(memory=memory):
                    self._body.files.memory = memory
                    if not self._seam():
                        return
                case Push(view=view):
                    self._body.viewed(view)
                case _:
                    raise AssertionError(f"unknown effect {effect}")

    def _write(self, slot: int, data: bytes) -> None:
        if self._disk is not None and self._roster is not None:
            self._disk.exchange(slot, data, self._roster.timing.suspect_after_s)
