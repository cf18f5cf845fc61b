"""A gateway with runners that do as they are told behind it, and a client of its HTTP port: shared by the tests of the
KServe door over HTTP.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from forebay.models.v1 import model_service_pb2
from forebay.runner.v1.runner_service_pb2 import Answer, Call
from scheduler.adapters.clock import SystemClock
from scheduler.adapters.memory import MemoryStore
from scheduler.policies.policy import DEFAULT_POLICY, Policy
from scheduler.ports.membership import RUNNER_ROLE
from services.gateway.settings import GatewaySettings
from tests.direct_runners import FakeRunner, served
from tests.integration.gateway import System, running

TENSOR = model_service_pb2.ENGINE_KIND_TENSOR
GENERATE = model_service_pb2.ENGINE_KIND_GENERATE
EMBED = model_service_pb2.ENGINE_KIND_EMBED


@dataclass
class Door:
    """A gateway's HTTP port."""

    system: System
    session: aiohttp.ClientSession

    @property
    def address(self) -> str:
        return self.system.gateway.http_address

    def url(self, path: str) -> str:
        return f"http://{self.address}{path}"

    async def get(self, path: str, **options: Any) -> tuple[int, Any]:
        async with self.session.get(self.url(path), **options) as response:
            return response.status, await response.json() if await response.read() else None

    async def post(self, path: str, json: Any = None, **options: Any) -> tuple[int, Any]:
        async with self.session.post(self.url(path), json=json, **options) as response:
            return response.status, await response.json() if await response.read() else None


def of_kind(engine: model_service_pb2.EngineKind.ValueType, **fields: Any) -> FakeRunner:
    name = fields.get("model", "m")
    card = model_service_pb2.Model(name=name, engine=engine, version=fields.get("version", 0))
    return FakeRunner(**{"id": f"r-{name}", "card": card, **fields})


def mirror(call: Call) -> Answer:
    """Answer with the inputs that are wanted as outputs, all when nothing is said."""
    wanted = [output.name for output in call.outputs]
    answer = Answer(id=call.id, started=True, execute_us=1000, batch=1)
    answer.tensors.SetInParent()
    by_name = {tensor.name: tensor for tensor in call.tensors.tensors}
    answer.tensors.tensors.extend(by_name[name] for name in wanted or by_name)
    return answer


def fp32(*values: float, name: str = "x", **fields: Any) -> dict[str, Any]:
    """Make an input as JSON."""
    return {"name": name, "datatype": "FP32", "shape": [1, len(values)], "data": list(values), **fields}


@asynccontextmanager
async def door_to(
    *runners: FakeRunner, policy: Policy = DEFAULT_POLICY, settings: GatewaySettings | None = None
) -> AsyncIterator[Door]:
    store = MemoryStore(SystemClock())
    async with AsyncExitStack() as stack:
        for runner in runners:
            await stack.enter_async_context(served(runner))
            card = runner.status().SerializeToString()
            await store.membership.announce(RUNNER_ROLE, runner.id, card, 600_000)
        system = await stack.enter_async_context(running(store, policy=policy, settings=settings))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield Door(system, session)
