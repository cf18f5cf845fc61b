"""Purge markers beside the entries on disk."""

import asyncio
import os
import stat
from itertools import product
from pathlib import Path

import pytest

from cache.adapters.disk.purges import FILE, DiskPurgeCopy
from cache.adapters.memory.purges import MemoryPurges
from cache.marker import pack_marker, unpack_marker
from cache.ports import Entry, Key, Purge, PurgesAway
from cache.purge_board import PurgeBoard
from scheduler.adapters.clock import FakeClock

OURS, LABEL, DIGEST = b"\0{:}" * 4, b"label\0{}", b"\xff" * 32
EVERY = [
    Purge(number, *selector)
    for number, selector in enumerate(
        product((None, OURS), (None, "", "m\0{}:\xfc"), (None, LABEL), (None, DIGEST)), start=1
    )
]


def copy(folder: Path) -> DiskPurgeCopy:
    return DiskPurgeCopy(folder, lambda: 1_000)


@pytest.mark.parametrize("purge", EVERY)
def test_a_marker_is_read_as_it_was_written(purge: Purge) -> None:
    assert unpack_marker(pack_marker(purge), purge.before_ms) == purge


async def test_markers_survive_in_the_folder_which_is_made_when_it_is_not_there(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "disk"
    assert await copy(folder).read() == []
    await copy(folder).write(EVERY)
    assert await copy(folder).read() == EVERY
    await copy(folder).write([])
    assert await copy(folder).read() == []


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "longer"])
async def test_markers_that_are_not_what_was_written_kill_everything(tmp_path: Path, damage: str) -> None:
    await copy(tmp_path).write(EVERY)
    file = tmp_path / FILE
    content = file.read_bytes()
    middle = len(content) // 2
    file.write_bytes(
        {
            "cut": content[:-40],
            "flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
            "empty": b"",
            "longer": content + b"\0",
        }[damage]
    )
    assert await copy(tmp_path).read() == [Purge(1_000)]


async def test_of_two_writes_that_overlap_the_later_one_stays(tmp_path: Path) -> None:
    one = copy(tmp_path)
    for _ in range(20):
        await asyncio.gather(*(one.write(EVERY[:count]) for count in range(1, 9)))
        assert await copy(tmp_path).read() == EVERY[:8]


async def test_a_purge_that_cannot_be_written_is_refused_holds_all_the_same_and_is_written_when_it_can_be(
    tmp_path: Path,
) -> None:
    in_the_way = tmp_path / "disk" / f"{FILE}.new"
    in_the_way.mkdir(parents=True)
    clock, shared = FakeClock(), MemoryPurges()
    board = PurgeBoard(shared.view(), clock, longest_ttl_ms=10_000, copy=copy(tmp_path / "disk"))
    with pytest.raises(PurgesAway):
        await board.purge(model="m")
    made = list(board.markers)
    assert [purge.model for purge in made] == ["m"]
    assert await shared.view().read(0) == made
    assert await copy(tmp_path / "disk").read() == []
    in_the_way.rmdir()
    async with asyncio.TaskGroup() as group:
        following = group.create_task(board.follow())
        await asyncio.sleep(0)
        await board.kept()
        following.cancel()
    assert await copy(tmp_path / "disk").read() == made


async def test_what_cannot_be_written_is_tried_again_also_while_the_others_are_out_of_reach(
    tmp_path: Path,
) -> None:
    in_the_way = tmp_path / f"{FILE}.new"
    in_the_way.mkdir()
    clock = FakeClock()
    board = PurgeBoard(Away(), clock, longest_ttl_ms=10_000, copy=copy(tmp_path))
    async with asyncio.TaskGroup() as group:
        with pytest.raises(PurgesAway):
            await board.purge(model="m")
        following = group.create_task(board.follow())
        await clock.until_asleep()
        in_the_way.rmdir()
        clock.advance(0.25)
        await clock.until_asleep()
        following.cancel()
    assert await copy(tmp_path).read() == list(board.markers)


async def test_purges_that_come_while_one_is_written_are_written_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    replace = Path.replace

    def counted(self: Path, target: Path) -> Path:
        # A thread that another test left behind may replace a file of its own.
        if target.parent == tmp_path:
            written.append(target)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", counted)
    one = copy(tmp_path)
    assert all(await asyncio.gather(*(one.write(EVERY[:count]) for count in range(1, 17))))
    assert await copy(tmp_path).read() == EVERY[:16]
    assert len(written) <= 2


async def test_nobody_else_may_read_the_markers(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        await copy(tmp_path / "disk").write(EVERY)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "disk").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "disk" / FILE).stat().st_mode) == 0o600


class Away:
    """Shared markers that are out of reach."""

    async def add(self, purge: Purge, keep_until_ms: int) -> None:
        raise PurgesAway("away")

    async def read(self, now_ms: int) -> list[Purge]:
        raise PurgesAway("away")

    async def changed(self) -> None:
        raise PurgesAway("away")


async def test_a_purge_that_nobody_could_be_told_of_is_known_after_a_restart(tmp_path: Path) -> None:
    clock = FakeClock()
    board = PurgeBoard(Away(), clock, longest_ttl_ms=10_000, copy=copy(tmp_path))
    with pytest.raises(PurgesAway):
        await board.purge(namespace=OURS)
    again = PurgeBoard(Away(), clock, longest_ttl_ms=10_000, copy=copy(tmp_path))
    await again.recall()
    entry = Entry(b"", "m", b"", (), clock.now_ms() - 1, clock.now_ms() + 1_000, 1.0, False)
    assert again.markers.dead(Key(OURS, DIGEST), entry)
    assert not again.current


async def test_markers_of_others_are_copied_too_and_those_whose_time_is_over_are_not(tmp_path: Path) -> None:
    clock, shared = FakeClock(), MemoryPurges()
    here = PurgeBoard(shared.view(), clock, longest_ttl_ms=10_000)
    there = PurgeBoard(shared.view(), clock, longest_ttl_ms=10_000, copy=copy(tmp_path))
    old = await here.purge(model="old")
    await there.refresh()
    assert await copy(tmp_path).read() == [old]
    clock.advance(20.0)
    new = await here.purge(model="new")
    await there.refresh()
    assert await copy(tmp_path).read() == [new]


async def test_a_store_that_lost_the_markers_gets_them_from_the_copy(tmp_path: Path) -> None:
    clock = FakeClock()
    board = PurgeBoard(MemoryPurges().view(), clock, longest_ttl_ms=10_000, copy=copy(tmp_path))
    made = await board.purge(label=LABEL)
    empty = MemoryPurges()
    again = PurgeBoard(empty.view(), clock, longest_ttl_ms=10_000, copy=copy(tmp_path))
    await again.recall()
    await again.refresh()
    assert await empty.view().read(0) == [made]
