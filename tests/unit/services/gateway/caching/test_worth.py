"""Which tasks are worth looking for in the result cache."""

from forebay.dispatch.v1.scheduler_view_pb2 import CostView, PoolView, SchedulerView
from scheduler.adapters.clock import FakeClock
from scheduler.adapters.memory import MemoryMembership
from scheduler.errors import RecordsUnavailable
from scheduler.ports.membership import VIEW_ROLE
from services.gateway.caching.worth import LOOK_S, Worth, worth_known
from services.gateway.expected_work import ExpectedWork


class Views(MemoryMembership):
    """What schedulers tell; away when a test says so."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.away = False
        self.reads = 0

    async def tell(self, **work_ms: float) -> None:
        """Announce what models cost."""
        costs = [CostView(model=model, work_ms=cost) for model, cost in work_ms.items()]
        view = SchedulerView(pools=[PoolView(pool="default", costs=costs)])
        await self.announce(VIEW_ROLE, "s1", view.SerializeToString(), 1_000_000)

    async def members(self, role: str) -> list[tuple[str, bytes]]:
        self.reads += 1
        if self.away:
            raise RecordsUnavailable("away")
        return list(await super().members(role))


async def looked(clock: FakeClock) -> None:
    """Let the time of the next look come, and wait for what comes of it."""
    clock.advance(LOOK_S)
    await clock.until_asleep()


async def test_a_task_is_worth_it_from_the_limit_on_and_where_nobody_knows() -> None:
    clock = FakeClock()
    views = Views(clock)
    await views.tell(cheap=0.9, dear=1.0)
    async with worth_known(ExpectedWork(views), clock, 1.0) as worth:
        await clock.until_asleep()
        assert [worth(model, "t") for model in ("cheap", "dear", "unknown")] == [False, True, True]


async def test_what_is_told_anew_holds_and_while_nothing_can_be_read_what_was_told_last() -> None:
    clock = FakeClock()
    views = Views(clock)
    await views.tell(m=0.5)
    async with worth_known(ExpectedWork(views), clock, 1.0) as worth:
        await clock.until_asleep()
        assert not worth("m", "t")
        await views.tell(m=2.0)
        await looked(clock)
        assert worth("m", "t")
        views.away = True
        await views.tell(m=0.5)
        await looked(clock)
        await looked(clock)
        assert worth("m", "t")
        views.away = False
        await looked(clock)
        assert not worth("m", "t")


async def test_without_a_limit_each_is_worth_it_and_nobody_is_asked() -> None:
    clock = FakeClock()
    views = Views(clock)
    await views.tell(m=0.001)
    async with worth_known(ExpectedWork(views), clock, 0.0) as worth:
        assert worth("m", "t")
        assert views.reads == 0
    expected = ExpectedWork(views)
    await expected.refresh()
    assert Worth(expected, clock, 0.0)("m", "t")
