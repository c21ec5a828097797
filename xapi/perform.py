"""Carries out one call and says what the pool answered."""

from __future__ import annotations

import asyncio
import logging

from reconciler.actions import Answer, Call, Done, Retry, Unsure
from reconciler.observed import STALE_AFTER_S
from xapi.acting import Acting
from xapi.cache import Cache
from xapi.calls import Refused, Request, request_for
from xapi.outcomes import SOON_S, judge, judge_loss
from xapi.records import PENDING, TXN_KEY
from xapi.resets import RESETTING
from xapi.session import Permitted, PoolSession, always
from xapi.transport import Unavailable, XapiFailure

LOOK_S = 10.0
"""A task is awaited through the event cache; after so long without a word of the pool it is asked
for directly, since it may have ended and vanished before the cache ever saw it."""

SHOWN_S = 3.0
"""So long the tag of a reset, which is over, is waited for."""

_VANISHED = Unsure(
    reason="TaskVanished",
    message="The task is gone without a result, as after a restart of the pool master.",
)

_log = logging.getLogger("cxm.xapi")


class Performer:
    """Carries out calls in the acting session where one is needed, else in the one that `cache` follows.

    What only looks is asked for in the latter in any case.
    """

    def __init__(self, session: PoolSession, cache: Cache, acting: Acting) -> None:
        self._session = session
        self._cache = cache
        self._acting = acting

    async def perform(
        self, txn: str, call: Call, timeout_s: float, permitted: Permitted = always
    ) -> Answer:
        """Make `call`; its task bears `txn`. Answers within `timeout_s` and a little.

        `permitted` is asked right before the request leaves; once it says no nothing is begun, and
        the answer is a Retry for `LeaseOver`. Where the acting session is over it is one for
        `SessionRevoked`, and nothing is begun either.

        Cancelling it leaves the task to itself: the pool finishes it or not, and whoever looks
        later finds it by its tag, or by its name where it was cut off before it was tagged.
        """
        unseen = self._unseen()
        if unseen is not None:
            return unseen
        try:
            request = request_for(call, self._cache.tables)
        except Refused as refused:
            return refused.answer
        try:
            if not request.lasting:
                return await self._set(request, timeout_s, permitted)
            return await self._run(txn, request, timeout_s, permitted)
        except Unavailable as failure:
            return judge_loss(failure)

    def _unseen(self) -> Retry | None:
        """A refusal where the pool was not seen for so long that references may mean nothing."""
        as_of_s = self._cache.as_of_s
        if as_of_s is not None and asyncio.get_running_loop().time() - as_of_s <= STALE_AFTER_S:
            return None
        message = "The pool has not been seen for too long to act on it."
        return Retry(reason="PoolNotObserved", message=message, after_s=SOON_S)

    async def _set(self, request: Request, timeout_s: float, permitted: Permitted) -> Answer:
        # Setting twice is setting once: such a call may be made again in a new session.
        await self._acting.change(
            request.method, *request.params, deadline_s=timeout_s, permitted=permitted
        )
        return Done()

    async def _run(
        self, txn: str, request: Request, timeout_s: float, permitted: Permitted
    ) -> Answer:
        ends_s = asyncio.get_running_loop().time() + timeout_s
        name = f"Async.{request.method}"
        task = str(
            await self._acting.change(name, *request.params, replay=False, permitted=permitted)
        )
        await self._tag(task, txn)
        try:
            async with asyncio.timeout_at(ends_s):
                answer = await self._ended(task)
        except TimeoutError:
            return await self._give_up(task, timeout_s, permitted)
        if request.method in RESETTING:
            await self._known_as_ours(task)
        await self._aside("task.destroy", task)
        return answer

    async def _known_as_ours(self, task: str) -> None:
        """Until the pool has shown our tag. To whoever learns of it in the moment in which the task is gone,
        on whatever node, the reset was somebody else's."""
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + SHOWN_S
        while (record := self._cache.task(task)) is not None and loop.time() < ends_s:
            if TXN_KEY in record.other_config:
                return
            await self._cache.wait_changed(ends_s - loop.time())

    async def _tag(self, task: str, txn: str) -> None:
        # Without its tag a task is still known by its name and its object's operation.
        await self._aside("task.add_to_other_config", task, TXN_KEY, txn)

    async def _ended(self, task: str) -> Answer:
        """What became of the task, once it is over."""
        seen_s = asyncio.get_running_loop().time()
        while True:
            record = self._cache.task(task)
            if record is not None and record.status not in PENDING:
                return _judge_task(record.status, record.error_info)
            now_s = asyncio.get_running_loop().time()
            if record is not None:
                seen_s = now_s
            elif now_s - seen_s >= LOOK_S:
                seen_s = now_s
                asked = await self._asked(task)
                if asked is not None:
                    return asked
            await self._cache.wait_changed(LOOK_S)

    async def _asked(self, task: str) -> Answer | None:
        """As the pool says when asked for it; None while it is pending or nobody answers."""
        try:
            status = str(await self._session.call("task.get_status", task))
            if status in PENDING:
                return None
            error = await self._session.call("task.get_error_info", task)
        except XapiFailure as failure:
            return _VANISHED if failure.code == "HANDLE_INVALID" else None
        except Unavailable:
            return None
        return _judge_task(status, [str(part) for part in error] if isinstance(error, list) else [])

    async def _give_up(self, task: str, timeout_s: float, permitted: Permitted) -> Answer:
        asked = await self._aside("task.cancel", task, permitted=permitted)
        what = "cxm asked to cancel it, which a task may ignore or come too late for"
        if not asked:
            what = "cxm could not ask to cancel it"
        return Unsure(
            reason="TimedOut", message=f"It was not over after {timeout_s:.0f} s; {what}."
        )

    async def _aside(self, method: str, *params: str, permitted: Permitted = always) -> bool:
        """A call whose failure changes nothing about the outcome; False where it may have failed."""
        try:
            await self._acting.change(method, *params, permitted=permitted)
        except Unavailable as failure:
            _log.info("%s: %s", method, failure.message)
            return False
        return True


def _judge_task(status: str, error_info: list[str]) -> Answer:
    """Status first: progress is 1 on failure and cancellation too."""
    if status == "success":
        return Done()
    if status == "cancelled" or not error_info:
        return judge(XapiFailure("TASK_CANCELLED"))
    return judge(XapiFailure(error_info[0], error_info[1:]))
