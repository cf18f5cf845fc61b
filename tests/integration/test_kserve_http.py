"""The KServe door over HTTP through a gateway, with runners that do as they are told behind it."""

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import numpy as np
import pytest

from forebay.models.v1 import model_service_pb2
from forebay.runner.v1.runner_service_pb2 import Answer, Call
from forebay.tasks.v1 import inputs_pb2, task_pb2
from observability import names, tracing
from scheduler.errors import ModelFailed, Overloaded
from services.api_keys import line_of
from services.gateway.kserve_http.bodies import MAX_BODY_BYTES
from services.gateway.settings import GatewaySettings
from tests.direct_runners import FakeRunner, chunk, echo, never, refusing
from tests.fixtures.collector import Collector
from tests.integration.kserve_http_door import EMBED, GENERATE, TENSOR, Door, door_to, fp32, mirror, of_kind

INFER = "/v2/models/m/infer"


def keyed(tmp_path: Path, *lines: str) -> GatewaySettings:
    keys = tmp_path / "keys"
    keys.write_text("".join(f"{line}\n" for line in lines))
    return GatewaySettings(listen="127.0.0.1:0", http_listen="127.0.0.1:0", grace_s=2.0, api_keys_file=keys)


def binary(*arrays: np.ndarray[Any, Any], **fields: Any) -> tuple[bytes, dict[str, str]]:
    """Make a body with binary data, and its headers."""
    inputs = [
        {
            "name": f"x{index}",
            "datatype": array.dtype.name.replace("float", "FP").replace("uint8", "UINT8"),
            "shape": array.shape,
            "parameters": {"binary_data_size": array.nbytes},
        }
        for index, array in enumerate(arrays)
    ]
    head = msgspec.json.encode({"inputs": inputs, **fields})
    return head + b"".join(each.tobytes() for each in arrays), {
        "Inference-Header-Content-Length": str(len(head))
    }


async def test_tensors_go_in_as_json_and_come_out_as_json() -> None:
    runner = of_kind(TENSOR, version=3)
    async with door_to(runner) as door:
        request = {
            "id": "7",
            "inputs": [fp32(1, 2.5)],
            "outputs": [{"name": "x"}],
            "parameters": {"priority": 1, "timeout": 2_000_000},
        }
        status, answer = await door.post("/v2/models/m/versions/3/infer", request)
    assert (status, answer) == (
        200,
        {
            "model_name": "m",
            "model_version": "3",
            "id": "7",
            "outputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.5]}],
        },
    )
    (call,) = runner.calls
    assert (call.tenant, call.priority) == ("default", task_pb2.PRIORITY_CRITICAL)
    assert 0 < call.timeout_ms <= 2000
    assert [output.name for output in call.outputs] == ["x"]


async def test_tensors_go_in_as_binary_data_and_come_out_as_what_was_asked_for() -> None:
    half = np.arange(4, dtype="<f2").reshape(2, 2)
    single = np.arange(3, dtype="<f4")
    async with door_to(of_kind(TENSOR, answer=mirror)) as door:
        body, headers = binary(half, single, outputs=[{"name": "x1"}, {"name": "x0"}])
        _, answer = await door.post(INFER, data=body, headers=headers)
        assert [each["data"] for each in answer["outputs"]] == [[0, 1, 2], [0, 1, 2, 3]]
        wanted = [{"name": "x0", "parameters": {"binary_data": True}}, {"name": "x1"}]
        body, headers = binary(half, single, outputs=wanted)
        async with door.session.post(door.url(INFER), data=body, headers=headers) as response:
            assert (response.status, response.content_type) == (200, "application/octet-stream")
            length = int(response.headers["Inference-Header-Content-Length"])
            raw = await response.read()
    outputs = json.loads(raw[:length])["outputs"]
    assert outputs[0]["parameters"] == {"binary_data_size": half.nbytes}
    assert outputs[1]["data"] == [0, 1, 2]
    assert raw[length:] == half.tobytes()


