"""`python -m tests.membership.etcd.contender_process ACCESS CLUSTER NAME`: one node in a process of its own.

ACCESS is JSON. Each standing is a line of JSON on stdout, with when it was told.
"""

from __future__ import annotations

import asyncio
import sys
import time

import msgspec

from membership.edge.etcd import EtcdEngine
from membership.edge.node_settings import EngineAccess
from membership.roster import Timing
from membership.view import Standing

TIMING = Timing(interval_s=0.4, suspect_after_s=2.0)


def boot_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def told(standing: Standing) -> None:
    line = msgspec.json.encode({"at_s": boot_s(), "standing": standing})
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


def complain(text: str) -> None:
    sys.stderr.write(f"{text}\n")


async def main(access: str, cluster_id: str, name: str) -> None:
    settings = msgspec.json.decode(access, type=EngineAccess)
    engine = EtcdEngine(settings, cluster_id, name, TIMING, told, boot_s, complain)
    engine.stand(True, 0)
    await engine.run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
