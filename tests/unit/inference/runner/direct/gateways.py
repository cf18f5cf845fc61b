"""Calls as gateways send them, and the gateway's end of a stream."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc.aio
import numpy as np

from forebay.runner.v1.runner_service_pb2 import Answer, Call, ExecuteRequest, ExecuteResponse
from forebay.runner.v1.runner_service_pb2_grpc import RunnerServiceStub
from forebay.tasks.v1.task_pb2 import Priority
from scheduler.states import Level
from services.lifecycle import CHANNEL_OPTIONS
from tests.unit.inference.runner.fakes import LONGEST_WAIT_S


def tensor_call(number: int, value: float = 1.0, level: Level = Level.NORMAL, **given: object) -> Call:
    call = Call(id=number, tenant="t", priority=Priority.Value(f"PRIORITY_{level.name}"), **given)  # type: ignore[arg-type]
    call.tensors.tensors.add(name="x", datatype="FP32", shape=[1], raw=np.float32(value).tobytes())
    return call


def generate_call(
    number: int, max_tokens: int = 3, level: Level = Level.NORMAL, prompt: str = "hi", **given: object
) -> Call:
    call = Call(id=number, tenant="t", priority=Priority.Value(f"PRIORITY_{level.name}"), **given)  # type: ignore[arg-type]
    call.generate.prompt = prompt
    call.generate.max_tokens = max_tokens
    return call


def outcome(answer: Answer) -> str:
    return answer.WhichOneof("outcome") or ""


class Gateway:
    """The gateway's end of one stream to a runner; reads all the time."""

    def __init__(self, stream: grpc.aio.StreamStreamCall[ExecuteRequest, ExecuteResponse]) -> None:
        self._stream = stream
        self._news = asyncio.Event()
        self.responses: list[ExecuteResponse] = []
        self.end: grpc.StatusCode | None = None

    async def read(self) -> None:
        try:
            async for response in self._stream:
                self.responses.append(response)
                self._news.set()
        except grpc.aio.AioRpcError as error:
            self.end = error.code()
        else:
            self.end = grpc.StatusCode.OK
        self._news.set()

    @property
    def answers(self) -> list[Answer]:
        return [answer for response in self.responses for answer in response.answers]

    @property
    def ended(self) -> dict[int, Answer]:
        """What ended calls, in the order of their ends."""
        return {answer.id: answer for answer in self.answers if outcome(answer) != "chunk"}

    async def send(self, *calls: Call, cancelled: tuple[int, ...] = ()) -> None:
        await self._stream.write(ExecuteRequest(calls=calls, cancelled=cancelled))

    async def done_writing(self) -> None:
        await self._stream.done_writing()

    def cancel(self) -> None:
        self._stream.cancel()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(LONGEST_WAIT_S):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def answered(self, *numbers: int) -> dict[int, Answer]:
        """Wait until these calls have ended."""
        await self.until(lambda: self.ended.keys() >= set(numbers))
        return self.ended


@asynccontextmanager
async def gateway(address: str) -> AsyncIterator[Gateway]:
    async with grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
        one = Gateway(RunnerServiceStub(channel).Execute())
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(one.read())
            try:
                yield one
            finally:
                one.cancel()
                reading.cancel()
