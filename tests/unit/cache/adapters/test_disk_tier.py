"""The cache's tier on disk: over restarts, within its bounds, on a full disk and with a damaged database."""

import asyncio
import os
import resource
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cache.adapters.disk import DiskInUse, DiskTier
from cache.adapters.disk import database as module_of_database
from cache.adapters.disk import jobs as module_of_jobs
from cache.adapters.disk.database import Database
from cache.adapters.disk.faults import DatabaseFault
from cache.adapters.disk.layout import PIECE_BYTES
from cache.adapters.disk.tier import ENTRIES
from cache.adapters.threads import BoundedThreads, TooManyCalls
from cache.ports import TierAway
from tests.conformance.cache_tiers import HOUR, NOW, ROOM, held, new_entry, new_key, one, tier_settings


async def open_tier(folder: Path, now_ms: int = NOW, **settings: Any) -> DiskTier:
    return await DiskTier.open(folder, tier_settings(**settings), Random(1), now_ms, lookup_s=10.0)


def files_bytes(folder: Path) -> int:
    """What the tables in a folder take."""
    return sum(path.stat().st_size for path in folder.rglob("*.sst"))


def spoil_tables(folder: Path) -> None:
    """Change a byte of every table in a folder."""
    for path in folder.rglob("*.sst"):
        content = bytearray(path.read_bytes())
        content[len(content) // 4] ^= 0xFF
        path.write_bytes(bytes(content))


def spoil_list(folder: Path) -> None:
    """Damage what says which tables there are."""
    for path in folder.rglob("MANIFEST-*"):
        path.write_bytes(b"damaged" * 100)


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process can grow beyond 64 kB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_entries_are_there_after_a_restart_but_those_whose_time_was_over_meanwhile(
    tmp_path: Path,
) -> None:
    tier = await open_tier(tmp_path)
    await tier.put([(new_key(n, "ab"[n % 2]), new_entry(n)) for n in range(10)], NOW)
    await tier.put([(new_key(99), new_entry(99, fresh_until_ms=NOW + 50))], NOW)
    await tier.put([(new_key(50), new_entry(50, 5 * PIECE_BYTES + 7))], NOW)
    before = tier.stats(by_namespace=True)
    await tier.close()
    again = await open_tier(tmp_path, NOW + 100)
    for n in range(10):
        assert await one(again, new_key(n, "ab"[n % 2]), NOW + 100) == new_entry(n)
    assert await one(again, new_key(50), NOW + 100) == new_entry(50, 5 * PIECE_BYTES + 7)
    assert await one(again, new_key(99), NOW) is None
    after = again.stats(by_namespace=True)
    assert after.entries == before.entries - 1
    assert after.namespaces[new_key(0, "b").namespace] == before.namespaces[new_key(0, "b").namespace]
    await again.close()


async def test_after_a_restart_with_a_smaller_quota_the_oldest_go(tmp_path: Path) -> None:
    tier = await open_tier(tmp_path)
    entries = [(new_key(n), new_entry(n, fresh_until_ms=NOW + HOUR + n)) for n in range(8)]
    await tier.put(entries, NOW)
    await tier.close()
    again = await open_tier(tmp_path, quota=3 * ROOM)
    assert await held(again, 9) == [5, 6, 7]
    await again.close()
    last = await open_tier(tmp_path)
    assert await held(last, 9) == [5, 6, 7]
    await last.close()


async def compacted(tier: DiskTier) -> None:
    """Return when the database has nothing to compact any more."""
    loaded = tier._connection.loaded
    assert loaded is not None

    def compacting(database: Database) -> bool:
        names = ("rocksdb.num-running-compactions", "rocksdb.compaction-pending")
        return any(database._db.property_int_value(name) for name in names)

    while await tier._connection.run(loaded, compacting, 10.0):  # noqa: ASYNC110  # rocksdict tells nobody
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("restarted", [False, True])
async def test_what_expired_or_was_purged_leaves_the_disk(tmp_path: Path, restarted: bool) -> None:
    tier = await open_tier(tmp_path, capacity=100 << 20)
    for n in range(0, 600, 50):
        batch = [
            (new_key(i), new_entry(i, 8_000, fresh_until_ms=NOW + (HOUR if i < 60 else 100)))
            for i in range(n, n + 50)
        ]
        await tier.put(batch, NOW)
    await tier.sweep(NOW, lambda key, entry: False, 1)
    assert files_bytes(tmp_path) > 4_500_000
    if restarted:
        await tier.close()
        tier = await open_tier(tmp_path, capacity=100 << 20)
    assert await tier.sweep(NOW + 100, lambda key, entry: key.digest < new_key(30).digest, 10_000) == 570
    await tier.sweep(NOW + 60_000, lambda key, entry: False, 10)
    await compacted(tier)
    assert files_bytes(tmp_path) < 600_000
    await tier.close()
    again = await open_tier(tmp_path, NOW + 100)
    assert await held(again, 2_000, now_ms=NOW + 100) == [*range(30, 60)]
    assert await one(again, new_key(40), NOW + 100) == new_entry(40, 8_000, fresh_until_ms=NOW + HOUR)
    await again.close()


async def test_a_crash_loses_at_most_what_was_not_flushed_and_leaves_no_piece_alone(tmp_path: Path) -> None:
    folder, copy = tmp_path / "cache", tmp_path / "copy"
    tier = await open_tier(folder, capacity=200 << 20)
    size = 3 * PIECE_BYTES
    await tier.put([(new_key(n), new_entry(n, size)) for n in range(8)], NOW)
    await tier.sweep(NOW, lambda key, entry: False, 1)
    for n in range(100, 120):
        await tier.put([(new_key(n), new_entry(n, size))], NOW)
    await compacted(tier)
    # What is in the files at this moment is what a killed process leaves.
    await asyncio.to_thread(shutil.copytree, folder, copy)
    await tier.close()
    again = await open_tier(copy, capacity=200 << 20)
    for n in range(8):
        assert await one(again, new_key(n)) == new_entry(n, size)
    for n in range(100, 120):
        assert await one(again, new_key(n)) in (None, new_entry(n, size))
    known = await held(again, 200)
    assert known == [n for n in range(130) if await one(again, new_key(n)) is not None]
    loaded = again._connection.loaded
    assert loaded is not None
    names = await again._connection.run(loaded, lambda db: list(db._db.keys()), 10.0)
    pieces = {name[17:49] for name in names if isinstance(name, bytes) and name.startswith(b"c")}
    assert pieces == {new_key(n).digest for n in known}
    del names
    await again.close()


async def test_the_bytes_on_disk_stay_bounded_however_much_passes_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module_of_database, "_TABLE_BYTES", 256 << 10)
    tier = await open_tier(tmp_path, capacity=1 << 20)
    for n in range(0, 400, 50):
        await tier.put([(new_key(i), new_entry(i, 20_000)) for i in range(n, n + 50)], NOW + n)
        await compacted(tier)
    assert tier.stats().held_bytes <= 1 << 20
    assert tier.stats().evictions > 340
    # 8 MB passed through a tier of 1 MiB; what is not compacted yet is a table or a few.
    assert files_bytes(tmp_path) < 4_000_000
    await tier.close()


