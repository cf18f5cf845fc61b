"""Whatever is sent to the KServe door, it is answered: never as an internal error, and never not at all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forebay.compat.kserve import kserve_service_pb2 as kserve
from forebay.models.v1 import model_service_pb2
from forebay.runner.v1.runner_service_pb2 import Answer, Call
from tests.direct_runners import FakeRunner, chunk, echo
from tests.integration.held_open import held_open
from tests.integration.kserve import EMBED, GENERATE, Door, kserve_door, tensor_model

SERVICE = kserve.DESCRIPTOR.services_by_name["GRPCInferenceService"]
METHODS = [method for method in SERVICE.methods if not method.client_streaming]
FINE = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.FAILED_PRECONDITION,
}
ANSWERED_S = 8.0

numbers = st.integers(-(2**63), 2**63 - 1)
names = st.sampled_from(["x", "t", "y", "m", "text_input", "text", "stop", "", "\0", "ü" * 200])
parameter_names = st.sampled_from(
    [
        *("priority", "timeout", "sequence_id", "sequence_start", "sequence_end", "classification", "stream"),
        *("triton_enable_empty_final_response", "shared_memory_region", "sampling_parameters"),
        *("max_tokens", "temperature", "seed", "n", "stop", "made_up", "exclude_input_in_output", ""),
    ]
)
parameters = st.builds(
    lambda made: kserve.InferParameter(**made),
    st.one_of(
        st.just({}),
        st.booleans().map(lambda value: {"bool_param": value}),
        numbers.map(lambda value: {"int64_param": value}),
        st.integers(0, 2**64 - 1).map(lambda value: {"uint64_param": value}),
        st.floats().map(lambda value: {"double_param": value}),
        st.sampled_from(["", "high", "{}", '{"max_tokens": 1}', '{"seed": 1e999}', "[" * 99, "é"]).map(
            lambda value: {"string_param": value}
        ),
    ),
)
parameter_maps = st.dictionaries(parameter_names, parameters, max_size=4)
datatypes = st.sampled_from(["FP32", "BYTES", "INT8", "BOOL", "FP16", "UINT64", "INT32", "float", ""])
shapes = st.lists(st.one_of(st.integers(-2, 3), st.sampled_from([2**31, 2**62, 2**63 - 1])), max_size=4)
raws = st.one_of(st.binary(max_size=24), st.sampled_from([bytes(4), bytes(8), b"\2\0\0\0ab", b"\xff" * 8]))
contents = st.builds(
    kserve.InferTensorContents,
    bool_contents=st.lists(st.booleans(), max_size=2),
    int_contents=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=3),
    fp32_contents=st.lists(st.floats(width=32), max_size=3),
    bytes_contents=st.lists(st.binary(max_size=4), max_size=3),
)
inputs = st.builds(
    kserve.ModelInferRequest.InferInputTensor,
    name=names,
    datatype=datatypes,
    shape=shapes,
    parameters=st.one_of(st.none(), parameter_maps),
    contents=st.one_of(st.none(), contents),
)
outputs = st.builds(
    kserve.ModelInferRequest.InferRequestedOutputTensor,
    name=names,
    parameters=st.one_of(st.none(), parameter_maps),
)
requests = st.builds(
    kserve.ModelInferRequest,
    model_name=st.sampled_from(["m", "m", "language", "embedding", "none", "", "m@1", "m@x", "\0"]),
    model_version=st.sampled_from(["", "", "1", "0", "-1", "9" * 30, "x", "²"]),
    id=st.text(max_size=4),
    parameters=st.one_of(st.none(), parameter_maps),
    inputs=st.lists(inputs, max_size=3),
    outputs=st.lists(outputs, max_size=2),
    raw_input_contents=st.lists(raws, max_size=3),
)
hostile = settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def answer(call: Call) -> Answer:
    """Answer anything as its kind of model would."""
    kind = call.WhichOneof("input")
    if kind == "generate":
        made = chunk(call, "a") if call.stream else Answer(id=call.id, started=True)
        made.generate.text = "whole"
        return made
    if kind == "embed":
        made = Answer(id=call.id, started=True)
        for _ in call.embed.texts:
            made.embed.embeddings.add(values=[1.0])
        return made
    return echo(call)


def model(name: str, engine: model_service_pb2.EngineKind.ValueType) -> FakeRunner:
    card = model_service_pb2.Model(name=name, engine=engine, dimensions=1)
    return FakeRunner(name, model=name, card=card, answer=answer)


@asynccontextmanager
async def every_model() -> AsyncIterator[Door]:
    tensors = tensor_model(("x", "FP32", (-1, 2)), answer=answer)
    async with kserve_door(tensors, model("language", GENERATE), model("embedding", EMBED)) as door:
        yield door


async def check(call: Any) -> None:
    try:
        await asyncio.wait_for(call, ANSWERED_S)
    except grpc.aio.AioRpcError as error:
        assert error.code() in FINE, error


@pytest.mark.timeout(60)
def test_no_request_is_an_internal_error() -> None:
    async def run(request: kserve.ModelInferRequest) -> None:
        await check(held.value.stub.ModelInfer(request, timeout=ANSWERED_S))

    with held_open(every_model()) as held:

        @hostile
        @given(requests)
        def each(request: kserve.ModelInferRequest) -> None:
            held.run(run(request))

        each()


@pytest.mark.timeout(60)
def test_no_bytes_at_any_method_are_an_internal_error() -> None:
    async def run(method: str, raw: bytes) -> None:
        call: Any = held.value.system.channel.unary_unary(f"/{SERVICE.full_name}/{method}")
        await check(call(raw, timeout=ANSWERED_S))

    with held_open(every_model()) as held:

        @hostile
        @given(st.sampled_from([method.name for method in METHODS]), st.binary(max_size=40))
        def each(method: str, raw: bytes) -> None:
            held.run(run(method, raw))

        each()


@pytest.mark.timeout(60)
def test_a_stream_answers_every_message_whatever_it_is() -> None:
    method = f"/{SERVICE.full_name}/ModelStreamInfer"
    good = kserve.ModelInferRequest(model_name="m", id="good", raw_input_contents=[bytes(8)])
    good.inputs.add(name="x", datatype="FP32", shape=[1, 2])

    async def run(messages: list[bytes]) -> None:
        call: Any = held.value.system.channel.stream_stream(
            method, response_deserializer=kserve.ModelStreamInferResponse.FromString
        )(timeout=ANSWERED_S)
        for message in [*messages, good.SerializeToString()]:
            await call.write(message)
        await call.done_writing()
        last = None
        async for response in call:
            assert "internal error" not in response.error_message
            last = response.infer_response.id or last
        assert last == "good"

    anything = st.one_of(st.binary(max_size=40), requests.map(lambda request: request.SerializeToString()))
    with held_open(every_model()) as held:

        @hostile
        @given(st.lists(anything, max_size=6))
        def each(messages: list[bytes]) -> None:
            held.run(run(messages))

        each()
