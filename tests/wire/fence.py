"""Real fence agents, as anybody would run them: what they are told goes in on stdin."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from simulator.wire.children import Agent

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONWARNINGS": "ignore", "LC_ALL": "C"}
ON, FAILED, OFF = 0, 1, 2
"""What `status` exits with."""


@dataclass(frozen=True, slots=True)
class Said:
    code: int
    text: str


async def run(*command: str, given: str = "") -> Said:
    """A program with nothing of ours in its environment, to its end."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=ENVIRONMENT,
    )
    output, _ = await process.communicate(given.encode())
    assert process.returncode is not None
    return Said(process.returncode, output.decode())


async def fence(agent: Agent, action: str, **other: str) -> Said:
    """One run of the agent."""
    told: Mapping[str, str] = {**agent.options, **other, "action": action}
    return await run(agent.name, given="".join(f"{key}={told[key]}\n" for key in told))
