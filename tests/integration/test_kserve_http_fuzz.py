"""Whatever comes to the HTTP door is answered, with a code that says that the client is at fault, and in time."""

import asyncio
import gzip
import json
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.direct_runners import echo
from tests.integration.kserve_http_door import GENERATE, TENSOR, Door, door_to, of_kind
from tests.integration.test_kserve_http import whole

WITHIN_S: Final = 5.0
INFER: Final = "/v2/models/m/infer"

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
DATATYPES = st.sampled_from(
    ["BOOL", "UINT8", "INT64", "UINT64", "FP16", "BF16", "FP32", "FP64", "BYTES", "FP8"]
)
PARAMETERS = st.dictionaries(
    st.sampled_from(
        [
            *("priority", "timeout", "sequence_id", "sequence_start", "binary_data_output", "binary_data"),
            *("binary_data_size", "classification", "shared_memory_region", "other"),
        ]
    ),
    VALUES,
    max_size=3,
)
INPUTS = st.fixed_dictionaries(
    {
        "name": st.text(max_size=4),
        "datatype": DATATYPES,
        "shape": st.lists(st.integers(-1, 4) | st.integers(), max_size=4),
    },
    optional={"data": VALUES, "parameters": PARAMETERS},
)
REQUESTS = st.fixed_dictionaries(
    {"inputs": st.lists(INPUTS | VALUES, max_size=3)},
    optional={
        "id": SCALARS,
        "parameters": PARAMETERS | VALUES,
        "outputs": st.lists(
            st.fixed_dictionaries({"name": st.text(max_size=4)}, optional={"parameters": PARAMETERS})
        )
        | VALUES,
    },
)
GENERATIONS = st.dictionaries(
    st.sampled_from(
        ["text_input", "id", "parameters", "stream", "stop", "n", "max_tokens", "temperature", "x"]
    ),
    VALUES,
    max_size=5,
)
HEADERS = st.none() | st.integers(-2, 200).map(str) | st.text("0123456789abc-+ .", max_size=6)
BOUNDED = settings(
    max_examples=120, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


class Server:
    """A gateway that many examples of one test share, each in a run of the test's loop of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.door: Door
        self._exit: Any = None

    def __enter__(self) -> "Server":
        self._exit = door_to(of_kind(TENSOR, answer=echo), of_kind(GENERATE, model="text", answer=whole))
        self.door = self.loop.run_until_complete(self._exit.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.run_until_complete(self._exit.__aexit__(None, None, None))
        self.loop.close()

    def post(self, path: str, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        return self.loop.run_until_complete(asyncio.wait_for(self._post(path, body, headers), WITHIN_S))

    async def _post(self, path: str, body: bytes, headers: dict[str, str] | None) -> tuple[int, bytes]:
        async with self.door.session.post(self.door.url(path), data=body, headers=headers) as response:
            return response.status, await response.read()

    def say(self, raw: bytes) -> bytes:
        return self.loop.run_until_complete(asyncio.wait_for(self._say(raw), WITHIN_S))

    async def _say(self, raw: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(*self.door.address.split(":"))
        try:
            writer.write(raw)
            writer.write_eof()
            return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()

    def is_well(self) -> None:
        body = b'{"inputs":[{"name":"x","datatype":"INT8","shape":[1],"data":[1]}]}'
        assert self.post(INFER, body)[0] == 200


def check(status: int, answer: bytes) -> None:
    assert status == 200 or 400 <= status < 500, (status, answer)
    if status != 200:
        assert isinstance(json.loads(answer)["error"], str)


def text(value: Any) -> bytes:
    return json.dumps(value).encode()


def test_random_json_is_answered_or_refused() -> None:
    with Server() as server:

        @BOUNDED
        @given(REQUESTS | VALUES)
        @example({"inputs": [{"name": "x", "datatype": "BYTES", "shape": [1], "data": ["\ud800"]}]})
        @example({"inputs": [{"name": "x", "datatype": "FP32", "shape": [], "data": [float("nan")]}]})
        @example({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1 << 62, 1 << 62], "data": []}]})
        def run(request: Any) -> None:
            check(*server.post(INFER, text(request)))

        run()
        server.is_well()


def test_random_generations_are_answered_or_refused() -> None:
    with Server() as server:

        @BOUNDED
        @given(GENERATIONS | VALUES, st.sampled_from(["generate", "generate_stream"]))
        def run(request: Any, call: str) -> None:
            status, answer = server.post(f"/v2/models/text/{call}", text(request))
            assert status == 200 or 400 <= status < 500, (status, answer)

        run()
        server.is_well()


def test_binary_data_of_any_length_is_answered_or_refused() -> None:
    with Server() as server:

        @BOUNDED
        @given(
            REQUESTS,
            st.binary(max_size=64),
            HEADERS,
            st.sampled_from([None, "gzip", "deflate"]),
            st.booleans(),
        )
        def run(request: Any, tail: bytes, length: str | None, coding: str | None, honest: bool) -> None:
            head = text(request)
            body = head + tail
            headers = {"Inference-Header-Content-Length": str(len(head)) if honest else length or "0"}
            if coding:
                headers["Content-Encoding"] = coding
                body = gzip.compress(body) if honest else body
            check(*server.post(INFER, body, headers))

        run()
        server.is_well()


@pytest.mark.parametrize("path", [INFER, "/v2/repository/index", "/v2/models/text/generate"])
def test_random_bytes_are_refused(path: str) -> None:
    with Server() as server:

        @BOUNDED
        @given(st.binary(max_size=200), st.sampled_from([None, "gzip", "deflate", "br"]))
        def run(body: bytes, coding: str | None) -> None:
            check(*server.post(path, body, {"Content-Encoding": coding} if coding else None))

        run()
        server.is_well()


def test_bytes_that_are_no_http_do_no_harm() -> None:
    begin = f"POST {INFER} HTTP/1.1\r\nHost: x\r\n".encode()
    with Server() as server:

        @BOUNDED
        @given(
            st.sampled_from(
                [
                    *(b"", begin, begin + b"Transfer-Encoding: chunked\r\n\r\n"),
                    begin + b"Content-Encoding: gzip\r\nContent-Length: 50\r\n\r\n",
                    begin + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
                    begin + b"Content-Length: 10\r\n\r\n",
                ]
            ),
            st.binary(max_size=100),
        )
        def run(head: bytes, tail: bytes) -> None:
            answer = server.say(head + tail)
            assert not answer.startswith((b"HTTP/1.1 5", b"HTTP/1.0 5")) or b" 505 " in answer[:16]

        run()
        server.is_well()
