"""Noticing what does not come back."""

import asyncio
import time

import pytest

from inference.runner.watchdog import LATE_S, Watchdog

from .fakes import LONGEST_WAIT_S


async def test_it_bites_once_what_began_is_too_old() -> None:
    bitten = asyncio.Event()
    watchdog = Watchdog(0.02, bitten.set)
    watchdog.start()
    watchdog.began_s = time.monotonic()
    async with asyncio.timeout(LONGEST_WAIT_S):
        await bitten.wait()
    assert time.monotonic() - watchdog.began_s >= 0.02


async def test_it_notices_in_time_what_began_between_two_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []
    watchdog = Watchdog(10.0, lambda: looks.append(-1.0))
    now_s = time.monotonic()
    monkeypatch.setattr(watchdog, "_look_in", looks.append)
    watchdog.began_s = now_s - 4.0
    watchdog._look(now_s)
    assert looks == [pytest.approx(6.0, abs=0.1)]
    watchdog.began_s = now_s - 10.0
    watchdog._look(now_s)
    assert looks[1:] == [-1.0]


async def test_it_leaves_alone_what_ends_in_time_and_an_engine_that_rests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[float] = []
    watchdog = Watchdog(10.0, lambda: looks.append(-1.0))
    monkeypatch.setattr(watchdog, "_look_in", looks.append)
    watchdog._look(time.monotonic())
    assert looks == [10.0]


async def test_a_process_that_stood_still_gets_its_time_again(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []
    watchdog = Watchdog(10.0, lambda: looks.append(-1.0))
    monkeypatch.setattr(watchdog, "_look_in", looks.append)
    now_s = time.monotonic()
    watchdog.began_s = now_s - 600
    watchdog._look(now_s - 500 - LATE_S)
    assert looks == [10.0]


async def test_stopping_is_harmless_at_any_time() -> None:
    watchdog = Watchdog(0.0, lambda: pytest.fail("bitten"))
    watchdog.stop()
    watchdog.began_s = 0.0
    watchdog.start()
    watchdog.stop()
    watchdog.stop()
    await asyncio.sleep(0)
