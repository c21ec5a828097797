"""Virtual time, and the three ways of a clock to run."""

import asyncio
import time

import pytest

from simulator.clock import STEPPED_EPOCH, Clock, Deadlock, VirtualTimeLoop, run_virtual


async def test_hours_pass_in_no_time() -> None:
    clock, real = Clock(), time.monotonic()
    before = clock.now()
    await clock.sleep(36_000)
    assert clock.now() - before == pytest.approx(36_000)
    assert time.monotonic() - real < 1


async def test_sleepers_wake_in_the_order_of_their_deadlines() -> None:
    clock, woken = Clock(), []

    async def sleeper(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((seconds, round(clock.now(), 3)))

    await asyncio.gather(*(sleeper(s) for s in (3, 1, 2, 1)))
    assert woken == [(1, 1.0), (1, 1.0), (2, 2.0), (3, 3.0)]


async def test_speed_shortens_work_and_nothing_else() -> None:
    clock = Clock(speed=60)
    await clock.work(60)
    assert clock.now() == pytest.approx(1)
    await clock.sleep(60)
    assert clock.now() == pytest.approx(61)


async def test_advance_wakes_what_is_due_and_leaves_the_rest() -> None:
    clock = Clock()
    early = asyncio.create_task(clock.sleep(20))
    late = asyncio.create_task(clock.sleep(50))
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    clock.advance(30)
    await early
    assert loop.time() == pytest.approx(0)
    await late
    assert loop.time() == pytest.approx(20)


async def test_wall_time_starts_at_the_epoch_and_follows_the_clock() -> None:
    clock = Clock()
    assert clock.wall() == STEPPED_EPOCH
    assert clock.date() == "20260822T10:00:00Z"
    clock.advance(90)
    assert clock.date() == "20260822T10:01:30Z"


def test_a_clock_refuses_to_go_back_or_stand() -> None:
    with pytest.raises(ValueError, match="above 0"):
        Clock(speed=0)

    async def back() -> None:
        Clock().advance(-1)

    with pytest.raises(ValueError, match="cannot go back"):
        run_virtual(back())


def test_waiting_for_what_cannot_come_is_an_error_not_a_hang() -> None:
    async def forlorn() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock):
        run_virtual(forlorn())


def test_run_virtual_gives_the_result() -> None:
    async def kind() -> str:
        await asyncio.sleep(1e6)
        return type(asyncio.get_running_loop()).__name__

    assert run_virtual(kind()) == VirtualTimeLoop.__name__


async def test_an_abandoned_sleep_does_not_ring() -> None:
    clock = Clock()
    sleeper = asyncio.create_task(clock.sleep(5))
    await asyncio.sleep(0)
    sleeper.cancel()
    await clock.sleep(10)
    assert sleeper.cancelled()
    assert clock.now() == pytest.approx(10)
