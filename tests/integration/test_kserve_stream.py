"""ModelStreamInfer, with runners that do as they are told behind the gateway."""

import asyncio
import struct
from contextlib import AsyncExitStack
from typing import Any

import grpc
import grpc.aio
import pytest

from forebay.compat.kserve import kserve_service_pb2 as kserve
from forebay.compat.kserve import kserve_service_pb2_grpc
from forebay.runner.v1.runner_service_pb2 import Answer, Call
from forebay.tasks.v1 import inputs_pb2
from services.gateway.kserve.stream import WINDOW
from tests.direct_runners import chunk, echo, never
from tests.integration.kserve import (
    GENERATE,
    Request,
    kserve_door,
    raw_request,
    set_parameter,
    tensor_model,
    text_model,
)
from tests.integration.test_kserve_infer import prompt, text

TRUE = b"\1"


def numbered(number: int, **fields: Any) -> Request:
    return raw_request(struct.pack("<2f", number, 0), id=str(number), **fields)


def final(request: Request) -> Request:
    set_parameter(request, "triton_enable_empty_final_response", True)
    return request


async def read(call: Any) -> kserve.ModelStreamInferResponse:
    response = await asyncio.wait_for(call.read(), 10)
    assert isinstance(response, kserve.ModelStreamInferResponse), response
    return response


async def test_responses_come_in_the_order_of_the_requests_whatever_is_answered_first() -> None:
    runner = tensor_model(answer=never)
    async with kserve_door(runner) as door:
        call = door.stub.ModelStreamInfer(timeout=15)
        for number in range(5):
            await call.write(numbered(number))
        await runner.until(lambda: len(runner.calls) == 5)
        for got in reversed(runner.calls):
            runner.send(echo(got))
        await call.done_writing()
        responses = [await read(call) for _ in range(5)]
        assert await call.read() is grpc.aio.EOF
    assert [each.infer_response.id for each in responses] == ["0", "1", "2", "3", "4"]
    assert not any(each.error_message for each in responses)
    assert not any(each.infer_response.parameters for each in responses)


async def test_an_error_is_told_with_the_id_of_its_request_and_the_stream_goes_on() -> None:
    async with kserve_door(tensor_model()) as door:
        call = door.stub.ModelStreamInfer(timeout=15)
        await call.write(numbered(0, model_name="none"))
        await call.write(numbered(1, shape=[1, 3]))
        await call.write(final(numbered(2)))
        unknown, wrong, good = [await read(call) for _ in range(3)]
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK
    assert "none" in unknown.error_message and unknown.infer_response.id == "0"
    assert "input 'x'" in wrong.error_message and wrong.infer_response.id == "1"
    assert good.infer_response.id == "2"
    assert good.infer_response.parameters["triton_final_response"].bool_param is True


async def test_a_message_that_cannot_be_parsed_is_an_error_like_any_other() -> None:
    async with kserve_door(tensor_model()) as door:
        method = "/inference.GRPCInferenceService/ModelStreamInfer"
        call: Any = door.system.channel.stream_stream(
            method, response_deserializer=kserve.ModelStreamInferResponse.FromString
        )(timeout=15)
        await call.write(b"\xff\xff")
        assert "cannot be parsed" in (await read(call)).error_message
        await call.write(numbered(1).SerializeToString())
        assert (await read(call)).infer_response.id == "1"
        call.cancel()


async def test_no_more_is_read_than_the_window_while_nothing_is_answered() -> None:
    runner = tensor_model(answer=never)
    async with kserve_door(runner) as door:
        call = door.stub.ModelStreamInfer(timeout=15)
        for number in range(WINDOW + 10):
            await call.write(numbered(number))
        await runner.until(lambda: len(runner.calls) == WINDOW)
        reading = asyncio.ensure_future(call.read())
        runner.answer = echo
        runner.send(echo(runner.calls[0]))
        assert (await reading).infer_response.id == "0"
        for got in runner.calls[1:WINDOW]:
            runner.send(echo(got))
        ids = [(await read(call)).infer_response.id for _ in range(WINDOW + 9)]
        call.cancel()
    assert ids == [str(number) for number in range(1, WINDOW + 10)]


