import asyncio
from contextlib import aclosing

import grpc
import numpy as np
import pytest

from forebay.client import (
    AsyncClient,
    Chunk,
    DeadlineExceeded,
    InternalError,
    OutOfRange,
    RetryPolicy,
    TaskFailedError,
    TaskState,
    Unavailable,
    task_spec,
)
from forebay.tasks.v1.inputs_pb2 import FinishReason
from forebay.tasks.v1.task_pb2 import TaskState as WireState
from forebay.tasks.v1.task_service_pb2 import StreamOutputResponse
from tests.unit.sdk.fake_gateway import FakeGateway, failure

SUCCEEDED = WireState.TASK_STATE_SUCCEEDED


def story(*texts: str, restart_at: int = 0) -> list[StreamOutputResponse]:
    chunks = [
        StreamOutputResponse(sequence=n, text=text, token_ids=[n], restarted=n == restart_at)
        for n, text in enumerate(texts, 1)
    ]
    chunks[-1].finish_reason = FinishReason.FINISH_REASON_STOP
    chunks[-1].state = SUCCEEDED
    return chunks


async def collect(client: AsyncClient, task: str, after: int = 0) -> list[Chunk]:
    return [chunk async for chunk in client.stream(task, after=after, timeout_s=10)]


async def test_waiting_returns_the_result(client: AsyncClient) -> None:
    task = await client.submit("m", prompt="Hi")
    done = await client.wait(task, timeout_s=5)
    assert (done.id, done.state, done.done, done.text) == (task.id, TaskState.SUCCEEDED, True, "Hi!")


async def test_tensors_come_back_as_arrays(client: AsyncClient) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    done = await client.wait(await client.submit("add", tensors={"x": array}))
    np.testing.assert_array_equal(done.tensors["x"], array)
    with pytest.raises(TypeError, match="not text"):
        _ = done.text


async def test_a_task_that_ends_later_wakes_the_waiter(client: AsyncClient, gateway: FakeGateway) -> None:
    gateway.hold = True
    task = await client.submit("m", prompt="Hi")
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(client.wait(task, timeout_s=5))
        await gateway.finish(task.id, SUCCEEDED)
    assert waiting.result().text == "Hi!"


async def test_many_tasks_are_waited_for_over_one_stream_in_order(
    client: AsyncClient, gateway: FakeGateway
) -> None:
    tasks = await client.submit_many(task_spec("m", prompt=str(n)) for n in range(2_000))
    done = await client.wait_many([*reversed(tasks), tasks[0]])
    assert [task.text for task in done] == [*(f"{n}!" for n in reversed(range(2_000))), "0!"]
    assert len(gateway.seen["WatchTasks"]) == 1


async def test_more_tasks_than_one_watch_takes_are_split(client: AsyncClient, gateway: FakeGateway) -> None:
    results = await client.submit_specs([task_spec("m", prompt="x")] * 10_500)
    done = await client.wait_tasks([result.task.id for result in results])
    assert len(done) == 10_500
    assert sorted(len(request.tasks.ids) for request in gateway.seen["WatchTasks"]) == [500, 10_000]


async def test_a_lost_watch_is_opened_again_for_what_is_left(
    client: AsyncClient, gateway: FakeGateway
) -> None:
    tasks = await client.submit_many(task_spec("m", prompt=str(n)) for n in range(1_200))
    gateway.cuts["WatchTasks"] += [1, -1]
    done = await client.wait_many(tasks)
    assert [task.text for task in done] == [f"{n}!" for n in range(1_200)]
    assert [len(request.tasks.ids) for request in gateway.seen["WatchTasks"]] == [1_200, 700, 200]


async def test_waiting_ends_when_its_time_is_up(client: AsyncClient, gateway: FakeGateway) -> None:
    gateway.hold = True
    task = await client.submit("m", prompt="x")
    with pytest.raises(TimeoutError, match=r"within 0\.05 s") as caught:
        await client.wait(task, timeout_s=0.05)
    assert isinstance(caught.value, DeadlineExceeded)


async def test_a_failed_task_is_returned_and_raises_when_its_result_is_read(
    client: AsyncClient, gateway: FakeGateway
) -> None:
    gateway.hold = True
    task = await client.submit("m", prompt="x")
    why = failure(grpc.StatusCode.INTERNAL, "the model raised", "MODEL_FAILED")
    await gateway.finish(task.id, WireState.TASK_STATE_FAILED, why)
    done = await client.wait(task)
    assert done.state is TaskState.FAILED
    with pytest.raises(TaskFailedError, match="is failed: the model raised") as caught:
        _ = done.text
    assert caught.value.reason == "MODEL_FAILED"
    assert caught.value.task_id == task.id
    with pytest.raises(TaskFailedError):
        done.raise_for_state()


async def test_output_is_streamed_to_its_end(client: AsyncClient, gateway: FakeGateway) -> None:
    gateway.output["t"] = story("a", "b", "c")
    chunks = await collect(client, "t")
    assert [chunk.text for chunk in chunks] == ["a", "b", "c"]
    assert chunks[-1].finish_reason == "stop"
    assert chunks[-1].state is TaskState.SUCCEEDED
    assert not any(chunk.restarted or chunk.finish_reason for chunk in chunks[:-1])


