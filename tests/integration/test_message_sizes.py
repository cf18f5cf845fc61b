"""Messages over the size that the gateway takes are refused by name, and whoever shares the connection lives on."""

from collections.abc import AsyncIterator
from typing import Any, Final

import grpc
import grpc.aio
import pytest

from forebay.compat.kserve import kserve_service_pb2 as kserve
from forebay.compat.kserve import kserve_service_pb2_grpc
from tests.direct_runners import FakeRunner, echo, never
from tests.integration.kserve import Door, kserve_door, raw_request, tensor_model

pytestmark = pytest.mark.timeout(120)  # hundreds of megabytes go through

LARGEST_BYTES: Final = 64 << 20
"""What docs/kserve.md says."""
UNBOUNDED: Final = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))
"""What Triton's clients set: the bounds are the server's."""
LARGE: Final = raw_request(bytes(LARGEST_BYTES), shape=(LARGEST_BYTES // 8, 2))


@pytest.fixture
def patient() -> FakeRunner:
    """A runner that answers nothing by itself."""
    return tensor_model(answer=never)


@pytest.fixture
async def door(patient: FakeRunner) -> AsyncIterator[Door]:
    async with kserve_door(patient) as opened:
        address = opened.system.gateway.grpc.address
        async with grpc.aio.insecure_channel(address, options=UNBOUNDED) as channel:
            yield Door(opened.system, kserve_service_pb2_grpc.GRPCInferenceServiceStub(channel))


async def refused(door: Door, compression: Any = None) -> str:
    code, details = await door.refusal(door.stub.ModelInfer(LARGE, timeout=60, compression=compression))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED, details
    return details


async def test_a_request_that_is_too_large_is_refused_and_the_calls_beside_it_are_answered(
    door: Door, patient: FakeRunner
) -> None:
    beside = door.stub.ModelInfer(raw_request(), timeout=60)
    await patient.until(lambda: len(patient.calls) == 1)
    assert "larger than max" in await refused(door)
    patient.send(echo(patient.calls[0]))
    assert (await beside).raw_output_contents == [bytes(8)]
    patient.answer = echo
    assert (await door.infer(raw_request())).raw_output_contents == [bytes(8)]
    assert len(patient.calls) == 2


async def test_a_request_that_is_too_large_when_decompressed_is_refused_like_one_that_came_so(
    door: Door, patient: FakeRunner
) -> None:
    assert "larger than max" in await refused(door, grpc.Compression.Gzip)
    patient.answer = echo
    assert (await door.infer(raw_request())).raw_output_contents == [bytes(8)]


async def test_a_stream_ends_with_a_request_that_is_too_large_and_another_one_begins(
    door: Door, patient: FakeRunner
) -> None:
    patient.answer = echo
    stream = door.stub.ModelStreamInfer(timeout=60)
    await stream.write(raw_request(id="small"))
    assert (await stream.read()).infer_response.id == "small"
    await stream.write(LARGE)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        while await stream.read() is not grpc.aio.EOF:
            pass
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    again = door.stub.ModelStreamInfer(timeout=60)
    await again.write(raw_request(id="again"))
    assert (await again.read()).infer_response.id == "again"
    await again.done_writing()
    assert await again.read() is grpc.aio.EOF


async def test_the_largest_request_goes_through(door: Door, patient: FakeRunner) -> None:
    patient.answer = echo
    room = 128 << 10  # for what surrounds the elements, in this message and in that to the runner
    raw = bytes(LARGEST_BYTES - room)
    request = raw_request(raw, shape=(len(raw) // 8, 2))
    response: kserve.ModelInferResponse = await door.stub.ModelInfer(request, timeout=60)
    assert response.raw_output_contents[0] == raw
