import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2
from grpc_status.rpc_status import from_call

from scheduler.errors import Overloaded, TaskNotFound, Unauthenticated
from services.lifecycle import CHANNEL_OPTIONS, RunningServer, Service, grpc_server

SERVICE = "test.Echo"


async def _answer(request: bytes, context: Any) -> bytes:
    return request


async def _stream(request: bytes, context: Any) -> AsyncIterator[bytes]:
    yield request
    yield request


@asynccontextmanager
async def serving(
    unary: Callable[[bytes, Any], Awaitable[bytes]] = _answer,
    stream: Callable[[bytes, Any], AsyncIterator[bytes]] = _stream,
    deadline_s: float = 30.0,
    calls: list[tuple[str, str]] | None = None,
    parse: Callable[[bytes], bytes] | None = None,
    authorize: Callable[[str, Any], None] | None = None,
    end_themselves: Collection[str] = (),
) -> AsyncIterator[tuple[RunningServer, Any]]:
    handlers: dict[str, Any] = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary, parse),
        "Stream": grpc.unary_stream_rpc_method_handler(stream, parse),
    }

    def register(server: grpc.aio.Server) -> None:
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))

    def observe(method: str, code: str, seconds: float) -> None:
        if calls is not None:
            calls.append((method, code))

    async with (
        grpc_server(
            "127.0.0.1:0",
            [Service(SERVICE, register)],
            grace_s=1,
            default_deadline_s=deadline_s,
            end_themselves=end_themselves,
            observe=observe,
            authorize=authorize,
        ) as server,
        grpc.aio.insecure_channel(server.address, options=CHANNEL_OPTIONS) as channel,
    ):
        server.set_serving(True)
        yield server, channel


async def failure(call: Any) -> tuple[grpc.StatusCode, str, list[Any]]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        if isinstance(call, grpc.aio.UnaryStreamCall):
            async for _ in call:
                pass
        else:
            await call
    error = raised.value
    raw = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    from google.rpc import status_pb2

    assert isinstance(raw, bytes)
    return error.code(), error.details() or "", list(status_pb2.Status.FromString(raw).details)


def info_of(details: list[Any]) -> error_details_pb2.ErrorInfo:
    info = error_details_pb2.ErrorInfo()
    assert details[0].Unpack(info)
    return info


async def test_an_answer_passes_unchanged_and_is_observed() -> None:
    calls: list[tuple[str, str]] = []
    async with serving(calls=calls) as (_, channel):
        assert await channel.unary_unary(f"/{SERVICE}/Unary")(b"x", timeout=5) == b"x"
        assert [m async for m in channel.unary_stream(f"/{SERVICE}/Stream")(b"y", timeout=5)] == [b"y", b"y"]
    assert calls == [(f"{SERVICE}/Unary", "OK"), (f"{SERVICE}/Stream", "OK")]


