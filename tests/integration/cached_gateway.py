"""A gateway with a result cache, and runners that do as they are told behind it: shared by the tests of the cache."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from forebay.compat.kserve import kserve_service_pb2 as kserve
from forebay.compat.kserve import kserve_service_pb2_grpc
from forebay.inference.v1 import inference_service_pb2 as contract
from forebay.inference.v1 import inference_service_pb2_grpc
from forebay.models.v1 import model_service_pb2
from forebay.runner.v1.runner_service_pb2 import Answer, Call
from forebay.tasks.v1 import inputs_pb2
from scheduler.adapters.clock import SystemClock
from scheduler.adapters.memory import MemoryStore
from scheduler.policies.policy import DEFAULT_POLICY, Policy
from scheduler.ports.membership import RUNNER_ROLE
from services.gateway.caching import CacheSettings
from services.gateway.settings import GatewaySettings
from tests.direct_runners import FakeRunner, chunk, served
from tests.integration.gateway import System, running

TENSOR = model_service_pb2.ENGINE_KIND_TENSOR
GENERATE = model_service_pb2.ENGINE_KIND_GENERATE
EMBED = model_service_pb2.ENGINE_KIND_EMBED
ON = CacheSettings(enabled=True)
RAW = b"\0\0\0\0\0\0\x80?"
STOPPED = inputs_pb2.FINISH_REASON_STOP


@dataclass
class Cached:
    """A gateway with a cache, and stubs of two of its doors."""

    system: System
    store: MemoryStore
    native: Any
    kserve: Any

    async def replace(self, old: FakeRunner, new: FakeRunner) -> None:
        """Let one runner take over from another, and return when the gateway knows."""
        old.state = model_service_pb2.RUNNER_STATE_DRAINING
        for runner in (old, new):
            card = runner.status().SerializeToString()
            await self.store.membership.announce(RUNNER_ROLE, runner.id, card, 60_000)
        await new.attached(1)

    async def infer(self, mode: int = 0, raw: bytes = RAW, **options: Any) -> contract.InferResponse:
        request = infer(raw, cache=mode)
        response = await self.native.Infer(request, **{"timeout": 10, **options})
        assert isinstance(response, contract.InferResponse)
        return response

    async def kserve_infer(self, mode: str = "", raw: bytes = RAW) -> kserve.ModelInferResponse:
        request = kserve.ModelInferRequest(model_name="m", raw_input_contents=[raw])
        request.inputs.add(name="x", datatype="FP32", shape=[1, 2])
        if mode:
            request.parameters["cache"].string_param = mode
        response = await self.kserve.ModelInfer(request, timeout=10)
        assert isinstance(response, kserve.ModelInferResponse)
        return response

    async def metric(self, name: str, **labels: str) -> float:
        """Return what the gateway's page shows; 0 for what is not there."""
        address = f"http://{self.system.gateway.http_address}/metrics"
        async with aiohttp.ClientSession() as session, session.get(address) as response:
            page = await response.text()
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return float(sample.value)
        return 0.0

    async def until(self, value: float, name: str, **labels: str) -> None:
        """Wait until the page shows at least this."""
        async with asyncio.timeout(10):
            while await self.metric(name, **labels) < value:
                pass

    async def get(self, path: str) -> Any:
        """Return what the HTTP door says of the model."""
        address = f"http://{self.system.gateway.http_address}/v2/models/m/{path}"
        async with aiohttp.ClientSession() as session, session.get(address) as response:
            return await response.json()

    async def post(self, path: str, body: Any) -> Any:
        """Return the answer of the HTTP door: what JSON says, or the data of its events in a list."""
        address = f"http://{self.system.gateway.http_address}/v2/models/m/{path}"
        async with aiohttp.ClientSession() as session, session.post(address, json=body) as response:
            text = await response.text()
            assert response.status == 200, text
        if response.content_type != "text/event-stream":
            return json.loads(text)
        return [json.loads(event.removeprefix("data: ")) for event in text.split("\n\n") if event]

    async def generate(self, **fields: Any) -> list[contract.GenerateResponse]:
        request = contract.GenerateRequest(
            model="m", generate=inputs_pb2.GenerateInput(prompt="hello", **fields)
        )
        return [response async for response in self.native.Generate(request, timeout=10)]


def infer(raw: bytes = RAW, **fields: Any) -> contract.InferRequest:
    one = inputs_pb2.Tensor(name="x", datatype="FP32", shape=[1, 2], raw=raw)
    return contract.InferRequest(model="m", tensors=inputs_pb2.TensorInput(tensors=[one]), **fields)


def tensor_runner(digest: str = "weights", **fields: Any) -> FakeRunner:
    card = model_service_pb2.Model(name="m", engine=TENSOR)
    card.inputs.add(name="x", datatype="FP32", shape=(-1, 2))
    return FakeRunner(**{"id": "r1", "card": card, "answers_digest": digest, **fields})


def language_runner(answer: Any, **fields: Any) -> FakeRunner:
    card = model_service_pb2.Model(name="m", engine=GENERATE)
    return FakeRunner(**{"id": "r1", "card": card, "answers_digest": "weights", "answer": answer, **fields})


def said(call: Call, *texts: str) -> list[Answer]:
    """Return a generation in pieces, and whole."""
    pieces = [chunk(call, text) for text in texts]
    pieces[-1].chunk.finish_reason = STOPPED
    whole = Answer(id=call.id, started=True, execute_us=1000)
    whole.generate.text = "".join(texts)
    whole.generate.finish_reason = STOPPED
    whole.usage.input_tokens, whole.usage.output_tokens = 3, len(texts)
    return [*pieces, whole]


@asynccontextmanager
async def cached(
    *runners: FakeRunner,
    later: FakeRunner | None = None,
    cache: CacheSettings = ON,
    keys: Path | None = None,
    policy: Policy = DEFAULT_POLICY,
) -> AsyncIterator[Cached]:
    """Run a gateway with a cache in front of runners; `later` is there, and not announced."""
    store = MemoryStore(SystemClock())
    settings = GatewaySettings(
        listen="127.0.0.1:0", http_listen="127.0.0.1:0", grace_s=2.0, api_keys_file=keys, secret="s" * 32
    )
    async with AsyncExitStack() as stack:
        if later is not None:
            await stack.enter_async_context(served(later))
        for runner in runners:
            await stack.enter_async_context(served(runner))
            card = runner.status().SerializeToString()
            await store.membership.announce(RUNNER_ROLE, runner.id, card, 60_000)
        system = await stack.enter_async_context(
            running(store, settings=settings, cache=cache, policy=policy)
        )
        yield Cached(
            system,
            store,
            inference_service_pb2_grpc.InferenceServiceStub(system.channel),
            kserve_service_pb2_grpc.GRPCInferenceServiceStub(system.channel),
        )