def pieces(answers: list[Answer], call: Call) -> None:
    answers += [chunk(call, "a"), chunk(call, "b")]
    last = inputs_pb2.GenerateOutput(finish_reason=inputs_pb2.FINISH_REASON_STOP)
    answers.append(Answer(id=call.id, started=True, chunk=last))
    answers.append(Answer(id=call.id, started=True, generate=inputs_pb2.GenerateOutput(text="ab")))


async def test_text_comes_in_pieces_and_an_empty_response_that_is_marked_ends_it() -> None:
    runner = text_model(GENERATE, never)
    async with kserve_door(runner) as door:
        call = door.stub.ModelStreamInfer(timeout=15)
        await call.write(final(prompt(stream=("BOOL", TRUE))))
        await runner.until(lambda: len(runner.calls) == 1)
        assert runner.calls[0].stream
        answers: list[Answer] = []
        pieces(answers, runner.calls[0])
        runner.send(*answers)
        responses = [(await read(call)).infer_response for _ in range(3)]
        call.cancel()
    assert [list(each.raw_output_contents) for each in responses] == [[text("a")], [text("b")], []]
    marks = [each.parameters["triton_final_response"].bool_param for each in responses]
    assert marks == [False, False, True]


async def test_pieces_overtake_each_other_and_nobody_who_did_not_ask_gets_the_empty_response() -> None:
    runner = text_model(GENERATE, never)
    async with kserve_door(runner) as door:
        call = door.stub.ModelStreamInfer(timeout=15)
        for name in ("first", "second"):
            request = prompt(stream=("BOOL", TRUE))
            request.id = name
            request.outputs.add(name="text_output")
            request.outputs.add(name="finish_reason")
            await call.write(request)
        await runner.until(lambda: len(runner.calls) == 2)
        for got in reversed(runner.calls):
            answers: list[Answer] = []
            pieces(answers, got)
            runner.send(*answers)
        await call.done_writing()
        seen = []
        while (response := await call.read()) is not grpc.aio.EOF:
            assert not response.infer_response.parameters
            seen.append((response.infer_response.id, response.infer_response.raw_output_contents[0]))
    assert seen[0] == ("second", text("a"))
    for name in ("first", "second"):
        assert [piece for of, piece in seen if of == name] == [text("a"), text("b"), text("")]


async def test_text_comes_whole_to_whoever_does_not_ask_for_pieces() -> None:
    def whole(call: Call) -> Answer:
        return Answer(id=call.id, started=True, generate=inputs_pb2.GenerateOutput(text="ab"))

    runner = text_model(GENERATE, whole)
    async with kserve_door(runner) as door:
        call = door.stub.ModelStreamInfer(timeout=15)
        await call.write(final(prompt()))
        response = (await read(call)).infer_response
        await call.write(set_parameter(prompt(n=("INT32", b"\2\0\0\0")), "stream", True))
        refused = await read(call)
        call.cancel()
    assert list(response.raw_output_contents) == [text("ab")]
    assert response.parameters["triton_final_response"].bool_param is True
    assert refused.error_message.startswith("n: must be 1")


async def test_what_is_under_way_is_stopped_when_the_client_goes() -> None:
    runner = tensor_model(answer=never)
    async with kserve_door(runner) as door:
        call = door.stub.ModelStreamInfer(timeout=15)
        await call.write(numbered(0))
        await call.write(numbered(1))
        await runner.until(lambda: len(runner.calls) == 2)
        call.cancel()
        await runner.until(lambda: len(runner.cancelled) == 2)
    assert sorted(runner.cancelled) == sorted(got.id for got in runner.calls)


async def test_a_gateway_that_goes_answers_what_is_under_way_and_ends_the_stream() -> None:
    runner = tensor_model(answer=never)
    async with AsyncExitStack() as outside:
        async with kserve_door(runner) as door:
            # Of its own: that of the block is closed before the gateway goes.
            channel = await outside.enter_async_context(
                grpc.aio.insecure_channel(door.system.gateway.grpc.address)
            )
            stub: Any = kserve_service_pb2_grpc.GRPCInferenceServiceStub(channel)
            call = stub.ModelStreamInfer(timeout=15)
            await call.write(numbered(0))
            await runner.until(lambda: len(runner.calls) == 1)
            going = asyncio.get_running_loop().call_later(0.3, lambda: runner.send(echo(runner.calls[0])))
        going.cancel()
        assert (await read(call)).infer_response.id == "0"
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call.read()
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
