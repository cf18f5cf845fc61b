from collections.abc import AsyncIterator

import grpc
import pytest

from forebay.client import AsyncClient, RetryPolicy
from tests.unit.sdk.fake_gateway import FakeGateway, register

QUICK = RetryPolicy(initial_s=0.001, max_s=0.01)


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway()  # type: ignore[abstract]  # some methods are tested over a script instead


@pytest.fixture
async def address(gateway: FakeGateway) -> AsyncIterator[str]:
    server = grpc.aio.server(options=(("grpc.max_receive_message_length", 64 << 20),))
    register(gateway, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


@pytest.fixture
async def client(address: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(address, timeout_s=10, retry=QUICK) as client:
        yield client
