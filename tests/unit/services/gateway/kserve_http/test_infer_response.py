import json

import numpy as np
import pytest

from forebay.compat.kserve.kserve_service_pb2 import ModelInferResponse
from services.gateway.kserve_http.infer_request import Form
from services.gateway.kserve_http.infer_response import write_response
from services.gateway.kserve_http.refusals import BadBody


def response(**tensors: tuple[str, bytes, int]) -> ModelInferResponse:
    made = ModelInferResponse(model_name="m", model_version="2", id="7")
    for name, (datatype, raw, count) in tensors.items():
        made.outputs.add(name=name, datatype=datatype, shape=[count])
        made.raw_output_contents.append(raw)
    return made


ONES = ("FP32", np.ones(2, "<f4").tobytes(), 2)
TWOS = ("INT64", np.full(1, 2, "<i8").tobytes(), 1)


def test_an_answer_in_json_has_nothing_behind_it() -> None:
    body = write_response(response(a=ONES, b=TWOS), Form())
    assert body.json_bytes is None
    assert json.loads(body.content) == {
        "model_name": "m",
        "model_version": "2",
        "id": "7",
        "outputs": [
            {"name": "a", "datatype": "FP32", "shape": [2], "data": [1.0, 1.0]},
            {"name": "b", "datatype": "INT64", "shape": [1], "data": [2]},
        ],
    }


def test_binary_data_follows_the_json_in_the_order_of_the_outputs() -> None:
    body = write_response(response(a=ONES, b=TWOS, c=ONES), Form(True, {"b": False}))
    assert body.json_bytes is not None
    outputs = json.loads(body.content[: body.json_bytes])["outputs"]
    assert [each.get("parameters") for each in outputs] == [
        *({"binary_data_size": 8}, None, {"binary_data_size": 8})
    ]
    assert outputs[1]["data"] == [2]
    assert body.content[body.json_bytes :] == ONES[1] + ONES[1]


def test_numbers_that_are_none_are_written_as_clients_read_them() -> None:
    raw = np.array([np.nan, np.inf, -np.inf], "<f4").tobytes()
    text = write_response(response(a=("FP32", raw, 3)), Form()).content
    assert b'"data":[NaN,Infinity,-Infinity]' in text


def test_bytes_that_are_no_text_can_be_had_as_binary_data_only() -> None:
    made = response(a=("BYTES", b"\1\0\0\0\xff", 1))
    with pytest.raises(BadBody, match="output 'a' is not UTF-8"):
        write_response(made, Form())
    assert write_response(made, Form(binary=True)).content.endswith(b"\1\0\0\0\xff")
