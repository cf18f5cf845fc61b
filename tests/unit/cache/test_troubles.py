"""What is wrong behind the cache is on the page, and only while it is."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from cache.adapters.disk.purges import FILE, DiskPurgeCopy
from cache.adapters.memory import MemoryPurges
from cache.faults import Faults
from cache.ports import Purge, PurgesAway
from cache.purge_board import PurgeBoard
from cache.troubles import Troubles
from observability import names
from observability.caching import CacheMetrics
from observability.metrics import new_registry
from scheduler.adapters.clock import FakeClock


class Page:
    """The page of a process whose cache has this board and these faults."""

    def __init__(self, board: PurgeBoard, faults: Sequence[Faults] = ()) -> None:
        self.registry = new_registry()
        CacheMetrics(self.registry, str).suffers(Troubles(board, faults, ["redis"]))

    def shows(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


class Unreadable:
    """Markers that cannot be read while somebody says so."""

    away = True

    async def add(self, purge: Purge, keep_until_ms: int) -> None:
        raise AssertionError("nothing is purged")

    async def read(self, now_ms: int) -> list[Purge]:
        if self.away:
            raise PurgesAway("they do not answer")
        return []

    async def changed(self) -> None:
        raise PurgesAway("they do not answer")


async def test_markers_that_are_not_read_are_shown_until_they_are() -> None:
    purges = Unreadable()
    board = PurgeBoard(purges, FakeClock(), longest_ttl_ms=1_000)
    page = Page(board)
    with pytest.raises(PurgesAway):
        await board.refresh()
    assert page.shows(names.CACHE_PURGES_UNREAD) == 1
    purges.away = False
    await board.refresh()
    assert page.shows(names.CACHE_PURGES_UNREAD) == 0


async def test_a_purge_that_is_not_on_the_disk_is_shown_until_it_is_and_each_try_is_counted(
    tmp_path: Path,
) -> None:
    clock = FakeClock()
    board = PurgeBoard(
        MemoryPurges().view(),
        clock,
        longest_ttl_ms=1_000,
        copy=DiskPurgeCopy(tmp_path, clock.now_ms),
    )
    page = Page(board)
    await board.refresh()
    assert page.shows(names.CACHE_PURGES_UNWRITTEN) == 0
    in_the_way = tmp_path / f"{FILE}.new"
    in_the_way.mkdir()
    with pytest.raises(PurgesAway):
        await board.purge(model="m")
    assert page.shows(names.CACHE_PURGES_UNWRITTEN) == 1
    assert page.shows(names.CACHE_FAULTS, place="purge_copy") == 1
    in_the_way.rmdir()
    await board.refresh()
    assert page.shows(names.CACHE_PURGES_UNWRITTEN) == 0
    assert page.shows(names.CACHE_FAULTS, place="purge_copy") == 1


async def test_faults_of_all_parts_are_shown_by_place() -> None:
    board = PurgeBoard(MemoryPurges().view(), FakeClock(), longest_ttl_ms=1_000)
    tiers, flights = Faults(lambda: 0.0), Faults(lambda: 0.0)
    page = Page(board, (tiers, flights))
    # Nought is shown, or the first fault would be no increase.
    assert (
        page.shows(names.CACHE_FAULTS, place="tier_redis")
        == page.shows(names.CACHE_FAULTS, place="flights")
        == 0
    )
    for _ in range(2):
        tiers.note("tier redis", ValueError("one"))
    flights.note("flights", ValueError("two"))
    assert page.shows(names.CACHE_FAULTS, place="tier_redis") == 2
    assert page.shows(names.CACHE_FAULTS, place="flights") == 1