@pytest.mark.parametrize(
    ("coding", "compress", "decompress"),
    [("gzip", gzip.compress, gzip.decompress), ("deflate", zlib.compress, zlib.decompress)],
)
async def test_bodies_may_be_compressed_both_ways(coding: str, compress: Any, decompress: Any) -> None:
    numbers = np.zeros(100_000, dtype="<f4")
    async with door_to(of_kind(TENSOR)) as door:
        body, headers = binary(numbers, parameters={"binary_data_output": True})
        headers |= {"Content-Encoding": coding, "Accept-Encoding": coding}
        async with door.session.post(
            door.url(INFER), data=compress(body), headers=headers, auto_decompress=False
        ) as response:
            assert response.status == 200
            assert response.headers["Content-Encoding"] == coding
            raw = await response.read()
            assert len(raw) < 10_000
            length = int(response.headers["Inference-Header-Content-Length"])
    assert decompress(raw)[length:] == numbers.tobytes()


async def test_a_bomb_is_refused_before_it_is_whole() -> None:
    runner = of_kind(TENSOR)
    async with door_to(runner) as door:
        bomb = gzip.compress(bytes(MAX_BODY_BYTES + 1), 1)
        status, answer = await door.post(INFER, data=bomb, headers={"Content-Encoding": "gzip"})
        assert status == 413
        assert str(MAX_BODY_BYTES) in answer["error"]
        status, _ = await door.post(INFER, data=b"x", headers={"Content-Encoding": "br"})
        assert status == 415
        status, _ = await door.post(INFER, data=b"x", headers={"Content-Encoding": "gzip"})
        assert status == 400
    assert not runner.calls


async def test_a_body_that_is_too_large_is_refused_whether_it_says_so_or_not() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range((MAX_BODY_BYTES >> 20) + 1):
            yield bytes(1 << 20)

    async with door_to(of_kind(TENSOR)) as door:
        status, _ = await door.post(INFER, data=pieces())
        assert status == 413
        reader, writer = await asyncio.open_connection(*door.address.split(":"))
        said = f"Content-Length: {MAX_BODY_BYTES + 1}\r\n"
        writer.write(f"POST {INFER} HTTP/1.1\r\nHost: x\r\n{said}\r\n".encode())
        assert b" 413 " in await reader.readline()
        writer.close()