async def test_small_entries_count_for_enough_to_bound_the_index(tmp_path: Path) -> None:
    tier = await open_tier(tmp_path, capacity=40 * 4096)
    await tier.put([(new_key(n), new_entry(n, 10)) for n in range(100)], NOW)
    assert tier.stats().entries == 40
    await tier.close()


async def test_a_damaged_entry_is_a_miss_and_is_removed(tmp_path: Path) -> None:
    tier = await open_tier(tmp_path)
    await tier.put([(new_key(1), new_entry(1)), (new_key(2), new_entry(2)), (new_key(3), new_entry(3))], NOW)
    loaded = tier._connection.loaded
    assert loaded is not None

    def spoil(database: Database) -> None:
        value: Any
        for n, change in ((1, b"x"), (2, None)):
            name = b"c" + new_key(n).namespace + new_key(n).digest + bytes(4)
            if change is None:
                del database._db[name]
            else:
                value = database._db[name]
                database._db[name] = value[:100] + change + value[101:]

    await tier._connection.run(loaded, spoil, 10.0)
    assert await tier.get([new_key(n) for n in (1, 2, 3)], NOW) == [None, None, new_entry(3)]
    assert tier.stats().damaged == 1
    assert await held(tier, 5) == [3]
    await tier.close()


async def test_a_full_disk_costs_entries_and_the_tier_comes_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tier = await open_tier(tmp_path)
    await tier.put([(new_key(1), new_entry(1))], NOW)
    await tier.sweep(NOW, lambda key, entry: False, 1)
    with full_disk():
        await tier.put([(new_key(n), new_entry(n)) for n in range(10, 20)], NOW)
        with pytest.raises(TierAway):
            await tier.sweep(NOW + HOUR // 2, lambda key, entry: False, 1)
    assert "cache on disk failed" in caplog.text
    assert await one(tier, new_key(1)) == new_entry(1)
    await tier.put([(new_key(2), new_entry(2))], NOW)
    assert await one(tier, new_key(2)) == new_entry(2)
    await tier.close()


@pytest.mark.parametrize("name", ["MANIFEST-*", "CURRENT"])
async def test_a_damaged_database_is_thrown_away_and_begun_anew(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "cache"
    tier = await open_tier(folder)
    await tier.put([(new_key(1), new_entry(1))], NOW)
    await tier.close()
    [path] = folder.rglob(name)
    path.write_bytes(b"no such thing\n" * 10)
    again = await open_tier(folder)
    assert "cache on disk thrown away" in caplog.text
    assert await one(again, new_key(1)) is None
    await again.put([(new_key(2), new_entry(2))], NOW)
    assert await one(again, new_key(2)) == new_entry(2)
    await again.close()


async def test_a_table_with_a_wrong_byte_costs_its_entries_and_no_error(tmp_path: Path) -> None:
    tier = await open_tier(tmp_path)
    await tier.put([(new_key(n), new_entry(n)) for n in range(20)], NOW)
    await tier.close()
    spoil_tables(tmp_path)
    again = await open_tier(tmp_path)
    found = await again.get([new_key(n) for n in range(20)], NOW)
    assert all(entry in (None, new_entry(n)) for n, entry in enumerate(found))
    assert None in found
    await again.put([(new_key(1), new_entry(1))], NOW)
    assert await one(again, new_key(1)) == new_entry(1)
    await again.close()


async def test_a_folder_has_one_user_at_a_time(tmp_path: Path) -> None:
    tier = await open_tier(tmp_path)
    await tier.put([(new_key(1), new_entry(1))], NOW)
    with pytest.raises(DiskInUse):
        await open_tier(tmp_path)
    assert await one(tier, new_key(1)) == new_entry(1)
    await tier.close()
    await (await open_tier(tmp_path)).close()


async def test_a_folder_that_another_process_has_is_in_use(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib\n"
        "from cache.adapters.disk.database import Database\n"
        "database = Database(pathlib.Path(sys.argv[1]))\n"
        "print('open', flush=True)\n"
        "sys.stdin.read()\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(tmp_path / ENTRIES), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"open\n"
    with pytest.raises(DiskInUse):
        await open_tier(tmp_path)
    await process.communicate(b"")
    await (await open_tier(tmp_path)).close()


async def test_a_database_that_fails_while_it_is_read_is_opened_by_a_later_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tier = await open_tier(tmp_path)
    await tier.put([(new_key(1), new_entry(1))], NOW)
    await tier.close()

    def fails(self: Database, after: object, limit: int) -> list[Any]:
        raise DatabaseFault("an error of the disk")

    with monkeypatch.context() as patch:
        patch.setattr(Database, "facts", fails)
        again = await open_tier(tmp_path)
        with pytest.raises(TierAway) as kept:
            await again.get([new_key(1)], NOW)
    assert await one(again, new_key(1)) == new_entry(1)
    assert "DatabaseFault" in str(kept.value)
    await again.close()


async def test_a_folder_that_cannot_be_made_makes_a_tier_that_is_away_until_it_can(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("in the way")
    tier = await open_tier(place)
    for _ in range(2):
        with pytest.raises(TierAway):
            await tier.get([new_key(1)], NOW)
    assert tier.stats().away == 2
    place.unlink()
    await tier.put([(new_key(1), new_entry(1))], NOW)
    assert await one(tier, new_key(1)) == new_entry(1)
    await tier.close()
    with pytest.raises(TierAway):
        await tier.get([new_key(1)], NOW)


async def test_a_tier_that_takes_long_to_be_read_is_away_until_it_has_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await open_tier(tmp_path)
    await first.put([(new_key(1), new_entry(1))], NOW)
    await first.close()
    go_on = threading.Event()
    load = module_of_jobs.load

    def slow(*given: Any) -> Database:
        go_on.wait()
        return load(*given)

    monkeypatch.setattr(module_of_jobs, "load", slow)
    tier = await DiskTier.open(tmp_path, tier_settings(), Random(1), NOW, lookup_s=0.01, open_s=0.01)
    with pytest.raises(TierAway):
        await tier.get([new_key(1)], NOW)
    assert tier.stats().entries == 0
    go_on.set()
    opening = tier._connection._opening
    assert opening is not None
    await asyncio.wait([opening])
    tier._lookup_s = 10.0
    assert await one(tier, new_key(1)) == new_entry(1)
    await tier.close()


async def test_a_key_that_is_not_there_is_answered_without_the_disk(tmp_path: Path) -> None:
    tier = await open_tier(tmp_path)
    loaded = tier._connection.loaded
    assert loaded is not None
    loop = asyncio.get_running_loop()
    go_on = asyncio.Event()
    busy = asyncio.ensure_future(
        tier._connection.run(
            loaded, lambda _: asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(), 10.0
        )
    )
    await asyncio.sleep(0)
    assert await one(tier, new_key(1)) is None
    assert not busy.done()
    go_on.set()
    await busy
    await tier.close()


async def test_a_disk_that_does_not_answer_costs_the_deadline_and_no_more(tmp_path: Path) -> None:
    tier = await DiskTier.open(tmp_path, tier_settings(), Random(1), NOW, lookup_s=0.01)
    await tier.put([(new_key(1), new_entry(1))], NOW)
    loaded = tier._connection.loaded
    assert loaded is not None
    loop = asyncio.get_running_loop()
    go_on = asyncio.Event()
    busy = asyncio.ensure_future(
        tier._connection.run(
            loaded, lambda _: asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(), 10.0
        )
    )
    await asyncio.sleep(0)
    with pytest.raises(TierAway):
        await tier.get([new_key(1)], NOW)
    go_on.set()
    await busy
    await tier.close()


async def test_the_thread_takes_no_more_calls_than_it_may_but_those_that_must_be_made() -> None:
    thread = BoundedThreads("test", 1, 2)
    loop = asyncio.get_running_loop()
    go_on = asyncio.Event()
    first = thread.start(lambda: asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result())
    second = thread.start(lambda: 2)
    with pytest.raises(TooManyCalls):
        thread.start(lambda: 3)
    third = thread.start(lambda: 4, always=True)
    go_on.set()
    assert [await first, await second, await third] == [True, 2, 4]
    await asyncio.sleep(0)
    assert await thread.start(lambda: os.getpid()) == os.getpid()
    thread.close()


async def test_throwing_a_damaged_database_away_leaves_everything_else_in_the_folder(tmp_path: Path) -> None:
    tier = await open_tier(tmp_path)
    await tier.put([(new_key(1), new_entry(1))], NOW)
    await tier.close()
    (tmp_path / "precious").write_text("not ours")
    spoil_list(tmp_path)
    again = await open_tier(tmp_path)
    assert again.stats().entries == 0
    await again.put([(new_key(2), new_entry(2))], NOW)
    assert await one(again, new_key(2), NOW) == new_entry(2)
    await again.close()
    assert (tmp_path / "precious").read_text() == "not ours"


@pytest.mark.parametrize("there", [False, True])
async def test_nobody_else_may_read_the_entries(tmp_path: Path, there: bool) -> None:
    folder = tmp_path / "disk"
    before = os.umask(0o022)
    try:
        if there:
            (folder / ENTRIES).mkdir(parents=True)
        tier = await open_tier(folder)
        await tier.put([(new_key(1), new_entry(1))], NOW)
        await tier.close()
    finally:
        os.umask(before)
    [tables] = {path.parent for path in folder.rglob("CURRENT")}
    assert stat.S_IMODE(tables.stat().st_mode) == 0o700
