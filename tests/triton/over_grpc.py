"""The client over gRPC, and what it does alone: streams, large messages, language models in pieces."""

import asyncio
import queue
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import np_to_triton_dtype

from tests.triton.door import ANSWERED_S, refused
from tests.triton.scenarios import SHARED, Scenario
from tests.triton.values import row, same


class OverGrpc:
    """See `Door`."""

    codings: Sequence[Mapping[str, str]] = tuple(
        {"compression_algorithm": algorithm} for algorithm in ("gzip", "deflate")
    )

    def __init__(self, url: str) -> None:
        self.url = url
        self.client: Any = triton.InferenceServerClient(url)
        self.aio: Any = triton_aio

    def given(self, name: str, values: Any) -> Any:
        made = triton.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
        return made.set_data_from_numpy(values)

    def wanted(self, name: str, classes: int = 0) -> Any:
        return triton.InferRequestedOutput(name, class_count=classes)

    def region(self, name: str, shape: Sequence[int], datatype: str) -> Any:
        made = triton.InferInput(name, list(shape), datatype)
        made.set_shared_memory("region", 16)
        return made

    def status(self, code: str) -> str:
        return f"StatusCode.{code}"

    def begin(self, model: str, inputs: Sequence[Any], **options: Any) -> Callable[[], Any]:
        found: queue.Queue[tuple[Any, Any]] = queue.Queue()
        self.client.async_infer(model, inputs, lambda result, error: found.put((result, error)), **options)

        def wait() -> Any:
            result, error = found.get(timeout=ANSWERED_S)
            assert error is None, error
            return result

        return wait

    def id_of(self, result: Any) -> str:
        return str(result.get_response().id)

    def version_of(self, result: Any) -> str:
        return str(result.get_response().model_version)

    def outputs_of(self, result: Any) -> list[str]:
        return [output.name for output in result.get_response().outputs]

    def server(self) -> dict[str, Any]:
        return dict(self.client.get_server_metadata(as_json=True))

    def metadata(self, *model: str) -> dict[str, Any]:
        return dict(self.client.get_model_metadata(*model, as_json=True))

    def config(self, *model: str) -> dict[str, Any]:
        return dict(self.client.get_model_config(*model, as_json=True)["config"])

    def statistics(self, *model: str) -> list[dict[str, Any]]:
        return list(self.client.get_inference_statistics(*model, as_json=True)["model_stats"])

    def index(self) -> list[dict[str, Any]]:
        return list(self.client.get_model_repository_index(as_json=True)["models"])


def large(door: OverGrpc) -> None:
    values = np.arange(4_000_000, dtype=np.float32).reshape(20, 200_000)
    assert same(door.client.infer("wide", [door.given("x", values)]).as_numpy("y"), values * 2)
    too_large = [door.given("x", np.zeros((90, 200_000), np.float32))]
    refused(door, "RESOURCE_EXHAUSTED", lambda: door.client.infer("wide", too_large), "larger than max")
    assert door.client.infer("add", [door.given("x", row(1, 2, 3, 4))]).as_numpy("y").shape == (1, 4)


def cancelling(door: OverGrpc) -> None:
    """A call that is given up, and one whose time is over."""
    asked = [door.given("x", np.zeros((1, 200_000), np.float32))]
    found: queue.Queue[Any] = queue.Queue()
    door.client.async_infer("wide", asked, lambda result, error: found.put(error)).cancel()
    assert "cancelled" in str(found.get(timeout=ANSWERED_S)).lower()
    # Told by the client itself, or by a gateway that was quicker and knows that it cannot be done in that time.
    too_soon = ("DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED")
    refused(door, too_soon, lambda: door.client.infer("wide", asked, client_timeout=1e-5))
    assert door.client.infer("wide", asked).as_numpy("y").shape == (1, 200_000)


