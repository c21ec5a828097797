"""The hands of fencing: asks devices for their power and switches them, through fence agents.

Decides nothing. Whatever goes wrong is a `Said` of unknown or an `Attempt` that failed, with a
text for people; secrets are in none of them. Every `until_s` is an instant of CLOCK_BOOTTIME, by
which whatever was begun is over: a leader counts it from its lease.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

from fencing import agents, ipmi, metadata
from fencing.agents import Attempt, Ended, Said
from fencing.binding import Identity
from fencing.devices import Action, DeviceUse, Guard
from fencing.edge import redfish
from fencing.edge.programs import ProgramError, agent_program, system_program
from fencing.edge.running import Run, boot_s
from fencing.ladder import Power
from fencing.metadata import Metadata, MetadataError
from schema import fence_agents
from schema.fence_agents import Kind

Credentials = Callable[[str], Mapping[str, str]]
"""What a `credentialsRef` holds, under the names of the agent's options (`username`, `password`).

Raises CredentialsError.
"""

METADATA_S = 10.0


class CredentialsError(Exception):
    """A secret cannot be used. The text names it, never its content."""


class _Unfit(Exception):
    """The agent was not run at all; the text says why."""


class Agents:
    """Runs agents one at a time per call; calls for different devices may run at once."""

    def __init__(self, credentials: Credentials, own_programs: Path) -> None:
        self._credentials = credentials
        self._own_programs = own_programs
        self._metadata: dict[tuple[Path, int], Metadata] = {}

    async def read_power(self, use: DeviceUse, until_s: float) -> Said:
        """The node's power as the device says it."""
        try:
            found = agents.power_said(await self._run(use, Action.STATUS, until_s))
            if found.power is not Power.OFF or Guard.LISTED not in use.guards:
                return found
            # A plug that does not exist is off too, for several of these agents.
            return agents.guarded(found, use, await self._plugs(use, until_s))
        except _Unfit as error:
            return Said(power=Power.UNKNOWN, message="; ".join(error.args))

    async def look(self, use: DeviceUse, until_s: float) -> tuple[Said, Identity | None]:
        """State and identity in one go: what is believed of a device was just said by that one."""
        async with asyncio.TaskGroup() as both:
            power = both.create_task(self.read_power(use, until_s))
            identity = both.create_task(self.identity(use, until_s))
        return power.result(), identity.result()

    async def power_off(self, use: DeviceUse, until_s: float) -> Attempt:
        """Switches the node off. No proof by itself: read the power afterwards."""
        return await self._switch(use, Action.OFF, until_s)

    async def power_on(self, use: DeviceUse, until_s: float) -> Attempt:
        return await self._switch(use, Action.ON, until_s)

    async def plugs(self, use: DeviceUse, until_s: float) -> frozenset[str] | None:
        """The plugs that the device lists, None where it lists none."""
        try:
            return await self._plugs(use, until_s)
        except _Unfit:
            return None

    async def faults(self, use: DeviceUse) -> tuple[str, ...]:
        """Why this device cannot be used from here, found without asking it; empty where it can."""
        try:
            await self._prepared(use, Action.STATUS)
        except _Unfit as error:
            return error.args
        return ()

    async def identity(self, use: DeviceUse, until_s: float) -> Identity | None:
        """Which server the device says it is in; None where it does not say, or did not answer."""
        known = use.known.identity
        try:
            if known is fence_agents.Identity.IPMI:
                return await self._ipmi_identity(use, until_s)
            if known is fence_agents.Identity.REDFISH:
                return await redfish.identity(use, self._secrets(use), until_s - boot_s())
        except _Unfit:
            return None
        return None

    async def _switch(self, use: DeviceUse, action: Action, until_s: float) -> Attempt:
        try:
            return agents.attempt(await self._run(use, action, until_s))
        except _Unfit as error:
            return Attempt(ok=False, message="; ".join(error.args))

    async def _plugs(self, use: DeviceUse, until_s: float) -> frozenset[str] | None:
        separator = use.options.get("separator", ",")
        return agents.plugs(await self._run(use, Action.LIST, until_s), separator)

    async def _run(self, use: DeviceUse, action: Action, until_s: float) -> Ended:
        program, said, hidden = await self._prepared(use, action)
        return await _told(Run(program), said, until_s, hidden)

    async def _prepared(
        self, use: DeviceUse, action: Action
    ) -> tuple[Path, bytes, tuple[str, ...]]:
        """Program, request and secrets of a run that nothing speaks against. Raises _Unfit."""
        program = self._program(use)
        known = None
        if use.known.kind is not Kind.PROGRAM:
            known = await self._described(program, boot_s() + METADATA_S)
        credentials = self._secrets(use)
        found = agents.faults(use, known, credentials)
        if found:
            raise _Unfit(*found)
        try:
            said = agents.request(use, action, known, credentials)
        except ValueError as error:
            raise _Unfit(str(error)) from None
        return program, said, agents.secrets(credentials)

    def _program(self, use: DeviceUse) -> Path:
        if use.by_hand:
            raise _Unfit(f"no program switches it; look, then: cxm confirm-off {use.node}")
        try:
            return agent_program(use, self._own_programs)
        except ProgramError as error:
            raise _Unfit(str(error)) from None
        except OSError as error:
            raise _Unfit(f"{error.filename}: {error.strerror}") from None

    def _secrets(self, use: DeviceUse) -> Mapping[str, str]:
        if use.credentials_ref is None:
            return {}
        try:
            return self._credentials(use.credentials_ref)
        except CredentialsError as error:
            raise _Unfit(str(error)) from None

    async def _described(self, program: Path, until_s: float) -> Metadata:
        """What the agent says of itself; asked once as long as its file stays the same."""
        key = (program, _changed_ns(program))
        if key not in self._metadata:
            run = Run(program)
            ended = await run.ended(b"action=metadata\n", until_s)
            try:
                self._metadata[key] = metadata.metadata(ended.out.encode())
            except MetadataError as error:
                raise _Unfit(f"{program}: its metadata: {error}; is it a fence agent?") from None
        return self._metadata[key]

    async def _ipmi_identity(self, use: DeviceUse, until_s: float) -> Identity | None:
        try:
            program = system_program(ipmi.PROGRAM, "ipmitool")
        except ProgramError as error:
            raise _Unfit(str(error)) from None
        credentials = self._secrets(use)
        said = f"{credentials.get('password', '')}\n".encode()
        guid, fru = ipmi.questions(use, credentials.get("username", ""))
        async with asyncio.TaskGroup() as both:
            first = both.create_task(Run(program, guid).ended(said, until_s))
            second = both.create_task(Run(program, fru).ended(said, until_s))
        answers = first.result(), second.result()
        return ipmi.identity(*(answer.out if answer.code == 0 else "" for answer in answers))


def _changed_ns(program: Path) -> int:
    return program.stat().st_mtime_ns


async def _told(run: Run, said: bytes, until_s: float, hidden: tuple[str, ...]) -> Ended:
    """What the run said, with nothing of the secrets in it."""
    ended = await run.ended(said, until_s)
    return Ended(
        code=ended.code,
        out=agents.redacted(ended.out, hidden, cut=run.out.cut),
        err=agents.redacted(ended.err, hidden, cut=run.err.cut),
    )
