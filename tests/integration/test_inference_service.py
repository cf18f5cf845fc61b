"""InferenceService through a gateway, with runners that do as they are told behind it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2

from forebay.client import AsyncClient, Client, InvalidArgument, NotFound
from forebay.inference.v1 import inference_service_pb2 as contract
from forebay.inference.v1 import inference_service_pb2_grpc
from forebay.models.v1 import model_service_pb2
from forebay.runner.v1.runner_service_pb2 import Answer, Call
from forebay.tasks.v1 import inputs_pb2, task_pb2
from observability import names, tracing
from scheduler.adapters.clock import SystemClock
from scheduler.adapters.memory import MemoryStore
from scheduler.errors import ModelFailed
from scheduler.policies.policy import DEFAULT_POLICY, Limit, Policy, Routing
from scheduler.ports.membership import RUNNER_ROLE
from scheduler.ports.records import Ending
from scheduler.states import TaskState
from services.gateway.settings import GatewaySettings
from tests.direct_runners import FakeRunner, chunk, echo, never, refusing, served
from tests.fixtures.collector import Collector
from tests.integration.gateway import System, published, running

TENSOR = model_service_pb2.ENGINE_KIND_TENSOR
GENERATE = model_service_pb2.ENGINE_KIND_GENERATE
EMBED = model_service_pb2.ENGINE_KIND_EMBED


@dataclass
class Inference:
    """A gateway with runners behind it, and a stub of InferenceService."""

    system: System
    stub: Any

    async def failure(self, call: Any) -> tuple[grpc.StatusCode, str, list[Any]]:
        code, details = await self.system.failure(call)
        info = error_details_pb2.ErrorInfo()
        assert details[0].Unpack(info)
        return code, info.reason, details


@asynccontextmanager
async def inference(
    *runners: FakeRunner, policy: Policy = DEFAULT_POLICY, settings: GatewaySettings | None = None
) -> AsyncIterator[Inference]:
    store = MemoryStore(SystemClock())
    async with AsyncExitStack() as stack:
        for runner in runners:
            await stack.enter_async_context(served(runner))
            card = runner.status().SerializeToString()
            await store.membership.announce(RUNNER_ROLE, runner.id, card, 60_000)
        system = await stack.enter_async_context(running(store, policy=policy, settings=settings))
        yield Inference(system, inference_service_pb2_grpc.InferenceServiceStub(system.channel))


def of_kind(engine: model_service_pb2.EngineKind.ValueType, **fields: Any) -> FakeRunner:
    return FakeRunner(card=model_service_pb2.Model(name="m", engine=engine), **{"id": "r1", **fields})


def infer(**fields: Any) -> contract.InferRequest:
    one = inputs_pb2.Tensor(name="x", datatype="FP32", shape=[1, 2], raw=b"\0\0\0\0\0\0\x80?")
    given = {"model": "m", "tensors": inputs_pb2.TensorInput(tensors=[one]), **fields}
    return contract.InferRequest(**given)


def generate(**fields: Any) -> contract.GenerateRequest:
    given = {"model": "m", "generate": inputs_pb2.GenerateInput(prompt="hello"), **fields}
    return contract.GenerateRequest(**given)


async def everything(call: Any) -> list[contract.GenerateResponse]:
    found = []
    while (response := await call.read()) is not grpc.aio.EOF:
        found.append(response)
    return found


async def test_tensors_go_in_and_come_out_with_who_executed_them_and_how_long_it_took() -> None:
    runner = of_kind(TENSOR, version=3)
    async with inference(runner) as gateway:
        request = infer(
            model="m@3",
            priority=task_pb2.PRIORITY_HIGH,
            outputs=["a", "b"],
            sequence=contract.Sequence(id="s", start=True, end=True),
        )
        response = await gateway.stub.Infer(request, timeout=5)
    assert response.tensors.tensors == request.tensors.tensors
    assert (response.execution.runner, response.execution.version) == ("r1", 3)
    assert response.execution.timing.execute.ToMicroseconds() == 1000
    assert response.execution.timing.queue.ToMicroseconds() >= 0
    assert not response.execution.timing.HasField("time_to_first_token")
    (got,) = runner.calls
    assert (got.tenant, got.priority) == ("default", task_pb2.PRIORITY_HIGH)
    assert [one.name for one in got.outputs] == ["a", "b"]
    assert (got.sequence.id, got.sequence.start, got.sequence.end) == ("s", True, True)
    # gRPC rounds up what it tells of a deadline.
    assert 4_000 < got.timeout_ms <= 5_100


async def test_texts_go_in_and_vectors_come_out_with_what_was_used() -> None:
    def embed(call: Call) -> Answer:
        answer = Answer(id=call.id, started=True, execute_us=10)
        for text in call.embed.texts:
            answer.embed.embeddings.add(values=[float(len(text)), 0.5], tokens=3)
        answer.usage.input_tokens = 6
        return answer

    async with inference(of_kind(EMBED, answer=embed)) as gateway:
        request = contract.EmbedRequest(model="m", embed=inputs_pb2.EmbedInput(texts=["ab", "abc"]))
        response = await gateway.stub.Embed(request, timeout=5)
    assert [list(one.values) for one in response.embed.embeddings] == [[2.0, 0.5], [3.0, 0.5]]
    assert response.usage.input_tokens == 6
    assert response.execution.runner == "r1"


async def test_text_comes_as_it_is_generated_and_what_was_used_comes_last() -> None:
    runner = of_kind(GENERATE, answer=never)
    async with inference(runner) as gateway:
        call = gateway.stub.Generate(generate(), timeout=5)
        reading = asyncio.ensure_future(call.read())
        await runner.until(lambda: len(runner.calls) == 1)
        (got,) = runner.calls
        runner.send(chunk(got, "a"))
        assert (await reading).text == "a"
        last = chunk(got, "b")
        last.chunk.finish_reason = inputs_pb2.FINISH_REASON_STOP
        whole = Answer(id=got.id, started=True, execute_us=900, first_token_us=300)
        whole.generate.text = "ab"
        whole.generate.finish_reason = inputs_pb2.FINISH_REASON_STOP
        whole.usage.output_tokens = 2
        runner.send(last, whole)
        second, third = await everything(call)
    assert (second.text, second.finish_reason) == ("b", inputs_pb2.FINISH_REASON_STOP)
    assert (third.text, third.finish_reason, third.usage.output_tokens) == ("", 0, 2)
    assert third.execution.runner == "r1"
    assert third.execution.timing.time_to_first_token.ToMicroseconds() == 300


async def test_a_client_that_goes_away_stops_the_generation() -> None:
    runner = of_kind(GENERATE, answer=lambda got: chunk(got, "a"))
    async with inference(runner) as gateway:
        call = gateway.stub.Generate(generate(), timeout=5)
        assert (await call.read()).text == "a"
        call.cancel()
        await runner.until(lambda: runner.cancelled == [runner.calls[0].id])


async def test_a_client_that_goes_away_or_is_late_stops_an_inference() -> None:
    runner = of_kind(TENSOR, answer=never)
    async with inference(runner) as gateway:
        call = gateway.stub.Infer(infer(), timeout=5)
        await runner.until(lambda: len(runner.calls) == 1)
        call.cancel()
        await runner.until(lambda: len(runner.cancelled) == 1)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await gateway.stub.Infer(infer(), timeout=0.2)
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await runner.until(lambda: len(runner.cancelled) == 2)


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (infer(model=""), ["model"]),
        (infer(model="a b"), ["model"]),
        (infer(model="m@0"), ["model"]),
        (infer(priority=9), ["priority"]),
        (infer(pool="nowhere"), ["pool"]),
        (infer(tensors=None), ["tensors.tensors"]),
        (infer(outputs=["a", "a", ""]), ["outputs", "outputs[2]"]),
        (infer(sequence=contract.Sequence(id="")), ["sequence.id"]),
        (infer(sequence=contract.Sequence(id="x" * 257)), ["sequence.id"]),
    ],
)
async def test_what_breaks_a_rule_is_refused_with_the_field(
    request_: contract.InferRequest, fields: Sequence[str]
) -> None:
    runner = of_kind(TENSOR)
    async with inference(runner) as gateway:
        code, _, details = await gateway.failure(gateway.stub.Infer(request_, timeout=5))
    bad = error_details_pb2.BadRequest()
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert details[1].Unpack(bad)
    assert [violation.field for violation in bad.field_violations] == fields
    assert not runner.calls


async def test_embeddings_and_generations_are_checked_before_they_are_sent() -> None:
    async with inference(of_kind(GENERATE)) as gateway:
        for call in (
            gateway.stub.Embed(contract.EmbedRequest(model="m"), timeout=5),
            gateway.stub.Embed(
                contract.EmbedRequest(model="m", embed=inputs_pb2.EmbedInput(texts=["a", ""])), timeout=5
            ),
            gateway.stub.Generate(generate(generate=inputs_pb2.GenerateInput()), timeout=5),
        ):
            assert (await gateway.failure(call))[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_model_of_another_kind_says_what_to_call_instead() -> None:
    async with inference(of_kind(GENERATE)) as gateway:
        with pytest.raises(grpc.aio.AioRpcError, match="call Generate") as raised:
            await gateway.stub.Infer(infer(), timeout=5)
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_errors_travel_by_the_one_table_and_those_of_the_runner_as_it_said_them() -> None:
    loading = of_kind(TENSOR, id="r2", model="loading", state=model_service_pb2.RUNNER_STATE_LOADING)
    broken = of_kind(TENSOR, answer=refusing(ModelFailed("it broke"), started=True))
    async with inference(broken, loading) as gateway:
        stub = gateway.stub
        assert (await gateway.failure(stub.Infer(infer(model="nobody"), timeout=5)))[:2] == (
            grpc.StatusCode.NOT_FOUND,
            "MODEL_NOT_FOUND",
        )
        code, reason, details = await gateway.failure(stub.Infer(infer(model="loading"), timeout=5))
        assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "MODEL_NOT_READY")
        assert details[1].Is(error_details_pb2.RetryInfo.DESCRIPTOR)
        assert (await gateway.failure(stub.Infer(infer(), timeout=5)))[:2] == (
            grpc.StatusCode.UNKNOWN,
            "MODEL_FAILED",
        )


async def test_the_client_infers_and_embeds_and_generates() -> None:
    def whole(call: Call) -> Answer:
        answer = Answer(id=call.id, started=True, generate=inputs_pb2.GenerateOutput(text="hi"))
        answer.usage.output_tokens = 2
        return answer

    def vectors(call: Call) -> Answer:
        answer = Answer(id=call.id, started=True, execute_us=2_000)
        for text in call.embed.texts:
            answer.embed.embeddings.add(values=[len(text), call.embed.normalize], tokens=3, truncated=True)
        return answer

    runners = (
        of_kind(TENSOR, id="r1", model="mlp"),
        of_kind(EMBED, id="r2", model="minilm", answer=vectors),
        of_kind(GENERATE, id="r3", model="smollm2", answer=whole),
    )
    for runner in runners:
        assert runner.card is not None
        runner.card.name = runner.model
    async with inference(*runners) as gateway:
        address = gateway.system.gateway.grpc.address
        async with AsyncClient(address) as client:
            ones = np.array([1, 2], np.float32)
            answer = await client.infer(
                "mlp", {"x": ones}, outputs=["x"], priority="high", sequence="s", start=True, end=True
            )
            assert answer.tensors["x"].tolist() == [1, 2]
            assert (answer.execution.runner, answer.execution.timing.execute_s) == ("r1", 0.001)
            assert runners[0].calls[0].sequence.end
            embedded = await client.embed("minilm", ["a", "abc"], normalize=True)
            assert embedded.vectors.tolist() == [[1, 1], [3, 1]]
            assert (embedded.tokens, embedded.truncated) == ((3, 3), (True, True))
            parts = [part async for part in client.generate("smollm2", prompt="hello", max_tokens=2)]
            assert [part.usage.output_tokens for part in parts if part.usage] == [2]
            with pytest.raises(NotFound, match="nobody"):
                await client.infer("nobody", {"x": ones})

        def blocking() -> list[object]:
            with Client(address) as client:
                return [
                    client.infer("mlp", {"x": np.array([[5]])}).tensors["x"].tolist(),
                    client.embed("minilm", ["ab"], normalize=False).vectors.tolist(),
                    [part.execution is not None for part in client.generate("smollm2", prompt="hello")],
                ]

        assert await asyncio.to_thread(blocking) == [[[5]], [[2, 0]], [True]]


async def test_an_embedding_is_accepted_durably_and_what_is_wrong_with_one_is_told() -> None:
    async with inference() as gateway:
        system = gateway.system
        async with AsyncClient(system.gateway.grpc.address) as client:
            task = await client.submit(
                "minilm@2", texts=["a", "b"], normalize=False, labels={"kind": "short"}
            )
            with pytest.raises(InvalidArgument, match="must not be empty"):
                await client.submit("minilm", texts=["a", ""])
            (publication,) = published(system.log)
            envelope = publication.envelope
            spec = task_pb2.TaskSpec.FromString(envelope.spec)
            assert (list(spec.embed.texts), spec.embed.normalize) == (["a", "b"], False)
            assert (envelope.input_size, envelope.kind) == (len(envelope.spec), "short")
            assert envelope.output_limit == 0
            await system.lease(task.id)
            result = task_pb2.Result()
            for number in range(2):
                result.embed.embeddings.add(values=[number, 1.0], tokens=3)
            ending = Ending(task.id, 1, TaskState.SUCCEEDED, result=result.SerializeToString())
            await system.store.records.finish([ending])
            ended = await client.wait(task, timeout_s=5)
            assert ended.embeddings.vectors.tolist() == [[0.0, 1.0], [1.0, 1.0]]


async def test_limits_of_the_policy_hold_for_calls_and_tasks_together() -> None:
    runner = of_kind(TENSOR, answer=never)
    async with inference(runner, policy=Policy(limits=(Limit(queued_tasks=2),))) as gateway:
        critical = {"priority": task_pb2.PRIORITY_CRITICAL}
        waiting = gateway.stub.Infer(infer(**critical), timeout=5)
        await runner.until(lambda: len(runner.calls) == 1)
        (task_id,) = await gateway.system.submit(
            task_pb2.TaskSpec(model="m", tensors=infer().tensors, priority=task_pb2.PRIORITY_CRITICAL)
        )
        code, reason, details = await gateway.failure(gateway.stub.Infer(infer(**critical), timeout=5))
        assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED")
        assert details[1].Is(error_details_pb2.RetryInfo.DESCRIPTOR)
        assert details[2].Is(error_details_pb2.QuotaFailure.DESCRIPTOR)
        runner.send(echo(runner.calls[0]))
        await waiting
        runner.answer = echo
        await gateway.stub.Infer(infer(**critical), timeout=5)
        assert task_id


async def test_prompts_that_begin_alike_meet_the_same_runner_where_the_policy_says_so() -> None:
    def whole(call: Call) -> Answer:
        return Answer(id=call.id, started=True, generate=inputs_pb2.GenerateOutput(text="x"))

    runners = [of_kind(GENERATE, id=f"r{n}", answer=whole) for n in range(3)]
    policy = Policy(routing={"m": Routing.PREFIX_AFFINITY})
    async with inference(*runners, policy=policy) as gateway:
        begin = "once upon a time " * 40
        for end in "abcdef":
            request = generate(generate=inputs_pb2.GenerateInput(prompt=begin + end))
            (last,) = await everything(gateway.stub.Generate(request, timeout=5))
            assert last.execution.runner
    assert sorted(len(runner.calls) for runner in runners) in ([0, 0, 6], [0, 1, 5])


async def test_a_gateway_that_goes_lets_a_call_end_within_the_grace_period() -> None:
    runner = of_kind(TENSOR, answer=never)
    settings = GatewaySettings(listen="127.0.0.1:0", http_listen="127.0.0.1:0", grace_s=5.0)
    async with AsyncExitStack() as outside:
        async with inference(runner, settings=settings) as gateway:
            # Of its own: that of the block is closed before the gateway goes.
            channel = grpc.aio.insecure_channel(gateway.system.gateway.grpc.address)
            stub: Any = inference_service_pb2_grpc.InferenceServiceStub(
                await outside.enter_async_context(channel)
            )
            waiting = stub.Infer(infer(), timeout=10)
            await runner.until(lambda: len(runner.calls) == 1)
            going = asyncio.get_running_loop().call_later(0.3, lambda: runner.send(echo(runner.calls[0])))
        going.cancel()
        assert (await waiting).execution.runner == "r1"


async def test_a_call_is_one_trace_down_to_its_runner_and_what_was_asked_is_in_no_span(
    collector: Collector,
) -> None:
    caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    end = tracing.configure(names.SERVICE_GATEWAY, collector.endpoint)
    runner = of_kind(TENSOR)
    try:
        async with inference(runner) as gateway:
            canary = inputs_pb2.Tensor(name="x", datatype="UINT8", shape=[13], raw=b"canary-canary")
            request = infer(tensors=inputs_pb2.TensorInput(tensors=[canary]))
            await gateway.stub.Infer(request, timeout=5, metadata=(("traceparent", caller),))
    finally:
        end()
    spans = {span.name: span for span in collector.spans()}
    server = spans["forebay.inference.v1.InferenceService/Infer"]
    hop = spans["forebay.runner.v1.RunnerService/Execute"]
    assert (server.kind, server.parent_id) == ("server", caller.split("-")[2])
    assert (hop.kind, hop.parent_id) == ("client", server.span_id)
    assert (hop.attributes[names.MODEL_NAME], hop.attributes[names.RUNNER_ID]) == ("m", "r1")
    assert runner.calls[0].traceparent.split("-")[2] == server.span_id
    assert not any(b"canary" in span.raw for span in collector.spans())


async def test_a_call_without_a_deadline_ends_by_that_of_the_direct_way_and_not_by_the_shorter_one_of_others() -> (
    None
):
    slow = of_kind(TENSOR, answer=never)
    settings = GatewaySettings(
        listen="127.0.0.1:0", http_listen="127.0.0.1:0", default_deadline_s=0.1, direct_timeout_s=0.6
    )
    async with inference(slow, settings=settings) as gateway:
        began_s = asyncio.get_running_loop().time()
        code, reason, _ = await gateway.failure(gateway.stub.Infer(infer()))
        took_s = asyncio.get_running_loop().time() - began_s
        assert (code, reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_PASSED")
        assert 0.5 < took_s < 10


async def test_calls_of_one_tenant_and_kind_meet_the_same_runner() -> None:
    runners = [FakeRunner(f"r{number}") for number in range(4)]
    policy = Policy(routing={"m": Routing.CONSISTENT_HASH})
    async with inference(*runners, policy=policy) as gateway:
        await gateway.stub.Infer(infer(), timeout=5)
        for runner in runners:
            await runner.attached(1)
        homes = {}
        for kind in ("", "a", "b", "c", "d"):
            asked = [await gateway.stub.Infer(infer(kind=kind), timeout=5) for _ in range(3)]
            (homes[kind],) = {response.execution.runner for response in asked}
        assert len(set(homes.values())) > 1
        # A name that is longer counts as far as that of a task does.
        long = [await gateway.stub.Infer(infer(kind="k" * length), timeout=5) for length in (63, 90)]
        assert long[0].execution.runner == long[1].execution.runner
