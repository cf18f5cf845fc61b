"""A gateway with runners that do as they are told behind it, and a stub of the KServe v2 service in front."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from forebay.compat.kserve import kserve_service_pb2 as kserve
from forebay.compat.kserve import kserve_service_pb2_grpc
from forebay.models.v1 import model_service_pb2
from scheduler.adapters.clock import SystemClock
from scheduler.adapters.memory import MemoryStore
from scheduler.ports.membership import RUNNER_ROLE
from services.gateway.settings import GatewaySettings
from tests.direct_runners import FakeRunner, echo, served
from tests.integration.gateway import System, running

TENSOR = model_service_pb2.ENGINE_KIND_TENSOR
GENERATE = model_service_pb2.ENGINE_KIND_GENERATE
EMBED = model_service_pb2.ENGINE_KIND_EMBED

Signature = tuple[str, str, Sequence[int]]
Request = kserve.ModelInferRequest


@dataclass
class Door:
    """The door, and the gateway that it is of."""

    system: System
    stub: Any

    async def infer(self, request: Request, **options: Any) -> kserve.ModelInferResponse:
        response = await self.stub.ModelInfer(request, **{"timeout": 5, **options})
        assert isinstance(response, kserve.ModelInferResponse)
        return response

    async def refusal(self, call: Any) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call
        return raised.value.code(), raised.value.details() or ""

    async def fault(self, request: Request) -> str:
        """Return what is said of a request that is wrong."""
        code, details = await self.refusal(self.stub.ModelInfer(request, timeout=5))
        assert code is grpc.StatusCode.INVALID_ARGUMENT, (code, details)
        return details


@asynccontextmanager
async def kserve_door(*runners: FakeRunner, keys: Path | None = None) -> AsyncIterator[Door]:
    store = MemoryStore(SystemClock())
    settings = GatewaySettings(
        listen="127.0.0.1:0", http_listen="127.0.0.1:0", grace_s=2.0, api_keys_file=keys
    )
    async with AsyncExitStack() as stack:
        for runner in runners:
            await stack.enter_async_context(served(runner))
            card = runner.status().SerializeToString()
            await store.membership.announce(RUNNER_ROLE, runner.id, card, 60_000)
        system = await stack.enter_async_context(running(store, settings=settings))
        yield Door(system, kserve_service_pb2_grpc.GRPCInferenceServiceStub(system.channel))


def tensor_model(
    *inputs: Signature, outputs: Sequence[Signature] = (), answer: Any = echo, **fields: Any
) -> FakeRunner:
    """Make a runner of model `m` with these inputs, `x` FP32 [-1,2] when there are none."""
    own = ("id", "version", "model", "state")
    given: dict[str, Any] = {name: fields.pop(name) for name in own if name in fields}
    card = model_service_pb2.Model(name="m", engine=TENSOR, **fields)
    for name, datatype, shape in inputs or (("x", "FP32", (-1, 2)),):
        card.inputs.add(name=name, datatype=datatype, shape=shape)
    for name, datatype, shape in outputs:
        card.outputs.add(name=name, datatype=datatype, shape=shape)
    given.setdefault("id", "r1")
    return FakeRunner(card=card, answer=answer, **given)


def text_model(engine: model_service_pb2.EngineKind.ValueType, answer: Any, **fields: Any) -> FakeRunner:
    card = model_service_pb2.Model(name="m", engine=engine, **fields)
    return FakeRunner("r1", card=card, answer=answer)


def raw_request(
    raw: bytes = bytes(8),
    name: str = "x",
    datatype: str = "FP32",
    shape: Sequence[int] = (1, 2),
    **fields: Any,
) -> Request:
    request = Request(**{"model_name": "m", "raw_input_contents": [raw], **fields})
    request.inputs.add(name=name, datatype=datatype, shape=shape)
    return request


def typed_request(
    field: str,
    elements: Sequence[Any],
    datatype: str = "FP32",
    shape: Sequence[int] = (1, 2),
    name: str = "x",
) -> Request:
    request = Request(model_name="m")
    tensor = request.inputs.add(name=name, datatype=datatype, shape=shape)
    getattr(tensor.contents, field).extend(elements)
    return request


def set_parameter(request: Any, name: str, value: bool | int | float | str, kind: str = "") -> Any:
    """Set a parameter of anything that has some, with the type that clients give such a value."""
    kinds = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}
    setattr(request.parameters[name], kind or kinds[type(value)], value)
    return request
