"""What every ScheduleStore must do."""

from scheduler.ids import PARTITIONS
from scheduler.ports.schedules import StoredSchedule
from tests.conformance.stores import FAR_MS, Store

EVERYWHERE = range(PARTITIONS)


def _schedule(name: str = "nightly", tenant: str = "acme", due_ms: int = 1) -> StoredSchedule:
    return StoredSchedule(tenant, name, b"definition\x00", b"envelope\xff", 1_700_000_000_000, due_ms)


async def test_a_schedule_is_read_as_it_was_given(store: Store) -> None:
    schedule = _schedule()._replace(last_ms=5, last_task="07-x", missed=3, last_fault="no such model")
    assert await store.schedules.create(schedule) is None
    assert await store.schedules.get("acme", "nightly") == schedule
    assert await store.schedules.get("acme", "daily") is None
    assert await store.schedules.get("other", "nightly") is None


async def test_a_name_that_is_taken_answers_with_its_owner(store: Store) -> None:
    first, second = _schedule(), _schedule(due_ms=99)
    await store.schedules.create(first)
    assert await store.schedules.create(second) == first
    assert await store.schedules.get("acme", "nightly") == first
    assert await store.schedules.create(_schedule(tenant="other")) is None


async def test_schedules_are_listed_by_name_and_in_pieces(store: Store) -> None:
    names = [f"report-{number:02d}" for number in range(12)]
    for name in reversed(names):
        await store.schedules.create(_schedule(name))
    await store.schedules.create(_schedule(tenant="acme2"))
    found: list[str] = []
    while page := await store.schedules.list("acme", found[-1] if found else "", 5):
        assert len(page) <= 5
        found += [schedule.name for schedule in page]
    assert found == names
    assert await store.schedules.list("nobody", "", 5) == []


async def test_a_schedule_is_due_until_it_goes_on_and_its_partition_says_so(store: Store) -> None:
    schedule, later = _schedule(), _schedule("yearly", due_ms=FAR_MS)
    await store.schedules.create(schedule)
    await store.schedules.create(later)
    [partition] = (await store.due()).schedules
    for _ in range(2):
        assert await store.schedules.due([partition], 10) == [schedule]
    assert await store.schedules.due([p for p in EVERYWHERE if p != partition], 10) == []
    after = schedule._replace(due_ms=FAR_MS, last_ms=1, last_task="07-x")
    assert await store.schedules.change(schedule, after)
    assert (await store.due()).schedules == []
    assert await store.schedules.due(EVERYWHERE, 10) == []
    assert await store.schedules.get("acme", "nightly") == after


async def test_the_next_due_time_counts_as_the_next_time(store: Store) -> None:
    await store.schedules.create(_schedule(due_ms=await store.now_ms() + 50_000))
    assert 40_000 < (await store.due()).next_in_ms <= 50_000


async def test_only_one_of_two_schedulers_moves_a_schedule_on(store: Store) -> None:
    before = _schedule()
    await store.schedules.create(before)
    first, second = before._replace(due_ms=10, last_task="a"), before._replace(due_ms=10, last_task="b")
    assert await store.schedules.change(before, first)
    assert not await store.schedules.change(before, second)
    assert await store.schedules.get("acme", "nightly") == first


async def test_a_schedule_that_was_made_anew_is_another_one(store: Store) -> None:
    before = _schedule()
    anew = before._replace(create_time_ms=before.create_time_ms + 1)
    await store.schedules.create(before)
    await store.schedules.delete("acme", "nightly")
    await store.schedules.create(anew)
    assert not await store.schedules.change(before, before._replace(due_ms=7))
    assert await store.schedules.get("acme", "nightly") == anew


async def test_a_paused_schedule_is_never_due_and_can_go_on(store: Store) -> None:
    schedule = _schedule()
    paused = schedule._replace(due_ms=0)
    await store.schedules.create(schedule)
    assert await store.schedules.change(schedule, paused)
    assert await store.schedules.due(EVERYWHERE, 10) == []
    due = await store.due()
    assert (due.schedules, due.next_in_ms) == ([], -1)
    assert await store.schedules.change(paused, schedule)
    assert await store.schedules.due(EVERYWHERE, 10) == [schedule]


async def test_a_schedule_can_begin_paused(store: Store) -> None:
    await store.schedules.create(_schedule(due_ms=0))
    assert await store.schedules.due(EVERYWHERE, 10) == []
    assert (await store.schedules.list("acme", "", 10))[0].paused


async def test_a_schedule_that_was_deleted_is_gone_from_everywhere(store: Store) -> None:
    schedule = _schedule()
    await store.schedules.create(schedule)
    assert await store.schedules.delete("acme", "nightly")
    assert not await store.schedules.delete("acme", "nightly")
    assert await store.schedules.get("acme", "nightly") is None
    assert await store.schedules.list("acme", "", 10) == []
    assert await store.schedules.due(EVERYWHERE, 10) == []
    assert not await store.schedules.change(schedule, schedule._replace(due_ms=5))
    assert await store.schedules.get("acme", "nightly") is None


async def test_due_schedules_come_oldest_first_up_to_the_limit_of_each_partition(store: Store) -> None:
    for number in range(200):
        await store.schedules.create(_schedule(f"s{number}", due_ms=1_000 - number))
    due = await store.due()
    first = await store.schedules.due(due.schedules, 1)
    assert len(first) == len(due.schedules)
    assert len(await store.schedules.due(EVERYWHERE, 1_000)) == 200
    partition = due.schedules[0]
    times = [schedule.due_ms for schedule in await store.schedules.due([partition], 1_000)]
    assert times == sorted(times)


async def test_odd_names_of_schedules_do_not_meet(store: Store) -> None:
    pairs = [("a", "b:c"), ("a:b", "c"), ("a", "b\0c"), ("a{b}", "c"), ("a", "b c")]
    for tenant, name in pairs:
        assert await store.schedules.create(_schedule(name, tenant)) is None
    for tenant, name in pairs:
        assert await store.schedules.get(tenant, name) == _schedule(name, tenant)
    assert len(await store.schedules.due(EVERYWHERE, 10)) == len(pairs)
