"""How often purges are written."""

import asyncio
from pathlib import Path

import pytest

from cache.adapters.disk.purges import DiskPurgeCopy
from cache.adapters.memory.purges import MemoryPurges
from cache.ports import Purge
from cache.purge_board import PurgeBoard
from cache.purge_pace import GATHER_S, MOST_AT_ONCE, PurgePace
from scheduler.adapters.clock import FakeClock


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_one_who_purges_without_end_writes_twenty_times_a_second_after_a_few_at_once() -> None:
    clock = FakeClock()
    pace, turns = PurgePace(clock), 0

    async def purge_without_end() -> None:
        nonlocal turns
        while True:
            await pace.turn()
            turns += 1

    async with asyncio.TaskGroup() as group:
        purging = group.create_task(purge_without_end())
        await settle()
        assert turns == MOST_AT_ONCE
        for _ in range(100):
            clock.advance(GATHER_S / 5)
            await settle()
        assert MOST_AT_ONCE + 15 <= turns <= MOST_AT_ONCE + 25
        purging.cancel()
    clock.advance(60)
    for _ in range(MOST_AT_ONCE):
        async with asyncio.timeout(0.5):
            await pace.turn()


async def test_all_who_wait_go_together_however_many_they_are() -> None:
    clock = FakeClock()
    pace = PurgePace(clock)
    async with asyncio.TaskGroup() as group:
        turns = [group.create_task(pace.turn()) for _ in range(10 * MOST_AT_ONCE)]
        await settle()
        assert sum(turn.done() for turn in turns) == MOST_AT_ONCE
        clock.advance(GATHER_S)


async def test_purges_of_one_moment_are_a_few_writes_and_each_is_dead_before_it_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = 0
    replace = Path.replace

    def counted(self: Path, target: Path) -> Path:
        nonlocal written
        written += target.parent == tmp_path
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", counted)
    clock, shared = FakeClock(), MemoryPurges()
    copy = DiskPurgeCopy(tmp_path, clock.now_ms)
    board = PurgeBoard(shared.view(), clock, longest_ttl_ms=10_000, copy=copy)
    async with asyncio.TaskGroup() as group:
        purges = [group.create_task(board.purge(digest=number.to_bytes(32, "big"))) for number in range(300)]
        await settle()
        # It holds here at once, also what is not written yet.
        assert len(board.markers) == len(purges)
        clock.advance(GATHER_S)
    assert sorted(await copy.read(), key=digest_of) == sorted(
        (each.result() for each in purges), key=digest_of
    )
    assert written <= 3


def digest_of(purge: Purge) -> bytes:
    return purge.digest or b""
