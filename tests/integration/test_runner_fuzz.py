"""Whatever a stream of Execute brings to a runner, each of its calls is answered once or the stream ends with
INVALID_ARGUMENT; the streams of other gateways lose nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final, Literal

import grpc
import grpc.aio
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from forebay.runner.v1.runner_service_pb2 import (
    Call,
    ExecuteRequest,
    ExecuteResponse,
    WantedOutput,
)
from forebay.runner.v1.runner_service_pb2 import (
    Sequence as Place,
)
from forebay.tasks.v1 import inputs_pb2
from services.lifecycle import CHANNEL_OPTIONS
from tests.integration.held_open import held_open
from tests.integration.test_runner_direct import call_of, served
from tests.tiny_models import save_add
from tests.unit.inference.runner.direct.gateways import Gateway

METHOD: Final = "/forebay.runner.v1.RunnerService/Execute"
ANSWERED_S: Final = 8.0
LAST: Final = 1 << 63
"""The number of the good call with which a stream ends."""
ONES: Final = np.ones((1, 4), np.float32)
End = Literal["waits", "half-closes", "cancels"]

sizes = st.one_of(st.integers(-2, 4), st.sampled_from([2**31, 2**62, 2**63 - 1, -(2**63)]))
whole = st.one_of(st.integers(-3, 6), st.sampled_from([2**31 - 1, -(2**31)]))
texts = st.sampled_from(["", "x", "x", "y", "ü" * 300, "\0"])
tensors = st.builds(
    inputs_pb2.Tensor,
    name=texts,
    datatype=st.sampled_from(["FP32", "FP32", "FP64", "BYTES", "BOOL", "BF16", "INT8", "float", ""]),
    shape=st.lists(sizes, max_size=4) | st.just([1, 4]) | st.just([3, 4]) | st.just([1] * 70),
    raw=st.one_of(st.binary(max_size=20), st.sampled_from([bytes(16), bytes(48), b"\xff" * 16])),
)
inputs: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    st.lists(tensors, max_size=3).map(lambda found: {"tensors": inputs_pb2.TensorInput(tensors=found)}),
    texts.map(lambda text: {"generate": inputs_pb2.GenerateInput(prompt=text)}),
    texts.map(lambda text: {"embed": inputs_pb2.EmbedInput(texts=[text])}),
)
calls = st.builds(
    lambda given, **rest: Call(**rest, **given),
    inputs,
    id=st.integers(0, 5) | st.just(2**64 - 1),
    tenant=texts,
    priority=whole,
    timeout_ms=st.one_of(st.just(0), st.integers(-2, 50), st.sampled_from([2**63 - 1, -(2**63)])),
    traceparent=st.sampled_from(["", "00-", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "\0" * 50]),
    outputs=st.lists(st.builds(WantedOutput, name=texts, classes=whole), max_size=2),
    sequence=st.none() | st.builds(Place, id=texts, start=st.booleans(), end=st.booleans()),
    stream=st.booleans(),
)
good = st.integers(0, 5).map(lambda number: call_of(number, "x", ONES))
requests = st.builds(
    ExecuteRequest,
    calls=st.lists(calls | good, max_size=4),
    cancelled=st.lists(st.integers(0, 5) | st.just(2**64 - 1), max_size=3),
)
messages = st.lists(
    requests.map(lambda request: request.SerializeToString()) | st.binary(max_size=40), max_size=5
)
hostile = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))


@dataclass
class Attacked:
    """A runner of `add`, and the stream of a gateway that calls it after every attack."""

    address: str
    beside: Gateway
    numbers: Any = field(default_factory=lambda: count(1))

    async def attack(self, messages: Sequence[bytes], end: End) -> None:
        """Send messages over a stream of their own, and see what becomes of it and of the runner."""
        async with (
            asyncio.timeout(ANSWERED_S),
            grpc.aio.insecure_channel(self.address, options=CHANNEL_OPTIONS) as channel,
        ):
            stream: Any = channel.stream_stream(METHOD, response_deserializer=ExecuteResponse.FromString)()
            await _send(stream, messages, end)
            if end == "cancels":
                stream.cancel()
            else:
                await _check(stream, messages, end)
        await self.check_beside()

    async def check_beside(self) -> None:
        """Make a call over the other stream, and see that nothing of the attack is left."""
        number = next(self.numbers)
        async with asyncio.timeout(ANSWERED_S):
            await self.beside.send(call_of(number, "x", ONES * number))
            [tensor] = (await self.beside.answered(number))[number].tensors.tensors
        assert tensor.raw == (2 * ONES * number).tobytes()


async def _send(stream: Any, messages: Sequence[bytes], end: End) -> None:
    last = ExecuteRequest(calls=[call_of(LAST, "x", ONES)]).SerializeToString()
    try:
        for message in [*messages, *([last] if end == "waits" else [])]:
            await stream.write(message)
        if end == "half-closes":
            await stream.done_writing()
    except (asyncio.InvalidStateError, grpc.aio.AioRpcError):
        assert stream.done(), "the runner has ended it meanwhile"


async def _check(stream: Any, messages: Sequence[bytes], end: End) -> None:
    """Read until the last call is answered or the stream ends; raises AssertionError when that was wrong."""
    ended: set[int] = set()
    while LAST not in ended:
        try:
            response = await stream.read()
        except grpc.aio.AioRpcError as error:
            # The client's own word for a stream that ended while it wrote: it does not learn how.
            unknown = error.details() == "Internal error from Core"
            assert unknown or error.code() is grpc.StatusCode.INVALID_ARGUMENT, error
            assert not _sound(messages), "nothing of it was wrong"
            return
        if response is grpc.aio.EOF:
            code = await stream.code()
            assert (
                code is grpc.StatusCode.OK and end == "half-closes"
            ) or code is grpc.StatusCode.INVALID_ARGUMENT
            return
        ended.update(answer.id for answer in response.answers if answer.WhichOneof("outcome") != "chunk")
    assert _readable(messages)
    stream.cancel()


def _readable(messages: Sequence[bytes]) -> bool:
    for message in messages:
        try:
            ExecuteRequest.FromString(message)
        except Exception:
            return False
    return True


def _sound(messages: Sequence[bytes]) -> bool:
    """Whether everything can be read, and no number comes twice: even one that is answered already may be open."""
    if not _readable(messages):
        return False
    numbers = [call.id for message in messages for call in ExecuteRequest.FromString(message).calls]
    return len(numbers) == len(set(numbers))


@asynccontextmanager
async def attacked(folder: Path) -> AsyncIterator[Attacked]:
    async with served(save_add(folder / "m.onnx"), within_s=60.0) as (address, beside):
        one = Attacked(address, beside)
        await one.check_beside()
        yield one
        await one.check_beside()
        await beside.until(lambda: beside.responses[-1].load.held == 0)


@pytest.mark.timeout(90)
def test_no_message_of_a_stream_hurts_the_runner_or_the_calls_of_others(tmp_path: Path) -> None:
    twice = ExecuteRequest(calls=[call_of(1, "x", ONES)] * 2).SerializeToString()
    several = [
        ExecuteRequest(
            calls=[call_of(10 * number + place, "x", ONES) for place in range(4)]
        ).SerializeToString()
        for number in range(1, 6)
    ]
    with held_open(attacked(tmp_path)) as held:

        @hostile
        @given(messages, st.sampled_from(["waits", "half-closes", "cancels"]))
        @example([b"\xff"], "waits")
        @example([*several, b"\xff"], "waits")
        @example([*several, b"\xff"], "half-closes")
        @example([twice], "waits")
        @example([twice], "half-closes")
        @example([], "half-closes")
        @example([], "cancels")
        def each(messages: Sequence[bytes], end: End) -> None:
            held.run(held.value.attack(messages, end))

        each()
