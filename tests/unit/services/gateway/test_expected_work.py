from forebay.dispatch.v1.scheduler_view_pb2 import CostView, PoolView, SchedulerView
from forebay.tasks.v1.task_pb2 import PRIORITY_HIGH, PRIORITY_LOW
from scheduler.adapters.clock import FakeClock
from scheduler.adapters.memory import MemoryMembership
from scheduler.ports.membership import VIEW_ROLE
from services.gateway.expected_work import ExpectedWork


def view(*costs: CostView, pool: str = "default") -> bytes:
    return SchedulerView(pools=[PoolView(pool=pool, costs=costs)]).SerializeToString()


async def expected(*cards: bytes) -> ExpectedWork:
    membership = MemoryMembership(FakeClock())
    for number, card in enumerate(cards):
        await membership.announce(VIEW_ROLE, f"scheduler-{number}", card, 5_000)
    made = ExpectedWork(membership)
    await made.refresh()
    return made


async def test_of_what_nobody_knows_a_millisecond_is_expected() -> None:
    assert (await expected())("m", "t") == 1.0
    assert (await expected(view(CostView(model="m", work_ms=0.0))))("m", "t") == 1.0


async def test_what_is_told_of_a_tenant_goes_before_what_is_told_of_the_model() -> None:
    made = await expected(
        view(CostView(model="m", work_ms=10.0), CostView(model="m", tenant="t", work_ms=30.0))
    )
    assert (made("m", "t"), made("m", "u"), made("other", "t")) == (30.0, 10.0, 1.0)


async def test_what_is_told_of_several_pools_is_averaged_and_a_broken_card_hides_nothing() -> None:
    slow = view(CostView(model="m", work_ms=30.0), pool="slow")
    made = await expected(view(CostView(model="m", work_ms=10.0)), b"\xff", slow)
    assert made("m", "t") == 20.0


async def test_what_is_told_of_all_levels_goes_before_what_is_told_of_some() -> None:
    some = (
        CostView(model="m", work_ms=10.0, priority=PRIORITY_LOW),
        CostView(model="m", work_ms=50.0, priority=PRIORITY_HIGH),
    )
    assert (await expected(view(*some)))("m", "t") == 30.0
    assert (await expected(view(*some, CostView(model="m", work_ms=7.0))))("m", "t") == 7.0
