"""What collects for a gateway until its stream takes it."""

import asyncio

import pytest

from forebay.runner.v1.runner_service_pb2 import Load
from inference.runner.direct import outbox as module
from inference.runner.direct.outbox import FULL_BYTES, Outbox
from tests.unit.inference.runner.fakes import LONGEST_WAIT_S


def weigh(load: Load) -> None:
    load.held = 7


def outbox(most_bytes: int = 1 << 30) -> Outbox:
    return Outbox(weigh, most_bytes)


def put(box: Outbox, number: int, size: int = 10) -> None:
    box.answer().id = number
    box.added(size)


async def taken(box: Outbox) -> list[int]:
    async with asyncio.timeout(LONGEST_WAIT_S):
        response = await box.next_response()
    assert response is not None
    assert response.load.held == 7
    return [answer.id for answer in response.answers]


async def test_what_comes_while_nobody_takes_goes_in_one_message() -> None:
    box = outbox()
    for number in (1, 2, 3):
        put(box, number)
    assert await taken(box) == [1, 2, 3]
    put(box, 4)
    assert await taken(box) == [4]


async def test_the_first_message_says_what_the_runner_runs_and_no_other_does() -> None:
    box = Outbox(weigh, 1 << 30, "weights")
    said = []
    for number in (1, 2):
        put(box, number)
        response = await box.next_response()
        assert response is not None
        said.append(response.answers_digest)
    assert said == ["weights", ""]


async def test_a_message_that_is_large_is_closed() -> None:
    box = outbox()
    put(box, 1, FULL_BYTES)
    put(box, 2)
    assert await taken(box) == [1]
    assert await taken(box) == [2]


async def test_an_answer_that_does_not_fit_beside_the_others_travels_alone() -> None:
    box = outbox()
    put(box, 1)
    put(box, 2)
    put(box, 3, module.MOST_BYTES - 100)
    put(box, 4)
    assert [await taken(box) for _ in range(3)] == [[1, 2], [3], [4]]


async def test_answers_in_time_are_an_acknowledgement() -> None:
    box = outbox()
    box.acknowledge(1, at_once=False)
    put(box, 1)
    assert await taken(box) == [1]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5 * module.ACKNOWLEDGE_AFTER_S):
            await box.next_response()
    box.acknowledge(1, at_once=False)
    assert await taken(box) == []


async def test_each_message_has_the_whole_time_for_its_answers() -> None:
    box = outbox()
    box.acknowledge(1, at_once=False)
    put(box, 1)
    assert await taken(box) == [1]
    # The timer of the first message is still running when the second one comes.
    box.acknowledge(1, at_once=False)
    began_s = asyncio.get_running_loop().time()
    assert await taken(box) == []
    assert asyncio.get_running_loop().time() - began_s >= module.ACKNOWLEDGE_AFTER_S / 2


async def test_an_acknowledgement_that_must_be_at_once_waits_for_nothing() -> None:
    box = outbox()
    box.acknowledge(1, at_once=True)
    assert await taken(box) == []


async def test_a_gateway_that_takes_nothing_is_known_and_costs_no_more_memory() -> None:
    box = outbox(most_bytes=1000)
    put(box, 1, 500)
    assert not box.given_up.is_set()
    put(box, 2, 500)
    assert box.given_up.is_set()
    put(box, 3, 500)
    assert len(box._filling.answers) == 0


async def test_what_was_taken_makes_room() -> None:
    box = outbox(most_bytes=1000)
    for number in range(10):
        put(box, number, 500)
        assert await taken(box) == [number]
    assert not box.given_up.is_set()


async def test_after_its_finish_it_ends_with_the_last_call() -> None:
    box = outbox()
    box.keys[1] = "call-1-1"
    box.finish()
    put(box, 1)
    box.closed_one(1)
    assert await taken(box) == [1]
    assert await box.next_response() is None


async def test_a_finish_wakes_who_waits() -> None:
    box = outbox()
    async with asyncio.timeout(LONGEST_WAIT_S), asyncio.TaskGroup() as group:
        waiting = group.create_task(box.next_response())
        await asyncio.sleep(0)
        box.finish()
    assert waiting.result() is None


async def test_each_response_tells_which_message_was_taken_in_last() -> None:
    box = outbox()
    box.acknowledge(1, at_once=True)
    first = await box.next_response()
    box.acknowledge(2, at_once=False)
    box.acknowledge(3, at_once=False)
    put(box, 1)
    second = await box.next_response()
    box.acknowledge(0, at_once=True)
    third = await box.next_response()
    assert [response and response.taken for response in (first, second, third)] == [1, 3, 3]