async def test_bodies_in_chunks_are_taken_and_those_that_never_end_are_not() -> None:
    async def pieces(body: bytes) -> AsyncIterator[bytes]:
        for at in range(0, len(body), 7):
            yield body[at : at + 7]

    settings = GatewaySettings(
        listen="127.0.0.1:0", http_listen="127.0.0.1:0", grace_s=2.0, default_deadline_s=0.3
    )
    async with door_to(of_kind(TENSOR), settings=settings) as door:
        status, _ = await door.post(INFER, data=pieces(msgspec.json.encode({"inputs": [fp32(1)]})))
        assert status == 200
        reader, writer = await asyncio.open_connection(*door.address.split(":"))
        writer.write(f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc".encode())
        assert b" 408 " in await reader.readline()
        writer.close()


async def test_what_is_wrong_is_told_with_the_code_that_fits() -> None:
    loading = of_kind(TENSOR, id="r2", model="loading", state=model_service_pb2.RUNNER_STATE_LOADING)
    broken = of_kind(TENSOR, model="broken", answer=refusing(ModelFailed("it broke"), started=True))
    busy = of_kind(TENSOR, model="busy", answer=refusing(Overloaded("no room", 3.0)))
    request = {"inputs": [fp32(1)]}
    async with door_to(of_kind(TENSOR), loading, broken, busy) as door:
        for path, body, expected, words in (
            (INFER, {"inputs": 3}, 400, "Expected `array`"),
            (INFER, {"inputs": [fp32(1, shape=[3])]}, 400, "its shape"),
            (INFER, {"inputs": [fp32(1), fp32(2)]}, 400, "twice"),
            (INFER, request | {"parameters": {"priority": -1}}, 400, "priority"),
            (INFER, {"inputs": [{**fp32(1), "parameters": {"shared_memory_region": "r"}}]}, 400, "shared"),
            ("/v2/models/m@0/infer", request, 400, "model_name"),
            ("/v2/models/m/versions/x/infer", request, 400, "model_version"),
            ("/v2/models/m/versions/9/infer", request, 404, "m@9"),
            ("/v2/models/nobody/infer", request, 404, "nobody"),
            ("/v2/models/loading/infer", request, 503, "loading"),
            ("/v2/models/broken/infer", request, 500, "it broke"),
            ("/v2/models/busy/infer", request, 429, "no room"),
            ("/v2/nothing", request, 404, "/v2/nothing"),
            ("/v2/models/m", request, 405, "method not allowed"),
        ):
            status, answer = await door.post(path, body)
            assert (path, body, status) == (path, body, expected)
            assert words in answer["error"]
        async with door.session.post(door.url("/v2/models/loading/infer"), json=request) as response:
            assert int(response.headers["Retry-After"]) >= 1
        async with door.session.post(door.url("/v2/models/m"), json=request) as response:
            assert response.headers["Allow"] == "GET"


async def test_models_and_the_server_describe_themselves() -> None:
    card = model_service_pb2.Model(name="m", engine=TENSOR, version=2, max_batch_size=8)
    card.inputs.add(name="x", datatype="FP32", shape=[4])
    card.outputs.add(name="y", datatype="INT64", shape=[-1])
    runner = of_kind(TENSOR, version=2, card=card)
    loading = of_kind(TENSOR, id="r2", model="loading", state=model_service_pb2.RUNNER_STATE_LOADING)
    async with door_to(runner, loading) as door:
        assert (await door.get("/v2/health/live"))[0] == 200
        assert (await door.get("/v2/health/ready"))[0] == 200
        status, server = await door.get("/v2")
        assert (status, server["name"]) == (200, "forebay")
        assert "binary_tensor_data" in server["extensions"]
        described = {
            "name": "m",
            "versions": ["2"],
            "platform": "onnxruntime_onnx",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
            "outputs": [{"name": "y", "datatype": "INT64", "shape": [-1, -1]}],
        }
        assert await door.get("/v2/models/m") == (200, described)
        assert await door.get("/v2/models/m/versions/2") == (200, described)
        status, config = await door.get("/v2/models/m/config")
        assert (status, config["max_batch_size"]) == (200, 8)
        assert config["input"][0]["dims"] == [4]
        assert config["input"][0]["data_type"] == "TYPE_FP32"
        ready = [
            (await door.get(f"/v2/models/{path}/ready"))[0]
            for path in ("m", "m/versions/2", "m/versions/9", "nobody", "loading")
        ]
        assert ready == [200, 200, 404, 404, 503]
        await door.post(INFER, {"inputs": [fp32(1, 2, 3, 4)]})
        for path in ("/v2/models/stats", "/v2/models/m/stats", "/v2/models/m/versions/2/stats"):
            status, counted = await door.get(path)
            mine = [each for each in counted["model_stats"] if each["name"] == "m"]
            assert (status, [each["inference_count"] for each in mine]) == (200, [1])
        _, index = await door.post("/v2/repository/index")
        assert [(each["name"], each["state"]) for each in index] == [("loading", "LOADING"), ("m", "READY")]
        _, index = await door.post("/v2/repository/index", {"ready": True})
        assert [each["name"] for each in index] == ["m"]


async def test_what_triton_has_and_this_server_does_not_says_why() -> None:
    async with door_to() as door:
        for path in (
            *("/v2/logging", "/v2/trace/setting", "/v2/models/m/trace/setting"),
            *("/v2/systemsharedmemory/status", "/v2/cudasharedmemory/region/r/status"),
        ):
            status, answer = await door.get(path)
            assert status == 501
            assert answer["error"].startswith("not supported: ")
        status, _ = await door.post("/v2/systemsharedmemory/region/r/register", {"key": "k"})
        assert status == 501


async def test_a_client_that_goes_away_stops_its_inference() -> None:
    runner = of_kind(TENSOR, answer=never)
    async with door_to(runner) as door:
        waiting = asyncio.ensure_future(door.post(INFER, {"inputs": [fp32(1)]}))
        await runner.until(lambda: len(runner.calls) == 1)
        waiting.cancel()
        await runner.until(lambda: runner.cancelled == [runner.calls[0].id])
        metrics = await _metrics(door)
    counted = 'code="CANCELLED",door="kserve_http",model="m"'
    assert f"forebay_direct_call_duration_seconds_count{{{counted}}} 1.0" in metrics


async def test_a_client_that_waits_no_longer_than_it_said_is_told_so() -> None:
    runner = of_kind(TENSOR, answer=never)
    async with door_to(runner) as door:
        status, answer = await door.post(INFER, {"inputs": [fp32(1)], "parameters": {"timeout": 50_000}})
        assert (status, "0.05" in answer["error"]) == (504, True)
        await runner.until(lambda: len(runner.cancelled) == 1)


async def test_keys_are_asked_for_as_over_grpc_and_only_operators_load_models(tmp_path: Path) -> None:
    settings = keyed(tmp_path, line_of("mine", "acme"), line_of("boss", "ops", operator=True))
    runner = of_kind(TENSOR)
    request = {"inputs": [fp32(1)]}
    async with door_to(runner, settings=settings) as door:
        for headers in ({}, {"x-api-key": "other"}, {"Authorization": "Basic mine"}):
            async with door.session.post(door.url(INFER), json=request, headers=headers) as response:
                assert response.status == 401
                assert response.headers["WWW-Authenticate"] == "Bearer"
        assert (await door.get("/v2/models/m"))[0] == 401
        for headers in ({"x-api-key": "mine"}, {"Authorization": "Bearer mine"}):
            assert (await door.post(INFER, request, headers=headers))[0] == 200
        assert {call.tenant for call in runner.calls} == {"acme"}
        load = "/v2/repository/models/m/load"
        assert (await door.post(load, headers={"x-api-key": "mine"}))[0] == 403
        assert (await door.post(load, headers={"x-api-key": "boss"}))[0] == 404
        for path in ("/v2", "/v2/health/live", "/v2/health/ready", "/openapi.json"):
            assert (await door.get(path))[0] == 200


async def test_a_page_of_another_site_cannot_have_a_browser_call() -> None:
    runner = of_kind(TENSOR)
    async with door_to(runner) as door:
        body = {"inputs": [fp32(1)]}
        for site, expected in (("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)):
            headers = {"Sec-Fetch-Site": site}
            assert (await door.post(INFER, body, headers=headers))[0] == expected
            assert (await door.get("/v2/health/ready", headers=headers))[0] == 200
    assert len(runner.calls) == 2


async def test_configurations_and_files_from_clients_are_refused() -> None:
    async with door_to(of_kind(TENSOR)) as door:
        status, answer = await door.post(
            "/v2/repository/models/m/load", {"parameters": {"config": "{}", "file:1/model.onnx": ""}}
        )
        assert (status, "config" in answer["error"]) == (400, True)


async def test_a_call_is_one_trace_down_to_its_runner_and_is_counted(collector: Collector) -> None:
    caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    end = tracing.configure(names.SERVICE_GATEWAY, collector.endpoint)
    runner = of_kind(TENSOR)
    try:
        async with door_to(runner) as door:
            await door.post(INFER, {"inputs": [fp32(1, name="canary")]}, headers={"traceparent": caller})
            await door.post(INFER, {"inputs": 1})
            metrics = await _metrics(door)
    finally:
        end()
    spans = [span for span in collector.spans() if span.name == "POST /v2/models/{model}/infer"]
    server = next(span for span in spans if span.parent_id == caller.split("-")[2])
    assert server.kind == "server"
    assert runner.calls[0].traceparent.split("-")[2] == server.span_id
    assert not any(b"canary" in span.raw for span in collector.spans())
    for code in ("OK", "INVALID_ARGUMENT"):
        counted = f'rpc_method="http/ModelInfer",rpc_response_status_code="{code}"'
        assert f"rpc_server_call_duration_seconds_count{{{counted}}} 1.0" in metrics


async def test_a_gateway_that_goes_lets_a_call_end_within_the_grace_period() -> None:
    runner = of_kind(TENSOR, answer=never)
    async with aiohttp.ClientSession() as session:
        async with door_to(runner) as door:
            request = {"inputs": [fp32(1)]}
            waiting = asyncio.ensure_future(session.post(door.url(INFER), json=request))
            await runner.until(lambda: len(runner.calls) == 1)
            # Once the gateway is on its way out, which it is as soon as this block ends.
            asyncio.get_running_loop().call_later(0.2, lambda: runner.send(echo(runner.calls[0])))
        assert (await waiting).status == 200


async def _metrics(door: Door) -> str:
    async with door.session.get(door.url("/metrics")) as response:
        return await response.text()


# --- language and embedding models ------------------------------------------------------------------------------------


def whole(call: Call) -> Answer:
    answer = Answer(id=call.id, started=True)
    generate = answer.generate
    generate.text = f"{call.generate.prompt} world"
    generate.finish_reason = inputs_pb2.FINISH_REASON_STOP
    for index in range(1, call.generate.n):
        generate.others.add(index=index, text="again", finish_reason=inputs_pb2.FINISH_REASON_LENGTH)
    return answer


async def test_a_text_is_continued() -> None:
    runner = of_kind(GENERATE, answer=whole)
    async with door_to(runner) as door:
        status, answer = await door.post(
            "/v2/models/m/generate",
            {
                "id": "7",
                "text_input": "hello",
                "parameters": {"max_tokens": 5, "temperature": 0.5, "priority": 4, "stream": True},
                "stop": ["a", "b"],
                "seed": 3,
            },
        )
        assert (status, answer) == (
            200,
            {
                "id": "7",
                "model_name": "m",
                "model_version": "1",
                "text_output": "hello world",
                "finish_reason": "stop",
            },
        )
        _, several = await door.post("/v2/models/m/versions/1/generate", {"text_input": "x", "n": 2})
        assert several["text_output"] == ["x world", "again"]
        _, nested = await door.post(
            "/v2/models/m/generate", {"text_input": "x", "sampling_parameters": {"max_tokens": 9}}
        )
        assert nested["finish_reason"] == "stop"
    got = runner.calls[0].generate
    assert (got.prompt, got.max_tokens, list(got.stop), got.seed) == ("hello", 5, ["a", "b"], 3)
    assert runner.calls[0].priority == task_pb2.PRIORITY_LOW
    assert not runner.calls[0].stream
    assert runner.calls[2].generate.max_tokens == 9


async def test_a_language_model_is_a_model_of_tensors_too() -> None:
    async with door_to(of_kind(GENERATE, answer=whole)) as door:
        text = {"name": "text_input", "datatype": "BYTES", "shape": [1], "data": ["hello"]}
        asked = {"inputs": [text], "parameters": {"triton_enable_empty_final_response": True}}
        status, answer = await door.post(INFER, asked)
        assert (status, answer["outputs"][0]["data"]) == (200, ["hello world"])
        assert answer["parameters"] == {"triton_final_response": True}
        stream = {"name": "stream", "datatype": "BOOL", "shape": [1], "data": [True]}
        status, answer = await door.post(INFER, {"inputs": [text, stream]})
        assert (status, "generate_stream" in answer["error"]) == (400, True)


def events(raw: bytes) -> list[dict[str, Any]]:
    found = []
    for event in raw.split(b"\n\n")[:-1]:
        assert event.startswith(b"data: ")
        found.append(json.loads(event[len(b"data: ") :]))
    return found


async def test_text_comes_as_it_is_generated_one_event_for_each_piece() -> None:
    runner = of_kind(GENERATE, answer=never)
    async with door_to(runner) as door:
        asking = asyncio.ensure_future(
            door.session.post(door.url("/v2/models/m/generate_stream"), json={"text_input": "hello"})
        )
        await runner.until(lambda: len(runner.calls) == 1)
        (call,) = runner.calls
        assert call.stream
        runner.send(chunk(call, "one"))
        async with await asking as response:
            assert (response.status, response.content_type) == (200, "text/event-stream")
            first = await response.content.readuntil(b"\n\n")
            last = chunk(call, " two")
            last.chunk.finish_reason = inputs_pb2.FINISH_REASON_LENGTH
            runner.send(last, whole(call))
            rest = await response.read()
    pieces = [(each["text_output"], each.get("finish_reason")) for each in events(first + rest)]
    assert pieces == [("one", None), (" two", "length")]


async def test_what_goes_wrong_in_a_stream_is_its_last_event_and_before_it_a_code() -> None:
    runner = of_kind(GENERATE, answer=never)
    broken = of_kind(GENERATE, model="broken", answer=refusing(ModelFailed("it broke"), started=True))
    async with door_to(runner, broken, of_kind(TENSOR, model="t")) as door:
        asking = asyncio.ensure_future(
            door.session.post(door.url("/v2/models/m/generate_stream"), json={"text_input": "hello"})
        )
        await runner.until(lambda: len(runner.calls) == 1)
        (call,) = runner.calls
        failure = refusing(ModelFailed("it broke"), started=True)(call)
        assert failure is not None
        runner.send(chunk(call, "one"))
        async with await asking as response:
            await response.content.readuntil(b"\n\n")
            runner.send(failure)
            (last,) = events(await response.read())
        assert last == {"error": "it broke"}
        for path, body, expected in (
            ("broken/generate_stream", {"text_input": "x"}, 500),
            ("broken/generate", {"text_input": "x"}, 500),
            ("nobody/generate_stream", {"text_input": "x"}, 404),
            ("t/generate", {"text_input": "x"}, 400),
            ("m/generate", {}, 400),
            ("m/generate", {"text_input": 3}, 400),
            ("m/generate", {"text_input": "x", "id": 3}, 400),
            ("m/generate", {"text_input": "x", "parameters": 3}, 400),
            ("m/generate", {"text_input": "x", "stop": [3]}, 400),
            ("m/generate", {"text_input": "x", "temperature": -1}, 400),
            ("m/generate", {"text_input": "x", "max_tokens": {}}, 400),
            ("m/generate", [], 400),
        ):
            status, answer = await door.post(f"/v2/models/{path}", body)
            assert (path, body, status) == (path, body, expected)
            assert answer["error"]
        metrics = await _metrics(door)
    counted = 'rpc_method="http/GenerateStream",rpc_response_status_code="UNKNOWN"'
    assert f"rpc_server_call_duration_seconds_count{{{counted}}} 2.0" in metrics


async def test_a_reader_that_goes_away_stops_the_generation() -> None:
    runner = of_kind(GENERATE, answer=never)
    async with door_to(runner) as door:
        asking = asyncio.ensure_future(
            door.session.post(door.url("/v2/models/m/generate_stream"), json={"text_input": "hello"})
        )
        await runner.until(lambda: len(runner.calls) == 1)
        runner.send(chunk(runner.calls[0], "one"))
        response = await asking
        await response.content.readuntil(b"\n\n")
        response.close()
        await runner.until(lambda: runner.cancelled == [runner.calls[0].id])


async def test_texts_go_in_and_vectors_come_out() -> None:
    def embed(call: Call) -> Answer:
        answer = Answer(id=call.id, started=True)
        for text in call.embed.texts:
            answer.embed.embeddings.add(values=[len(text), 0.5], tokens=3)
        return answer

    async with door_to(of_kind(EMBED, answer=embed)) as door:
        texts = {"name": "text", "datatype": "BYTES", "shape": [2], "data": ["ab", "äöü"]}
        status, answer = await door.post(INFER, {"inputs": [texts], "outputs": [{"name": "embedding"}]})
    assert (status, answer["outputs"][0]["shape"]) == (200, [2, 2])
    assert answer["outputs"][0]["data"] == [2.0, 0.5, 3.0, 0.5]


async def test_a_place_in_a_sequence_and_classes_reach_the_runner() -> None:
    card = model_service_pb2.Model(name="m", engine=TENSOR, stateful=True)
    runner = FakeRunner("r", card=card)
    async with door_to(runner) as door:
        request = {
            "inputs": [fp32(1)],
            "outputs": [{"name": "y", "parameters": {"classification": 3}}],
            "parameters": {"sequence_id": 42, "sequence_start": True, "sequence_end": False},
        }
        assert (await door.post(INFER, request))[0] == 200
    (call,) = runner.calls
    assert (call.sequence.id, call.sequence.start, call.sequence.end) == ("42", True, False)
    assert [(output.name, output.classes) for output in call.outputs] == [("y", 3)]
