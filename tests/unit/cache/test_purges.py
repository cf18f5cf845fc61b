import asyncio
from itertools import product

import pytest

from cache.adapters.memory.purges import MemoryPurges, MemoryPurgesView
from cache.ports import Entry, Key, Purge, PurgesAway
from cache.purge_board import GATHER_S, PurgeBoard
from cache.purges import MOST_PER_NAMESPACE, Markers
from scheduler.adapters.clock import FakeClock

OURS, THEIRS = b"o" * 16, b"t" * 16
LABEL, OTHER_LABEL = b"label-01", b"label-02"
DIGEST, OTHER_DIGEST = b"d" * 32, b"e" * 32


def entry(created_ms: int = 100, model: str = "m", labels: tuple[bytes, ...] = (LABEL,)) -> Entry:
    return Entry(b"body", model, b"identity", labels, created_ms, 10_000, 1.0, False)


def dead(markers: Markers, **fields: object) -> bool:
    namespace, digest = fields.pop("namespace", OURS), fields.pop("digest", DIGEST)
    assert isinstance(namespace, bytes) and isinstance(digest, bytes)
    return markers.dead(Key(namespace, digest), entry(**fields))  # type: ignore[arg-type]


SELECTORS = list(product((None, OURS), (None, "m"), (None, LABEL), (None, DIGEST)))


@pytest.mark.parametrize("selector", SELECTORS)
def test_a_marker_kills_what_matches_every_part_and_nothing_else(
    selector: tuple[bytes | None, str | None, bytes | None, bytes | None],
) -> None:
    markers = Markers()
    assert not dead(markers)
    assert markers.add(Purge(101, *selector))
    namespace, model, label, digest = selector
    assert dead(markers)
    assert not dead(markers, created_ms=101)
    assert dead(markers, namespace=THEIRS) == (namespace is None)
    assert dead(markers, model="n") == (model is None)
    assert dead(markers, labels=()) == (label is None)
    assert dead(markers, labels=(OTHER_LABEL,)) == (label is None)
    assert dead(markers, labels=(OTHER_LABEL, LABEL))
    assert dead(markers, digest=OTHER_DIGEST) == (digest is None)


def test_of_two_markers_with_one_selector_the_later_counts() -> None:
    markers = Markers()
    assert markers.add(Purge(50, OURS))
    assert markers.add(Purge(80, OURS))
    assert not markers.add(Purge(60, OURS))
    assert list(markers) == [Purge(80, OURS)]


def test_a_marker_that_a_broader_one_covers_says_nothing_new() -> None:
    markers = Markers()
    markers.add(Purge(80, OURS))
    assert not markers.add(Purge(80, OURS, "m"))
    assert markers.add(Purge(81, OURS, "m"))
    assert markers.add(Purge(70, THEIRS, "m"))


def test_markers_are_forgotten_when_nothing_is_left_that_they_could_match() -> None:
    markers = Markers()
    for before_ms, model in ((10, "a"), (20, "b"), (30, "c")):
        markers.add(Purge(before_ms, OURS, model))
    assert markers.forget(20) == 2
    assert list(markers) == [Purge(30, OURS, "c")]
    assert len(markers) == 1


def test_more_markers_of_a_namespace_than_may_be_become_one_for_all_of_it() -> None:
    markers = Markers()
    markers.add(Purge(500, THEIRS, "m"))
    for number in range(MOST_PER_NAMESPACE + 1):
        markers.add(Purge(200 + number % 2, OURS, digest=number.to_bytes(32, "big")))
    assert sorted(markers, key=lambda purge: purge.before_ms) == [Purge(201, OURS), Purge(500, THEIRS, "m")]
    assert dead(markers, digest=OTHER_DIGEST)


def test_a_marker_for_all_of_a_namespace_takes_the_place_of_what_it_covers() -> None:
    markers = Markers()
    for before_ms, namespace, model in ((10, OURS, "a"), (30, OURS, "b"), (10, THEIRS, "a"), (10, None, "a")):
        markers.add(Purge(before_ms, namespace, model))
    markers.add(Purge(20, OURS))
    assert set(markers) == {
        Purge(30, OURS, "b"),
        Purge(20, OURS),
        Purge(10, THEIRS, "a"),
        Purge(10, None, "a"),
    }
    markers.add(Purge(25))
    assert set(markers) == {Purge(30, OURS, "b"), Purge(25)}
    assert len(markers) == 2
    assert not markers.add(Purge(24, THEIRS, "a"))


