"""`cxm-heartbeatd`: hears the other peers, is heard, and takes part in choosing the leader.

Small, so that it stays in memory; nothing slow is in it. Settings, lock, key and memory come first:
before anything is sent, this start's generation is durable.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from pathlib import Path
from typing import Any

from membership.edge import log, node_settings
from membership.edge.beating import Beating
from membership.edge.door import Asked, Door
from membership.edge.key_file import KeyFile
from membership.edge.node_settings import NodeSettings
from membership.edge.pinned import pin
from membership.edge.secret_files import SecretError
from membership.edge.starting import EX_CONFIG, EX_IOERR, CannotStart, config_given, end
from membership.edge.state_lock import StateLock
from membership.edge.stored import ROSTER, MemoryFile, Unusable, Watched, read_roster
from membership.edge.supervision import supervisor
from membership.events import Machine
from membership.view import SOCKET

NAME = "cxm-heartbeatd"
LOOK_EVERY_S = 1.0
FLUSH_WITHIN_S = 1.0
LOCK = "heartbeat.lock"
_UUIDS = (Path("/sys/hypervisor/uuid"), Path("/sys/class/dmi/id/product_uuid"))


class Daemon:
    """Everything that one process of cxm-heartbeatd holds. Raises CannotStart, OSError."""

    def __init__(self, settings: NodeSettings) -> None:
        self._settings = settings
        self._supervisor = supervisor()
        state, run = Path(settings.state_dir), Path(settings.run_dir)
        state.mkdir(mode=0o750, parents=True, exist_ok=True)
        run.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._lock = StateLock(state / LOCK, NAME)
        try:
            self._key_file = KeyFile(Path(settings.cluster_key))
        except SecretError as error:
            raise CannotStart(EX_CONFIG, str(error)) from None
        self._roster_file = Watched(state / ROSTER)
        self._memory_file = MemoryFile(state)
        self._memory = self._memory_file.begin()
        self._socket = run / SOCKET

    async def run(self) -> None:
        """Until somebody asks it to end, or something breaks: then that is raised."""
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        loop.set_exception_handler(lambda _loop, context: _broken(ended, context))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _end, ended)
        door = Door(self._socket)
        beating = self._beating(loop, door)
        await door.open(beating.view, lambda asked: _asked(beating, asked))
        pin()
        self._look(loop, beating, door)
        self._supervisor.tell("READY=1")
        settings, generation = self._settings, self._memory.generation
        log.info("started", node=settings.node, version=settings.release, generation=generation)
        try:
            await ended
            self._supervisor.tell("STOPPING=1")
            await _leave(beating)
            log.info("stopped")
        finally:
            beating.close()
            door.close()

    def close(self) -> None:
        """After the loop ended."""
        self._lock.release()

    def _beating(self, loop: asyncio.AbstractEventLoop, door: Door) -> Beating:
        return Beating(
            loop,
            self._settings,
            (self._memory_file, self._memory),
            self._key_file.keys,
            machine(Path(self._settings.boot_id_file)),
            door.push,
        )

    def _look(self, loop: asyncio.AbstractEventLoop, beating: Beating, door: Door) -> None:
        """Once a second: at the files that others write, and at the clock of the supervisor."""
        loop.call_later(LOOK_EVERY_S, self._look, loop, beating, door)
        self._supervisor.tell("WATCHDOG=1")
        try:
            if self._key_file.changed():
                beating.use_keys(self._key_file.keys)
        except SecretError as error:
            log.error("cluster-key-unusable", message=f"{error}; the keys before stay in use")
        if self._roster_file.changed():
            self._read_roster(beating)
        if not beating.beats:
            door.push(beating.view())

    def _read_roster(self, beating: Beating) -> None:
        path, settings = self._roster_file.path, self._settings
        try:
            roster = read_roster(path, settings.node, settings.cluster_id)
        except Unusable as error:
            log.error("membership-unusable", message=f"{error}; what was known before stays")
            return
        beating.follow(roster)


def _asked(beating: Beating, asked: Asked) -> None:
    if asked.candidacy is not None:
        beating.handle(asked.candidacy)
    if asked.hand_over is not None:
        beating.hand_over(asked.hand_over.to)


async def _leave(beating: Beating) -> None:
    """Goodbye, and a moment for disk and engine to take it: who does not answer is not waited for."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(beating.leave(), FLUSH_WITHIN_S)


def _end(ended: asyncio.Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)


def _broken(ended: asyncio.Future[None], context: dict[str, Any]) -> None:
    """A step that failed half way ends the process: nothing is known to be right after it."""
    if not ended.done():
        error = context.get("exception")
        ended.set_exception(error if error is not None else RuntimeError(context["message"]))


def machine(boot_id: Path) -> Machine:
    """The identity of this boot, by the file that names it, and of this machine where it says so."""
    uuid = next((text for path in _UUIDS if (text := _text(path))), "")
    return Machine(boot_id=_text(boot_id), uuid=uuid)


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _run(config: Path) -> int:
    """The exit status of a daemon that was asked to end, or could not go on."""
    settings = node_settings.read(config)
    try:
        daemon = Daemon(settings)
    except OSError as error:
        raise CannotStart(EX_IOERR, f"{error.filename}: {error.strerror}") from error
    try:
        asyncio.run(daemon.run())
    except OSError as error:
        # The memory could not be written, above all: what was to follow has not been sent.
        raise CannotStart(EX_IOERR, f"{error.filename or settings.state_dir}: {error}") from error
    finally:
        daemon.close()
    return 0


def main() -> None:
    config = config_given(NAME, "The heartbeats of cxm on one node.")
    try:
        sys.exit(_run(config))
    except CannotStart as error:
        end(NAME, error)


if __name__ == "__main__":
    main()
