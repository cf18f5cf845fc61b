"""The account of credits, and what goes up to a scheduler."""

import asyncio

from forebay.dispatch.v1.dispatch_service_pb2 import AttachRequest, Hello, Settled
from inference.runner.credit import CreditPool
from inference.runner.held import Cost, Fate
from inference.runner.session import Session


async def said(session: Session) -> AttachRequest:
    request = await asyncio.wait_for(session.next_request(), 5)
    assert request is not None
    return request


async def silent(session: Session) -> bool:
    waiting = asyncio.ensure_future(session.next_request())
    for _ in range(5):
        await asyncio.sleep(0)
    quiet = not waiting.done()
    waiting.cancel()
    return quiet


async def test_the_first_message_says_hello_and_grants_the_share() -> None:
    session = Session(Hello(runner="r", model="m", pool="p"))
    CreditPool(10).join(session)
    first = await said(session)
    assert first.hello.runner == "r"
    assert first.credits == 10
    assert await silent(session)


async def test_everything_settled_meanwhile_travels_in_one_message_with_its_credit() -> None:
    session = Session(Hello())
    session.set_share(10)
    await said(session)
    session.assigned(4)
    assert await silent(session)
    session.settle("a", 1, Fate.TERMINAL)
    session.settle("b", 2, Fate.FENCED)
    session.settle("c", 3, Fate.RETURNED)
    request = await said(session)
    assert request.credits == 3
    assert not request.HasField("hello")
    assert [(s.id, s.attempt, s.fate) for s in request.settled] == [
        ("a", 1, Settled.FATE_TERMINAL),
        ("b", 2, Settled.FATE_FENCED),
        ("c", 3, Settled.FATE_RETURNED),
    ]
    assert session.held == 1


async def test_costs_travel_in_microseconds_and_only_where_there_are_any() -> None:
    session = Session(Hello())
    session.settle("a", 1, Fate.TERMINAL, Cost(1.5, 0.25, 7))
    session.settle("b", 1, Fate.TERMINAL, failed=True)
    ran, failed = (await said(session)).settled
    assert (ran.cost.execute_us, ran.cost.work_us, ran.cost.output_tokens) == (1_500_000, 250_000, 7)
    assert not ran.failed
    assert failed.failed
    assert not failed.HasField("cost")


async def test_a_second_scheduler_takes_half_of_the_credit_and_gives_it_back_when_it_leaves() -> None:
    pool = CreditPool(10)
    one, two = Session(Hello()), Session(Hello())
    pool.join(one)
    assert (await said(one)).credits == 10
    pool.join(two)
    assert (await said(one)).credits == -5
    assert (await said(two)).credits == 5
    pool.leave(two)
    assert (await said(one)).credits == 5


async def test_every_scheduler_gets_at_least_one_credit() -> None:
    pool = CreditPool(1)
    sessions = [Session(Hello()) for _ in range(3)]
    for session in sessions:
        pool.join(session)
    assert [(await said(session)).credits for session in sessions] == [1, 1, 1]


async def test_draining_takes_back_unused_credit_only_and_settling_brings_none() -> None:
    pool = CreditPool(10)
    session = Session(Hello())
    pool.join(session)
    await said(session)
    session.assigned(4)
    pool.close()
    assert (await said(session)).credits == -6
    session.settle("a", 1, Fate.RETURNED)
    assert (await said(session)).credits == 0


async def test_credit_that_was_used_while_it_was_taken_back_is_made_good() -> None:
    pool = CreditPool(4)
    session = Session(Hello())
    pool.join(session)
    await said(session)
    pool.close()
    assert (await said(session)).credits == -4
    # The scheduler had sent one before it heard: it counts -1 now, and must come to 0.
    session.assigned(1)
    session.settle("a", 1, Fate.RETURNED)
    assert (await said(session)).credits == 1


async def test_a_closed_stream_takes_reports_and_drops_them() -> None:
    session = Session(Hello())
    session.assigned(1)
    session.close()
    session.settle("a", 1, Fate.TERMINAL)
    assert session.ended.is_set()


async def test_finishing_settles_what_was_on_its_way_and_then_says_nothing() -> None:
    session = Session(Hello())
    session.assigned(1)
    session.settle("a", 1, Fate.TERMINAL)
    session.finish()
    last = await said(session)
    assert last.leaving
    assert [s.id for s in last.settled] == ["a"]
    assert await silent(session)
    session.assigned(1)
    session.settle("b", 1, Fate.RETURNED)
    session.last_came()
    assert [s.id for s in (await said(session)).settled] == ["b"]
    assert await session.next_request() is None