async def test_an_error_of_the_tree_travels_with_its_details() -> None:
    async def unary(request: bytes, context: Any) -> bytes:
        raise TaskNotFound("07-x")

    async def stream(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"first"
        raise Overloaded("too many", 0.25)

    calls: list[tuple[str, str]] = []
    async with serving(unary, stream, calls=calls) as (_, channel):
        code, message, details = await failure(channel.unary_unary(f"/{SERVICE}/Unary")(b"", timeout=5))
        assert code is grpc.StatusCode.NOT_FOUND
        assert "07-x" in message
        assert info_of(details).reason == "TASK_NOT_FOUND"
        assert info_of(details).domain == "forebay"
        code, _, details = await failure(channel.unary_stream(f"/{SERVICE}/Stream")(b"", timeout=5))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        retry = error_details_pb2.RetryInfo()
        assert details[1].Unpack(retry)
        assert retry.retry_delay.ToMilliseconds() == 250
    assert [code for _, code in calls] == ["NOT_FOUND", "RESOURCE_EXHAUSTED"]


async def test_an_error_of_the_tree_is_found_inside_the_group_of_a_task_group() -> None:
    async def unary(request: bytes, context: Any) -> bytes:
        raise ExceptionGroup("tasks", [ExceptionGroup("more", [TaskNotFound("07-y")])])

    async with serving(unary) as (_, channel):
        code, _, _ = await failure(channel.unary_unary(f"/{SERVICE}/Unary")(b"", timeout=5))
    assert code is grpc.StatusCode.NOT_FOUND


async def test_bytes_that_are_no_message_are_invalid_input() -> None:
    def parse(raw: bytes) -> bytes:
        raise DecodeError(raw.decode())

    async with serving(parse=parse) as (_, channel):
        for call in (channel.unary_unary(f"/{SERVICE}/Unary"), channel.unary_stream(f"/{SERVICE}/Stream")):
            code, message, details = await failure(call(b"canary", timeout=5))
            assert code is grpc.StatusCode.INVALID_ARGUMENT
            assert info_of(details).reason == "INVALID_INPUT"
            assert "canary" not in message


async def test_a_method_that_sees_to_its_own_end_gets_no_deadline_and_others_get_the_default_one() -> None:
    over = asyncio.Event()

    async def unary(request: bytes, context: Any) -> bytes:
        await over.wait()
        return request

    async with serving(unary, deadline_s=0.05) as (_, channel):
        code, _, _ = await failure(channel.unary_unary(f"/{SERVICE}/Unary")(b""))
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    async with serving(unary, deadline_s=0.05, end_themselves=[f"{SERVICE}/Unary"]) as (_, channel):
        call = channel.unary_unary(f"/{SERVICE}/Unary")(b"x")
        asyncio.get_running_loop().call_later(0.2, over.set)
        assert await call == b"x"


async def test_the_text_of_an_unforeseen_error_reaches_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async def unary(request: bytes, context: Any) -> bytes:
        raise RuntimeError("canary")

    with caplog.at_level(logging.ERROR):
        async with serving(unary) as (_, channel):
            code, message, details = await failure(channel.unary_unary(f"/{SERVICE}/Unary")(b"", timeout=5))
    assert code is grpc.StatusCode.INTERNAL
    assert "canary" not in message
    assert not any(b"canary" in detail.value for detail in details)
    request = error_details_pb2.RequestInfo()
    assert details[1].Unpack(request)
    assert request.request_id in message
    logged = [record for record in caplog.records if record.message == "call failed"]
    assert [getattr(record, "request_id", "") for record in logged] == [request.request_id]


async def test_a_cancellation_that_nobody_asked_for_is_answered() -> None:
    async def unary(request: bytes, context: Any) -> bytes:
        raise asyncio.CancelledError

    async def stream(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"first"
        raise asyncio.CancelledError

    async with serving(unary, stream) as (_, channel):
        code, _, details = await failure(channel.unary_unary(f"/{SERVICE}/Unary")(b""))
        assert code is grpc.StatusCode.UNAVAILABLE
        assert info_of(details).reason == "SHUTTING_DOWN"
        code, _, _ = await failure(channel.unary_stream(f"/{SERVICE}/Stream")(b""))
        assert code is grpc.StatusCode.UNAVAILABLE


async def test_a_cancelled_handler_task_is_answered_too() -> None:
    async def unary(request: bytes, context: Any) -> bytes:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.Event().wait()
        return b""

    async with serving(unary) as (_, channel):
        code, _, _ = await failure(channel.unary_unary(f"/{SERVICE}/Unary")(b""))
    assert code is grpc.StatusCode.UNAVAILABLE


async def test_a_client_that_cancels_ends_the_handler() -> None:
    entered, ended = asyncio.Event(), asyncio.Event()

    async def unary(request: bytes, context: Any) -> bytes:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return b""

    calls: list[tuple[str, str]] = []
    async with serving(unary, calls=calls) as (_, channel):
        call = channel.unary_unary(f"/{SERVICE}/Unary")(b"")
        await entered.wait()
        call.cancel()
        await ended.wait()
    assert calls == [(f"{SERVICE}/Unary", "CANCELLED")]


async def test_a_call_without_deadline_gets_the_default_one() -> None:
    async def unary(request: bytes, context: Any) -> bytes:
        await asyncio.Event().wait()
        return b""

    async with serving(unary, deadline_s=0.05) as (_, channel):
        code, _, details = await failure(channel.unary_unary(f"/{SERVICE}/Unary")(b""))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert info_of(details).reason == "DEADLINE_EXCEEDED"


async def test_a_call_with_a_deadline_keeps_its_own() -> None:
    async def unary(request: bytes, context: Any) -> bytes:
        return str(context.time_remaining() > 30).encode()

    async with serving(unary, deadline_s=0.05) as (_, channel):
        assert await channel.unary_unary(f"/{SERVICE}/Unary")(b"", timeout=60) == b"True"


async def test_a_time_out_of_the_handler_itself_is_an_unforeseen_error() -> None:
    async def unary(request: bytes, context: Any) -> bytes:
        raise TimeoutError

    async with serving(unary) as (_, channel):
        code, _, _ = await failure(channel.unary_unary(f"/{SERVICE}/Unary")(b""))
    assert code is grpc.StatusCode.INTERNAL


async def test_details_are_those_of_the_standard_library_for_statuses() -> None:
    async def unary(request: bytes, context: Any) -> bytes:
        raise TaskNotFound("07-z")

    async with serving(unary) as (server, _):
        with grpc.insecure_channel(server.address) as channel:
            call: Any = channel.unary_unary(f"/{SERVICE}/Unary")
            with pytest.raises(grpc.RpcError) as raised:
                await asyncio.to_thread(call, b"", timeout=5)
    status = from_call(raised.value)
    assert status.code == code_pb2.NOT_FOUND


async def test_health_tells_each_change_and_lets_watchers_go() -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    seen: list[int] = []
    async with serving() as (server, channel):
        stub = health_pb2_grpc.HealthStub(channel)
        assert (await stub.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=5)).status == 1
        watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=10)
        seen.append((await watch.read()).status)
        server.set_serving(False)
        seen.append((await watch.read()).status)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.Check(health_pb2.HealthCheckRequest(service="nobody"), timeout=5)
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    assert seen == [1, 2]


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_lists_services_under_both_names(version: str) -> None:
    from grpc_reflection.v1alpha import reflection_pb2

    async with serving() as (_, channel):
        call = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )(iter([reflection_pb2.ServerReflectionRequest(list_services="*")]), timeout=5)
        answer = await call.read()
        names = {service.name for service in answer.list_services_response.service}
        call.cancel()
    assert {SERVICE, "grpc.health.v1.Health", f"grpc.reflection.{version}.ServerReflection"} <= names


