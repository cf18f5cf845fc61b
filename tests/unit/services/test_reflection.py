import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from services.lifecycle import CHANNEL_OPTIONS, grpc_server
from services.reflection import V1, V1ALPHA


def converse(channel: grpc.aio.Channel, name: str, requests: AsyncIterator[Any]) -> Any:
    return channel.stream_stream(
        f"/{name}/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )(requests, timeout=15)


@pytest.mark.parametrize("name", [V1, V1ALPHA])
async def test_a_server_does_not_wait_for_those_who_look_on_without_asking(name: str) -> None:
    hold = asyncio.Event()

    async def ask_once_and_stay() -> AsyncIterator[Any]:
        yield reflection_pb2.ServerReflectionRequest(list_services="")
        await hold.wait()

    loop = asyncio.get_running_loop()
    async with asyncio.timeout(12):
        async with grpc_server("127.0.0.1:0", [], grace_s=10) as server:
            channel = grpc.aio.insecure_channel(server.address, options=CHANNEL_OPTIONS)
            call = converse(channel, name, ask_once_and_stay())
            answer = await call.read()
            assert {one.name for one in answer.list_services_response.service} >= {V1, V1ALPHA}
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=15)
            await watch.read()
            began = loop.time()
        assert loop.time() - began < 5
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK
        hold.set()
        await channel.close()


async def test_a_conversation_goes_on_for_as_long_as_there_are_questions() -> None:
    async def ask() -> AsyncIterator[Any]:
        yield reflection_pb2.ServerReflectionRequest(list_services="")
        yield reflection_pb2.ServerReflectionRequest(file_containing_symbol="grpc.health.v1.Health")

    async with (
        grpc_server("127.0.0.1:0", [], grace_s=1) as server,
        grpc.aio.insecure_channel(server.address, options=CHANNEL_OPTIONS) as channel,
    ):
        answers = [answer async for answer in converse(channel, V1, ask())]
    assert [answer.WhichOneof("message_response") for answer in answers] == [
        "list_services_response",
        "file_descriptor_response",
    ]
