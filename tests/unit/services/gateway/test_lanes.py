"""Which lane a batch takes."""

from scheduler.adapters.clock import FakeClock
from scheduler.errors import RecordsUnavailable
from scheduler.lanes import Lane, tenant_lanes
from scheduler.ports.lines import Line
from scheduler.states import Level
from services.gateway.lanes import COUNT_S, LITTLE, LaneChooser, lanes_counted

LANES = 8
N = Level.NORMAL


def waiting(tenant: str, queued: int) -> Line:
    return Line("default", N, tenant, "m", queued, 0, 0)


def neighbour_of(tenant: str) -> str:
    """A tenant with the very same lanes."""
    own = set(tenant_lanes(tenant, LANES))
    return next(name for name in map(str, range(10_000)) if set(tenant_lanes(name, LANES)) == own)


def chooser() -> LaneChooser:
    return LaneChooser(LANES, FakeClock())


def test_a_tenant_takes_the_emptier_one_of_its_own_lanes() -> None:
    lanes = chooser()
    own = tenant_lanes("a", LANES)
    found = {lanes.choose("default", N, "a", 10).index for _ in range(10)}
    assert found == set(own)


def test_a_tenant_with_little_waiting_leaves_lanes_that_others_flood() -> None:
    lanes, flood = chooser(), neighbour_of("a")
    lanes.heard([waiting(flood, 100_000)])
    assert lanes.choose("default", N, "a", 10).index not in tenant_lanes("a", LANES)


def test_a_flood_stays_on_its_own_lanes_however_full_they_are() -> None:
    lanes = chooser()
    own = tenant_lanes("flood", LANES)
    assert {lanes.choose("default", N, "flood", 100).index for _ in range(100)} == set(own)
    lanes.heard([waiting("flood", 10_000)])
    assert {lanes.choose("default", N, "flood", 100).index for _ in range(100)} == set(own)


def test_what_was_sent_since_the_count_counts_as_little_only_once() -> None:
    lanes, flood = chooser(), neighbour_of("a")
    lanes.heard([waiting(flood, 100_000)])
    strays = [lanes.choose("default", N, "a", 64) for _ in range(40)]
    elsewhere = [lane for lane in strays if lane.index not in tenant_lanes("a", LANES)]
    assert 0 < 64 * len(elsewhere) <= LITTLE


def test_levels_and_pools_do_not_count_for_each_other() -> None:
    lanes, flood = chooser(), neighbour_of("a")
    lanes.heard([waiting(flood, 100_000)])
    assert lanes.choose("default", Level.HIGH, "a", 1).index in tenant_lanes("a", LANES)
    assert lanes.choose("gpu", N, "a", 1).index in tenant_lanes("a", LANES)


async def test_what_waits_is_counted_every_second_and_the_last_count_stands_while_the_store_is_away() -> None:
    clock, flood = FakeClock(), neighbour_of("a")

    class Lines:
        counts = 0

        async def lines(self) -> list[Line]:
            self.counts += 1
            if self.counts > 1:
                raise RecordsUnavailable("away")
            return [waiting(flood, 100_000)]

        async def place(self, pool: str, level: Level, tenant: str, model: str, time_ms: int) -> int:
            raise AssertionError

    lines = Lines()
    async with lanes_counted(LaneChooser(LANES, clock), lines, clock) as lanes:
        for _ in range(3):
            await clock.until_asleep()
            clock.advance(COUNT_S)
        await clock.until_asleep()
        assert lines.counts >= 3
        lane: Lane = lanes.choose("default", N, "a", 1)
        assert lane.index not in tenant_lanes("a", LANES)