def streaming(door: OverGrpc) -> None:
    found: queue.Queue[tuple[Any, Any]] = queue.Queue()
    door.client.start_stream(lambda result, error: found.put((result, error)))
    for number in range(10):
        wrong = number == 4
        door.client.async_stream_infer(
            "add",
            [door.given("x", row(number, 1, 2, 3)[:, : 3 if wrong else 4])],
            request_id=str(number),
            enable_empty_final_response=True,
        )
    for number in range(10):
        result, error = found.get(timeout=ANSWERED_S)
        if number == 4:
            assert "input 'x'" in error.message(), error
            continue
        assert error is None, error
        response = result.get_response()
        assert response.id == str(number)
        assert response.parameters["triton_final_response"].bool_param
        assert result.as_numpy("y")[0, 0] == 2 * number
    door.client.stop_stream()


def asyncio_streaming(door: OverGrpc) -> None:
    async def run() -> None:
        async with triton_aio.InferenceServerClient(door.url) as client:

            async def asked() -> Any:
                for number in range(30):
                    yield {
                        "model_name": "add" if number != 7 else "nobody",
                        "inputs": [door.given("x", row(number, 0, 0, 0))],
                        "request_id": str(number),
                    }

            seen = []
            async for result, error in client.stream_infer(asked()):
                if error is not None:
                    assert "nobody" in error.message(), error
                    seen.append(7)
                else:
                    seen.append(int(result.get_response().id))
                    assert result.as_numpy("y")[0, 0] == 2 * seen[-1]
            assert seen == list(range(30)), seen

    asyncio.run(run())


def sequences_in_a_stream(door: OverGrpc) -> None:
    found: queue.Queue[tuple[Any, Any]] = queue.Queue()
    door.client.start_stream(lambda result, error: found.put((result, error)))
    for number in range(1, 6):
        for key, sign in ((1001, 1), (1002, -1)):
            door.client.async_stream_infer(
                "running_sum",
                [door.given("x", np.array([[sign * number]], np.float32))],
                request_id=str(key),
                sequence_id=key,
                sequence_start=number == 1,
                sequence_end=number == 5,
            )
    totals: dict[str, list[float]] = {"1001": [], "1002": []}
    for _ in range(10):
        result, error = found.get(timeout=ANSWERED_S)
        assert error is None, error
        totals[result.get_response().id].append(result.as_numpy("y").item())
    door.client.stop_stream()
    assert totals == {"1001": [1, 3, 6, 10, 15], "1002": [-1, -3, -6, -10, -15]}, totals


def language(door: OverGrpc) -> None:
    """Of a system with a language model instead of the others."""
    config = door.config("smollm2")
    assert config["name"] == "smollm2"
    assert config["model_transaction_policy"]["decoupled"]
    text = np.array([b"The capital of France is"], np.object_)
    asked = [door.given("text_input", text), door.given("max_tokens", np.array([8], np.int32))]
    whole = door.client.infer("smollm2", asked).as_numpy("text_output")
    assert whole.shape == (1,)
    found: queue.Queue[tuple[Any, Any]] = queue.Queue()
    door.client.start_stream(lambda result, error: found.put((result, error)))
    door.client.async_stream_infer(
        "smollm2",
        [
            door.given("text_input", text),
            door.given("stream", np.array([True])),
            door.given(
                "sampling_parameters", np.array([b'{"max_tokens": "8", "temperature": "0"}'], np.object_)
            ),
        ],
        enable_empty_final_response=True,
    )
    pieces: list[bytes] = []
    final = False
    while not final:
        result, error = found.get(timeout=ANSWERED_S)
        assert error is None, error
        final = result.get_response().parameters["triton_final_response"].bool_param
        piece = result.as_numpy("text_output")
        if piece is not None:
            pieces.append(piece[0])
    door.client.stop_stream()
    assert len(pieces) > 1
    assert b"".join(pieces) == whole[0], (pieces, whole)


SCENARIOS: Final[tuple[Scenario, ...]] = (
    *SHARED,
    *(large, cancelling, streaming, asyncio_streaming, sequences_in_a_stream),
)
ALONE: Final[tuple[Scenario, ...]] = (language,)
"""Those that want another system."""
