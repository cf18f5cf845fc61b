"""Whatever is sent to InferenceService, it is answered: never as an internal error, never not at all, and without loss
for whoever calls beside it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forebay.inference.v1 import inference_service_pb2 as contract
from forebay.models.v1 import model_service_pb2
from forebay.runner.v1.runner_service_pb2 import Answer, Call
from forebay.tasks.v1 import inputs_pb2
from tests.direct_runners import FakeRunner, echo, never
from tests.integration.held_open import HeldOpen, held_open
from tests.integration.test_inference_service import (
    EMBED,
    GENERATE,
    TENSOR,
    Inference,
    generate,
    infer,
    inference,
)

SERVICE: Final = contract.DESCRIPTOR.services_by_name["InferenceService"]
REFUSED: Final = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}
ANSWERED_S: Final = 8.0

models = st.sampled_from(["m", "m", "language", "embedding", "none", "", "m@1", "m@x", "\0", "ü" * 200])
numbers = st.one_of(st.integers(-2, 4), st.sampled_from([2**31 - 1, -(2**31)]))
sizes = st.one_of(st.integers(-2, 3), st.sampled_from([2**31, 2**62, 2**63 - 1, -(2**63)]))
words = st.sampled_from(["x", "x", "y", "", "\0", "ü" * 300, "a b"])
tensors = st.builds(
    inputs_pb2.Tensor,
    name=words,
    datatype=st.sampled_from(
        ["FP32", "FP32", "BYTES", "INT8", "BOOL", "BF16", "FP16", "UINT64", "float", ""]
    ),
    shape=st.lists(sizes, max_size=4) | st.just([1, 2]) | st.just([1] * 40),
    raw=st.one_of(st.binary(max_size=24), st.sampled_from([bytes(8), b"\2\0\0\0ab", b"\xff" * 8])),
)
tensor_inputs = st.builds(inputs_pb2.TensorInput, tensors=st.lists(tensors, max_size=3))
sequences = st.none() | st.builds(
    contract.Sequence, id=words | st.just("s" * 300), start=st.booleans(), end=st.booleans()
)
ways = {"model": models, "priority": numbers, "pool": st.sampled_from(["", "", "default", "nowhere", "\0"])}
inferences = st.builds(
    contract.InferRequest,
    tensors=st.none() | tensor_inputs,
    outputs=st.lists(words, max_size=3),
    sequence=sequences,
    **ways,
)
embeddings = st.builds(
    contract.EmbedRequest,
    embed=st.none()
    | st.builds(
        inputs_pb2.EmbedInput, texts=st.lists(words, max_size=3), normalize=st.none() | st.booleans()
    ),
    **ways,
)
fractions = st.none() | st.floats(width=32)
generations = st.builds(
    contract.GenerateRequest,
    generate=st.none()
    | st.builds(
        inputs_pb2.GenerateInput,
        prompt=st.none() | words,
        max_tokens=st.none() | numbers,
        temperature=fractions,
        top_p=fractions,
        top_k=st.none() | numbers,
        min_p=fractions,
        seed=st.none() | st.integers(0, 2**64 - 1),
        stop=st.lists(words, max_size=3),
        presence_penalty=fractions,
        repetition_penalty=fractions,
        logit_bias=st.dictionaries(numbers, st.floats(width=32), max_size=2),
        logprobs=st.none() | numbers,
        stop_token_ids=st.lists(numbers, max_size=2),
        n=st.none() | numbers,
        response_format=st.none()
        | st.builds(inputs_pb2.ResponseFormat, json_schema=st.sampled_from(["", "{}", "[" * 99, "{"]))
        | st.builds(inputs_pb2.ResponseFormat, regex=st.sampled_from(["", "(", "a*", "(a*)*b"])),
    ),
    **ways,
)
hostile = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


def answer(call: Call) -> Answer:
    """Answer anything as its kind of model would."""
    kind = call.WhichOneof("input")
    if kind == "tensors":
        return echo(call)
    made = Answer(id=call.id, started=True)
    if kind == "generate":
        made.generate.text = "a"
    for _ in call.embed.texts:
        made.embed.embeddings.add(values=[1.0])
    return made


@dataclass
class Attacked:
    """A gateway with a model of each kind, and a call of somebody else that is open all the time."""

    gateway: Inference
    waiting: Any

    async def outcome(self, method: str, request: bytes) -> grpc.StatusCode:
        """Send the bytes of a request and return what came of it."""
        channel: Any = self.gateway.system.channel
        name = f"/{SERVICE.full_name}/{method}"
        try:
            async with asyncio.timeout(ANSWERED_S):
                if SERVICE.methods_by_name[method].server_streaming:
                    async for _ in channel.unary_stream(name)(request, timeout=ANSWERED_S):
                        pass
                else:
                    await channel.unary_unary(name)(request, timeout=ANSWERED_S)
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    async def check(self, method: str, request: bytes) -> None:
        """Send a request: it must be answered or refused, and the call beside it stay open."""
        code = await self.outcome(method, request)
        assert code is grpc.StatusCode.OK or code in REFUSED, code
        assert not self.waiting.done()


@asynccontextmanager
async def attacked() -> AsyncIterator[Attacked]:
    patient = FakeRunner("patient", model="patient", answer=never)
    runners = [
        FakeRunner(name, model=name, card=model_service_pb2.Model(name=name, engine=kind), answer=answer)
        for name, kind in (("m", TENSOR), ("language", GENERATE), ("embedding", EMBED))
    ]
    async with inference(patient, *runners) as gateway:
        call = gateway.stub.Infer(infer(model="patient"), timeout=120)
        await patient.until(lambda: len(patient.calls) == 1)
        yield Attacked(gateway, call)
        patient.send(echo(patient.calls[0]))
        assert (await call).execution.runner == "patient"
        for request in (infer(), infer()):
            assert (await gateway.stub.Infer(request, timeout=5)).tensors.tensors
        parts = [part async for part in gateway.stub.Generate(generate(model="language"), timeout=5)]
        assert parts[-1].execution.runner == "language"


def attack(requests: st.SearchStrategy[tuple[str, bytes]]) -> None:
    with held_open(attacked()) as held:
        _examples(held, requests)


def _examples(held: HeldOpen[Attacked], requests: st.SearchStrategy[tuple[str, bytes]]) -> None:
    @hostile
    @given(requests)
    def each(request: tuple[str, bytes]) -> None:
        held.run(held.value.check(*request))

    each()


@pytest.mark.timeout(90)
@pytest.mark.parametrize(
    ("method", "requests"), [("Infer", inferences), ("Embed", embeddings), ("Generate", generations)]
)
def test_no_request_is_an_internal_error(method: str, requests: st.SearchStrategy[Message]) -> None:
    attack(requests.map(lambda request: (method, request.SerializeToString())))


@pytest.mark.timeout(90)
def test_no_bytes_at_any_method_are_an_internal_error() -> None:
    methods = st.sampled_from([method.name for method in SERVICE.methods])
    attack(st.tuples(methods, st.binary(max_size=60)))


@pytest.mark.timeout(90)
def test_a_request_that_was_cut_short_or_had_a_byte_changed_is_no_internal_error() -> None:
    def changed(message: Message, change: Callable[[bytes], bytes]) -> bytes:
        return change(message.SerializeToString())

    def cut(at: int) -> Callable[[bytes], bytes]:
        return lambda raw: raw[: at % (len(raw) + 1)]

    def flip(at: int, by: int) -> Callable[[bytes], bytes]:
        def change(raw: bytes) -> bytes:
            if not raw:
                return raw
            place = at % len(raw)
            return raw[:place] + bytes([raw[place] ^ by]) + raw[place + 1 :]

        return change

    places = st.integers(0, 500)
    changes = places.map(cut) | st.builds(flip, places, st.integers(1, 255))
    whole = (
        st.tuples(st.just("Infer"), inferences)
        | st.tuples(st.just("Embed"), embeddings)
        | st.tuples(st.just("Generate"), generations)
    )
    attack(
        st.builds(lambda request, change: (request[0], changed(request[1], change)), whole, changes),
    )