async def test_a_taken_port_is_one_clear_sentence() -> None:
    from scheduler.errors import StartupRefused

    async with serving() as (server, _):
        with pytest.raises(StartupRefused, match="cannot listen on"):
            async with grpc_server(server.address, [], grace_s=1):
                pass


async def test_a_call_that_is_not_authorized_never_reaches_its_handler_and_is_observed() -> None:
    reached: list[bytes] = []
    asked: list[str] = []
    calls: list[tuple[str, str]] = []

    async def unary(request: bytes, context: Any) -> bytes:
        reached.append(request)
        return request

    async def stream(request: bytes, context: Any) -> AsyncIterator[bytes]:
        reached.append(request)
        yield request

    def authorize(method: str, context: Any) -> None:
        asked.append(method)
        if dict(context.invocation_metadata()).get("who") != "me":
            raise Unauthenticated

    async with serving(unary, stream, calls=calls, authorize=authorize) as (_, channel):
        for make, method in ((channel.unary_unary, "Unary"), (channel.unary_stream, "Stream")):
            code, _, details = await failure(make(f"/{SERVICE}/{method}")(b"x", timeout=5))
            assert code is grpc.StatusCode.UNAUTHENTICATED
            assert info_of(details).reason == "UNAUTHENTICATED"
        assert not reached
        me = (("who", "me"),)
        assert await channel.unary_unary(f"/{SERVICE}/Unary")(b"y", timeout=5, metadata=me) == b"y"
    assert asked == [f"{SERVICE}/Unary", f"{SERVICE}/Stream", f"{SERVICE}/Unary"]
    assert [code for _, code in calls] == ["UNAUTHENTICATED", "UNAUTHENTICATED", "OK"]