def test_what_a_marker_of_others_covers_is_not_missing_from_theirs() -> None:
    markers = Markers()
    for number in range(3):
        markers.add(Purge(10 + number, OURS, digest=bytes([number]) * 32))
    assert markers.missing_from([Purge(11, OURS)]) == [Purge(12, OURS, digest=b"\2" * 32)]


async def test_many_purges_cost_few_readings() -> None:
    clock, shared = FakeClock(), MemoryPurges()
    (here, side), (there, _) = board(shared, clock), board(shared, clock)
    async with asyncio.TaskGroup() as group:
        following = group.create_task(here.follow())
        await settle()
        for number in range(20):
            await there.purge(digest=bytes([number]) * 32)
            await settle()
        clock.advance(GATHER_S)
        await settle()
        following.cancel()
    assert (len(here.markers), side.reads) == (20, 2)


class Unreliable:
    """Shared markers that can be out of reach, or lost."""

    def __init__(self, view: MemoryPurgesView) -> None:
        self.view = view
        self.away = False
        self.reads = 0

    def _check(self) -> None:
        if self.away:
            raise PurgesAway("out of reach")

    async def add(self, purge: Purge, keep_until_ms: int) -> None:
        self._check()
        await self.view.add(purge, keep_until_ms)

    async def read(self, now_ms: int) -> list[Purge]:
        self._check()
        self.reads += 1
        return await self.view.read(now_ms)

    async def changed(self) -> None:
        self._check()
        await self.view.changed()


def board(shared: MemoryPurges, clock: FakeClock) -> tuple[PurgeBoard, Unreliable]:
    side = Unreliable(shared.view())
    return PurgeBoard(side, clock, longest_ttl_ms=10_000), side


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_purge_holds_here_at_once_and_at_every_gateway_as_soon_as_it_hears() -> None:
    clock, shared = FakeClock(), MemoryPurges()
    (here, _), (there, _) = board(shared, clock), board(shared, clock)
    async with asyncio.TaskGroup() as group:
        following = group.create_task(there.follow())
        await settle()
        assert there.current
        await here.purge(model="m")
        created_ms = clock.now_ms()
        assert dead(here.markers, created_ms=created_ms)
        await clock.until_asleep()
        clock.advance(GATHER_S)
        await settle()
        assert dead(there.markers, created_ms=created_ms)
        # Allowing for a clock that is ahead, and no further.
        assert not dead(there.markers, created_ms=created_ms + 500)
        following.cancel()


async def test_a_purge_that_nobody_else_could_hear_holds_here_and_is_told_of_later() -> None:
    clock, shared = FakeClock(), MemoryPurges()
    (here, side), (there, _) = board(shared, clock), board(shared, clock)
    side.away = True
    with pytest.raises(PurgesAway):
        await here.purge(namespace=OURS)
    assert dead(here.markers)
    side.away = False
    await here.refresh()
    await there.refresh()
    assert dead(there.markers) and not dead(there.markers, namespace=THEIRS)


async def test_markers_that_the_store_lost_come_back_from_those_who_hold_them() -> None:
    clock, shared = FakeClock(), MemoryPurges()
    (here, _), (there, _) = board(shared, clock), board(shared, clock)
    await here.purge(label=LABEL)
    shared.kept.clear()
    await here.refresh()
    await there.refresh()
    assert dead(there.markers)


async def test_after_an_outage_the_shared_tier_rests_until_the_markers_were_read() -> None:
    clock, shared = FakeClock(), MemoryPurges()
    (here, side), (there, _) = board(shared, clock), board(shared, clock)
    async with asyncio.TaskGroup() as group:
        following = group.create_task(here.follow())
        await settle()
        side.away = True
        await there.purge(model="m")
        await clock.until_asleep()
        clock.advance(GATHER_S)
        await settle()
        assert (here.current, dead(here.markers)) == (False, False)
        side.away = False
        await clock.until_asleep()
        clock.advance(0.25)
        await settle()
        assert (here.current, dead(here.markers)) == (True, True)
        following.cancel()


async def test_markers_end_with_the_longest_time_to_live() -> None:
    clock, shared = FakeClock(), MemoryPurges()
    here, _ = board(shared, clock)
    await here.purge(model="m")
    clock.advance(10.4)
    await here.refresh()
    assert len(here.markers) == 1
    clock.advance(0.2)
    await here.refresh()
    assert (len(here.markers), shared.kept) == (0, {})
