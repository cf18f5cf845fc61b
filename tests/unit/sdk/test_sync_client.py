import asyncio
import signal
import sys
from collections.abc import Iterator

import grpc
import pytest

from forebay.client import Client, NotFound, RetryPolicy, TaskState, Unavailable, task_spec
from tests.unit.sdk.fake_gateway import UNAVAILABLE, FakeGateway
from tests.unit.sdk.test_following import story

QUICK = RetryPolicy(initial_s=0.001, max_s=0.01)


@pytest.fixture
def blocking(address: str) -> Iterator[Client]:
    with Client(address, timeout_s=10, retry=QUICK) as client:
        yield client


async def test_a_task_is_submitted_and_waited_for(blocking: Client, gateway: FakeGateway) -> None:
    gateway.failures["SubmitTasks"].append(UNAVAILABLE)
    gateway.cuts["WatchTasks"].append(0)

    def work() -> str:
        return blocking.wait(blocking.submit("m", prompt="Hi")).text

    assert await asyncio.to_thread(work) == "Hi!"


async def test_many_tasks_are_submitted_and_waited_for(blocking: Client) -> None:
    def work() -> list[str]:
        tasks = blocking.submit_many(task_spec("m", prompt=str(n)) for n in range(1_500))
        return [task.text for task in blocking.wait_many(tasks)]

    assert await asyncio.to_thread(work) == [f"{n}!" for n in range(1_500)]


async def test_output_streams_across_a_broken_connection(blocking: Client, gateway: FakeGateway) -> None:
    gateway.output["t"] = story("a", "b", "c")
    gateway.cuts["StreamOutput"] += [1, -1]
    chunks = await asyncio.to_thread(lambda: list(blocking.stream("t")))
    assert [chunk.text for chunk in chunks] == ["a", "b", "c"]


async def test_leaving_a_stream_early_is_clean(blocking: Client, gateway: FakeGateway) -> None:
    gateway.output["t"] = story(*("x" for _ in range(100)))

    def work() -> int:
        for chunk in blocking.stream("t"):
            return chunk.sequence
        return 0

    assert await asyncio.to_thread(work) == 1


async def test_reads_lists_and_cancels(blocking: Client, gateway: FakeGateway) -> None:
    gateway.hold = True

    def work() -> None:
        task = blocking.submit("m", prompt="x")
        assert blocking.get(task).state is TaskState.QUEUED
        assert [found.id for found in blocking.list(limit=5)] == [task.id]
        assert blocking.cancel(task).cancelled == 1
        assert [update.state for update in blocking.watch([task])] == [TaskState.CANCELLED]
        assert [len(blocking.queues()), len(blocking.models()), len(blocking.runners())] == [2, 1, 1]
        assert blocking.cancel_matching(model="m").already_terminal == 1
        with pytest.raises(NotFound):
            blocking.get("07-x")
        with pytest.raises(TimeoutError):
            gateway.output["07-y"] = []
            list(blocking.stream("07-y", timeout_s=0.05))

    await asyncio.to_thread(work)


async def test_threads_may_share_a_client(blocking: Client) -> None:
    def work(name: str) -> str:
        return blocking.wait(blocking.submit("m", prompt=name)).text

    answers = await asyncio.gather(*(asyncio.to_thread(work, str(n)) for n in range(4)))
    assert answers == ["0!", "1!", "2!", "3!"]


async def test_a_closed_client_can_be_closed_again(address: str) -> None:
    client = Client(address)
    client.close()
    client.close()


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with Client("127.0.0.1:1", retry=RetryPolicy(attempts=1)) as client, pytest.raises(Unavailable):
        client.queues()


@pytest.mark.parametrize(
    "doing", ["client.wait(task)", "list(client.stream(task))", "next(client.watch(labels={'a': 'b'}))"]
)
async def test_ctrl_c_ends_whatever_the_client_waits_for(
    address: str, gateway: FakeGateway, doing: str
) -> None:
    gateway.hold = True
    id_ = gateway.accept(task_spec("m", prompt="x")).id
    gateway.tasks.pop(id_) if "watch" in doing else None
    gateway.output[id_] = []
    program = (
        "import signal, sys\n"
        # A shell that runs the tests in the background lets its children ignore Ctrl-C.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from forebay.client import Client\n"
        f"client, task = Client({address!r}), {id_!r}\n"
        "print('ready', flush=True)\n"
        "try:\n"
        f"    {doing}\n"
        "except KeyboardInterrupt:\n"
        "    client.close()\n"
        "    sys.exit(77)\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, env={"PYTHONPATH": ":".join(sys.path)}
    )
    try:
        method = "StreamOutput" if "stream" in doing else "WatchTasks"
        async with asyncio.timeout(15):
            assert process.stdout is not None
            assert await process.stdout.readline() == b"ready\n"
            await gateway.called(method)
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 77
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def test_the_codes_of_grpc_are_not_hidden_behind_ours() -> None:
    assert Unavailable.code is grpc.StatusCode.UNAVAILABLE
