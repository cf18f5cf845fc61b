"""Watching tasks and streaming output over gRPC, on a gateway over the ports in memory."""

import grpc
import grpc.aio
from google.rpc import error_details_pb2

from forebay.tasks.v1 import inputs_pb2, task_pb2, task_service_pb2
from scheduler.adapters.clock import SystemClock
from scheduler.adapters.memory import MemoryStore
from scheduler.adapters.retention import Retention
from scheduler.states import TaskState
from tests.integration.gateway import SUCCEEDED, System, everything, prompt, running, tensor, watch


async def test_a_watch_begins_with_the_present_state_and_ends_with_the_last_task(system: System) -> None:
    done, later = await system.submit(prompt(), prompt())
    await system.lease(done)
    await system.finish(done, text="first")
    call = system.tasks.WatchTasks(watch([done, later], include_result=True), timeout=10)
    response = await call.read()
    states = {task.id: task.state for task in response.tasks}
    assert states == {done: SUCCEEDED, later: task_pb2.TASK_STATE_QUEUED}
    await system.lease(later)
    await system.finish(later, text="second")
    rest = await everything(call)
    assert rest[-1].id == later
    assert rest[-1].result.generate.text == "second"
    assert not rest[-1].HasField("spec")


async def test_results_are_sent_only_to_those_who_ask(system: System) -> None:
    (task_id,) = await system.submit(prompt())
    with_result = system.tasks.WatchTasks(watch([task_id], include_result=True), timeout=10)
    without = system.tasks.WatchTasks(watch([task_id]), timeout=10)
    await with_result.read()
    await without.read()
    await system.lease(task_id)
    await system.finish(task_id, text="answer")
    assert (await everything(with_result))[-1].result.generate.text == "answer"
    assert (await everything(without))[-1].WhichOneof("outcome") is None


async def test_a_failed_task_brings_its_error(system: System) -> None:
    (task_id,) = await system.submit(prompt())
    await system.lease(task_id)
    await system.finish(task_id, state=TaskState.FAILED)
    last = (await everything(system.tasks.WatchTasks(watch([task_id]), timeout=10)))[-1]
    info = error_details_pb2.ErrorInfo()
    assert last.error.details[0].Unpack(info)
    assert info.reason == "MODEL_FAILED"


async def test_a_watch_by_label_sees_only_its_own(system: System) -> None:
    selector = task_service_pb2.LabelSelector(labels={"run": "7"})
    call = system.tasks.WatchTasks(task_service_pb2.WatchTasksRequest(selector=selector), timeout=10)
    assert not (await call.read()).tasks
    other, mine = await system.submit(prompt(labels={"run": "8"}), prompt(labels={"run": "7", "x": "y"}))
    await system.lease(other, mine)
    await system.finish(other, mine)
    seen: list[task_pb2.Task] = []
    while not seen or seen[-1].state != SUCCEEDED:
        seen += (await call.read()).tasks
    assert {task.id for task in seen} == {mine}
    call.cancel()


async def test_a_watch_of_everything_sees_every_end(system: System) -> None:
    request = task_service_pb2.WatchTasksRequest(all=task_service_pb2.AllTasks())
    call = system.tasks.WatchTasks(request, timeout=10)
    await call.read()
    ids = await system.submit(*[tensor()] * 600)
    await system.lease(*ids)
    await system.finish(*ids)
    ended: set[str] = set()
    while len(ended) < len(ids):
        ended |= {task.id for task in (await call.read()).tasks if task.state == SUCCEEDED}
    assert ended == set(ids)
    call.cancel()


async def test_a_watch_without_target_is_refused(system: System) -> None:
    call = system.tasks.WatchTasks(task_service_pb2.WatchTasksRequest(), timeout=5)
    assert (await system.failure(call))[0] is grpc.StatusCode.INVALID_ARGUMENT


# --- output --------------------------------------------------------------------------------------------------------


async def test_output_is_streamed_while_it_is_written_and_ends_with_the_task(system: System) -> None:
    (task_id,) = await system.submit(prompt())
    call = system.tasks.StreamOutput(task_service_pb2.StreamOutputRequest(id=task_id), timeout=10)
    await system.lease(task_id)
    await system.write(task_id, "Hel", "lo")
    assert (await call.read()).text == "Hel"
    assert (await call.read()).text == "lo"
    last = task_service_pb2.StreamOutputResponse(state=SUCCEEDED, finish_reason=inputs_pb2.FINISH_REASON_STOP)
    await system.finish(task_id, last=last.SerializeToString())
    chunk = await call.read()
    assert (chunk.sequence, chunk.state) == (3, SUCCEEDED)
    assert await call.read() is grpc.aio.EOF


async def test_output_can_be_taken_up_at_any_point(system: System) -> None:
    (task_id,) = await system.submit(prompt())
    await system.lease(task_id)
    await system.write(task_id, *"abc")
    last = task_service_pb2.StreamOutputResponse(state=SUCCEEDED)
    await system.finish(task_id, last=last.SerializeToString())
    for after in range(5):
        request = task_service_pb2.StreamOutputRequest(id=task_id, after_sequence=after)
        chunks = [chunk.sequence async for chunk in system.tasks.StreamOutput(request, timeout=5)]
        assert chunks == list(range(after + 1, 5))


async def test_a_task_that_wrote_nothing_ends_with_a_closing_chunk(system: System) -> None:
    done, cancelled = await system.submit(tensor(), tensor())
    await system.lease(done)
    await system.finish(done)
    stream = system.tasks.StreamOutput
    chunks = [chunk async for chunk in stream(task_service_pb2.StreamOutputRequest(id=done), timeout=5)]
    assert [(chunk.sequence, chunk.state) for chunk in chunks] == [(1, SUCCEEDED)]
    call = stream(task_service_pb2.StreamOutputRequest(id=cancelled), timeout=5)
    request = task_service_pb2.CancelTasksRequest(tasks=task_service_pb2.TaskIds(ids=[cancelled]))
    await system.tasks.CancelTasks(request, timeout=5)
    chunks = [chunk async for chunk in call]
    assert [chunk.state for chunk in chunks] == [task_pb2.TASK_STATE_CANCELLED]
    assert chunks[0].finish_reason == inputs_pb2.FINISH_REASON_ABORTED
    assert chunks[0].HasField("error")


async def test_output_that_is_no_longer_kept_is_out_of_range() -> None:
    async with running(MemoryStore(SystemClock(), Retention(stream_chunks=2))) as system:
        (task_id,) = await system.submit(prompt())
        await system.lease(task_id)
        await system.write(task_id, *"abcd")
        gone = system.tasks.StreamOutput(task_service_pb2.StreamOutputRequest(id=task_id), timeout=5)
        code, details = await system.failure(gone)
        assert code is grpc.StatusCode.OUT_OF_RANGE
        info = error_details_pb2.ErrorInfo()
        assert details[0].Unpack(info)
        assert dict(info.metadata) == {"wanted": "0", "first_kept": "3"}
        request = task_service_pb2.StreamOutputRequest(id=task_id, after_sequence=2)
        call = system.tasks.StreamOutput(request, timeout=5)
        assert [(await call.read()).text, (await call.read()).text] == ["c", "d"]
        call.cancel()


# --- cancelling ----------------------------------------------------------------------------------------------------
