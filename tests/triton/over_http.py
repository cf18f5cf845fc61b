"""The client over HTTP, and what it does alone: elements as JSON and as binary data."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import np_to_triton_dtype

from tests.triton.door import ANSWERED_S
from tests.triton.scenarios import SHARED, Scenario
from tests.triton.values import BRAIN, TYPES, same

_STATUSES: Final = {
    "INVALID_ARGUMENT": "400",
    "NOT_FOUND": "404",
    "FAILED_PRECONDITION": "412",
    "UNIMPLEMENTED": "501",
    "DEADLINE_EXCEEDED": "504",
}
_BINARY_ONLY: Final = ("FP16",)


class OverHttp:
    """See `Door`."""

    codings: Sequence[Mapping[str, str]] = tuple(
        {"request_compression_algorithm": there, "response_compression_algorithm": back}
        for there, back in (("gzip", "gzip"), ("deflate", "deflate"), ("gzip", "deflate"))
    )

    def __init__(self, url: str) -> None:
        self.url = url
        self.client: Any = triton.InferenceServerClient(url, concurrency=8)
        self.aio: Any = triton_aio

    def given(self, name: str, values: Any, *, binary: bool = True) -> Any:
        made = triton.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
        return made.set_data_from_numpy(values, binary_data=binary)

    def wanted(self, name: str, classes: int = 0, *, binary: bool = True) -> Any:
        return triton.InferRequestedOutput(name, binary_data=binary, class_count=classes)

    def region(self, name: str, shape: Sequence[int], datatype: str) -> Any:
        made = triton.InferInput(name, list(shape), datatype)
        made.set_shared_memory("region", 16)
        return made

    def status(self, code: str) -> str:
        return _STATUSES[code]

    def begin(self, model: str, inputs: Sequence[Any], **options: Any) -> Callable[[], Any]:
        request = self.client.async_infer(model, inputs, **options)
        return lambda: request.get_result(timeout=ANSWERED_S)

    def id_of(self, result: Any) -> str:
        return str(result.get_response()["id"])

    def version_of(self, result: Any) -> str:
        return str(result.get_response()["model_version"])

    def outputs_of(self, result: Any) -> list[str]:
        return [output["name"] for output in result.get_response()["outputs"]]

    def server(self) -> dict[str, Any]:
        return dict(self.client.get_server_metadata())

    def metadata(self, *model: str) -> dict[str, Any]:
        return dict(self.client.get_model_metadata(*model))

    def config(self, *model: str) -> dict[str, Any]:
        return dict(self.client.get_model_config(*model))

    def statistics(self, *model: str) -> list[dict[str, Any]]:
        return list(self.client.get_inference_statistics(*model)["model_stats"])

    def index(self) -> list[dict[str, Any]]:
        return list(self.client.get_model_repository_index())


def forms(door: OverHttp) -> None:
    """Every datatype, each way as JSON and as binary data."""
    for way in (True, False):
        inputs = [
            door.given(f"in_{name}", values, binary=way or name in _BINARY_ONLY)
            for name, values in TYPES.items()
        ]
        for back in (True, False):
            outputs = [door.wanted(f"out_{name}", binary=back) for name in TYPES]
            result = door.client.infer("types", inputs, outputs=outputs)
            for name, values in TYPES.items():
                found = result.as_numpy(f"out_{name}")
                if name == "BYTES" and not back:
                    found = np.array([text.encode() for text in found], np.object_)
                assert same(found, values), (name, way, back, found)
    for back in (True, False):
        outputs = [door.wanted("y", binary=back)]
        result = door.client.infer("brain", [door.given("x", BRAIN)], outputs=outputs)
        assert same(result.as_numpy("y"), BRAIN)
    scores = [door.given("x", np.array([[1, 9, 3, 7]], np.float32), binary=False)]
    result = door.client.infer("scores", scores, outputs=[door.wanted("y", 1, binary=False)])
    assert result.as_numpy("y").tolist() == [["9.000000:1:pear"]]


def not_finite(door: OverHttp) -> None:
    """Numbers that JSON does not have."""
    values = np.array([np.nan, np.inf, -np.inf], np.float32)
    for way in (True, False):
        inputs = [
            door.given("in_FP32", values, binary=way) if name == "FP32" else door.given(f"in_{name}", other)
            for name, other in TYPES.items()
        ]
        outputs = [door.wanted("out_FP32", binary=way)]
        found = door.client.infer("types", inputs, outputs=outputs).as_numpy("out_FP32")
        assert str(found.tolist()) == "[nan, inf, -inf]"


SCENARIOS: Final[tuple[Scenario, ...]] = (*SHARED, forms, not_finite)