@pytest.mark.parametrize("cuts", [[0], [1], [2], [3], [-2], [1, 0, 1], [-1, -1]])
async def test_a_stream_that_breaks_anywhere_goes_on_without_gaps_or_doubles(
    client: AsyncClient, gateway: FakeGateway, cuts: list[int]
) -> None:
    gateway.output["t"] = story("a", "b", "c", "d")
    gateway.cuts["StreamOutput"] += cuts
    chunks = await collect(client, "t")
    assert [chunk.sequence for chunk in chunks] == [1, 2, 3, 4]
    assert len(gateway.seen["StreamOutput"]) == len(cuts) + 1


@pytest.mark.parametrize("after", [0, 1, 2, 3])
async def test_a_stream_starts_after_any_sequence(
    client: AsyncClient, gateway: FakeGateway, after: int
) -> None:
    gateway.output["t"] = story("a", "b", "c", "d")
    assert "".join(chunk.text for chunk in await collect(client, "t", after)) == "abcd"[after:]


async def test_a_new_attempt_is_marked(client: AsyncClient, gateway: FakeGateway) -> None:
    gateway.output["t"] = story("a", "b", "A", "B", restart_at=3)
    assert [chunk.restarted for chunk in await collect(client, "t")] == [False, False, True, False]


async def test_chunks_that_come_twice_are_given_once(client: AsyncClient, gateway: FakeGateway) -> None:
    whole = story("a", "b", "c")
    gateway.output["t"] = [whole[0], whole[0], whole[1], whole[1], whole[2]]
    assert [chunk.text for chunk in await collect(client, "t")] == ["a", "b", "c"]


async def test_a_gap_is_an_error_and_never_hidden(client: AsyncClient, gateway: FakeGateway) -> None:
    whole = story("a", "b", "c")
    gateway.output["t"] = [whole[0], whole[2]]
    with pytest.raises(InternalError, match="jumps from 1 to 3"):
        await collect(client, "t")


async def test_a_stream_of_a_task_that_fails_raises_after_its_last_chunk(
    client: AsyncClient, gateway: FakeGateway
) -> None:
    whole = story("a", "b")
    whole[-1].state = WireState.TASK_STATE_CANCELLED
    whole[-1].error.CopyFrom(failure(grpc.StatusCode.CANCELLED, "cancelled by a call", "TASK_CANCELLED"))
    gateway.output["t"] = whole
    texts = []
    with pytest.raises(TaskFailedError) as caught:
        async for chunk in client.stream("t"):
            texts.append(chunk.text)  # noqa: PERF401  the error comes in between
    assert texts == ["a", "b"]
    assert caught.value.state is TaskState.CANCELLED
    assert caught.value.reason == "TASK_CANCELLED"


async def test_output_that_is_gone_is_told_at_once(client: AsyncClient, gateway: FakeGateway) -> None:
    gateway.cuts["StreamOutput"].append(failure(grpc.StatusCode.OUT_OF_RANGE, "gone", "OUTPUT_GONE"))
    gateway.output["t"] = story("a")
    with pytest.raises(OutOfRange):
        await collect(client, "t")
    assert len(gateway.seen["StreamOutput"]) == 1


async def test_reconnecting_ends_when_nothing_is_heard_for_long(address: str, gateway: FakeGateway) -> None:
    gateway.output["t"] = story("a", "b")
    gateway.cuts["StreamOutput"] += [0] * 10_000
    impatient = RetryPolicy(initial_s=0.001, max_s=0.002, reconnect_s=0.05)
    async with AsyncClient(address, retry=impatient) as client:
        with pytest.raises(Unavailable):
            await collect(client, "t")


async def test_leaving_a_stream_early_ends_its_call(client: AsyncClient, gateway: FakeGateway) -> None:
    gateway.output["t"] = story(*("x" for _ in range(100)))
    async with aclosing(client.stream("t")) as chunks:
        async for chunk in chunks:
            assert chunk.sequence == 1
            break


async def test_named_tasks_are_watched_to_their_end_each_state_once(
    client: AsyncClient, gateway: FakeGateway
) -> None:
    gateway.hold = True
    task = await client.submit("m", prompt="x")
    gateway.cuts["WatchTasks"].append(1)
    states = []
    async for update in client.watch([task], include_result=True):
        states.append(update.state)
        if update.state is TaskState.QUEUED:
            await gateway.finish(task.id, WireState.TASK_STATE_RUNNING)
        elif update.state is TaskState.RUNNING:
            await gateway.finish(task.id, SUCCEEDED)
    assert states == [TaskState.QUEUED, TaskState.RUNNING, TaskState.SUCCEEDED]


@pytest.mark.parametrize("labels", [None, {"team": "a"}])
async def test_watching_tasks_that_are_not_named_ends_with_the_connection(
    client: AsyncClient, gateway: FakeGateway, labels: dict[str, str] | None
) -> None:
    await client.submit("m", prompt="x")
    gateway.cuts["WatchTasks"].append(1)
    with pytest.raises(Unavailable):
        async for update in client.watch(labels=labels):
            assert update.state is TaskState.SUCCEEDED
    (request,) = gateway.seen["WatchTasks"]
    assert request.WhichOneof("target") == ("selector" if labels else "all")


async def test_watching_tasks_that_are_not_named_ends_when_its_time_is_up(
    client: AsyncClient, gateway: FakeGateway
) -> None:
    with pytest.raises(DeadlineExceeded):
        async for _ in client.watch(labels={"a": "b"}, timeout_s=0.05):
            pass
