from typing import Any

import msgspec
import numpy as np
import pytest

from services.gateway.kserve_http.infer_request import (
    MAX_ELEMENT_BYTES,
    MAX_JSON_BYTES,
    decode_object,
    json_length,
    read_request,
)
from services.gateway.kserve_http.refusals import BadBody, TooLarge


def x(**fields: Any) -> dict[str, Any]:
    return {"name": "x", "datatype": "INT32", "shape": [2], **fields}


def encoded(**fields: Any) -> bytes:
    return msgspec.json.encode(fields)


def test_json_and_binary_data_become_one_message_in_the_order_of_the_inputs() -> None:
    head = encoded(
        id="7",
        inputs=[
            x(name="a", parameters={"binary_data_size": 8}),
            x(name="b", data=[3, 4]),
            x(name="c", shape=[1], parameters={"binary_data_size": 4, "own": "kept"}),
        ],
        parameters={"priority": 1, "big": 1 << 63, "half": 0.5, "flag": True, "binary_data_output": True},
        outputs=[
            {"name": "p"},
            {"name": "q", "parameters": {"binary_data": False, "classification": 2}},
        ],
    )
    tail = np.array([1, 2, 5], "<i4").tobytes()
    request, form = read_request(head + tail, str(len(head)))
    assert [np.frombuffer(raw, "<i4").tolist() for raw in request.raw_input_contents] == [[1, 2], [3, 4], [5]]
    assert [(each.name, list(each.shape)) for each in request.inputs] == [("a", [2]), ("b", [2]), ("c", [1])]
    assert set(request.inputs[2].parameters) == {"own"}
    assert request.id == "7"
    parameters = request.parameters
    assert (parameters["priority"].int64_param, parameters["big"].uint64_param) == (1, 1 << 63)
    assert (parameters["half"].double_param, parameters["flag"].bool_param) == (0.5, True)
    assert "binary_data_output" not in parameters
    assert form.is_binary("p")
    assert not form.is_binary("q")
    assert set(request.outputs[1].parameters) == {"classification"}


def test_without_a_word_about_it_answers_are_json() -> None:
    _, form = read_request(encoded(inputs=[x(data=[1, 2])]), None)
    assert not form.is_binary("y")


def test_nan_and_infinity_are_taken_as_clients_write_them() -> None:
    body = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[2,2],"data":[[NaN,1],[Infinity,-Infinity]]}]}'
    request, _ = read_request(body, None)
    values = np.frombuffer(request.raw_input_contents[0], "<f4")
    assert np.isnan(values[0])
    assert values[1:].tolist() == [1.0, np.inf, -np.inf]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"\xff\xfe",
        b'{"inputs": 3}',
        b'{"inputs": [{}]}',
        b'{"inputs": [NaN]}',
        b'{"inputs": NaN',
        b'{"id": "NaN \xff", "inputs": []}',
        b'{"inputs":' + b"[" * 100_000,
        b'{"inputs":NaN,"x":' + b"[" * 100_000,
        b'{"id": "\\ud800", "x": NaN, "inputs": []}',
        encoded(id=7, inputs=[]),
        encoded(inputs=[x()]),
        encoded(inputs=[x(data=None)]),
        encoded(inputs=[x(shape=[-1], data=[])]),
        encoded(inputs=[x(shape=["2"], data=[1, 2])]),
        encoded(inputs=[x(shape=[1 << 63], data=[1])]),
        encoded(inputs=[x(shape=[1] * 33, data=[1])]),
        encoded(inputs=[x(data=[1, 2], parameters={"a": None})]),
        encoded(inputs=[x(data=[1, 2])], parameters={"a": [1]}),
        encoded(inputs=[x(data=[1, 2])], parameters={"a": {}}),
        encoded(inputs=[x(data=[1, 2])], parameters={"a": 1 << 64}),
        encoded(inputs=[x(data=[1, 2])], parameters={"binary_data_output": 1}),
        encoded(inputs=[x(data=[1, 2])], outputs=[{"name": "y", "parameters": {"binary_data": "no"}}]),
        encoded(inputs=[x(data=[1, 2])], outputs=[{}]),
        encoded(inputs=[x(parameters={"binary_data_size": 8})]),
        encoded(inputs=[x(parameters={"binary_data_size": -1})]),
        encoded(inputs=[x(parameters={"binary_data_size": True})]),
        encoded(inputs=[x(parameters={"binary_data_size": "8"})]),
        encoded(inputs=[x(data=[1, 2], parameters={"binary_data_size": 8})]),
    ],
)
def test_a_body_that_is_not_as_the_protocol_says_is_refused(body: bytes) -> None:
    with pytest.raises(BadBody):
        read_request(body, None)


@pytest.mark.parametrize("extra", [-1, 1])
def test_binary_data_must_be_exactly_as_long_as_was_said(extra: int) -> None:
    head = encoded(inputs=[x(parameters={"binary_data_size": 8})])
    with pytest.raises(BadBody, match="binary data"):
        read_request(head + bytes(8 + extra), str(len(head)))


@pytest.mark.parametrize("header", ["", "-1", "x", "1.5", "0x10", "101", "99999999999999999999", "²"])
def test_a_length_of_the_json_part_that_cannot_be_is_refused(header: str) -> None:
    with pytest.raises(BadBody, match="length of the JSON part"):
        json_length(header, 100)


def test_how_much_is_json_is_what_the_header_says_and_not_more_than_is_taken() -> None:
    assert json_length(None, 100) == 100
    assert json_length(" 40 ", 100) == 40
    assert json_length("5", MAX_JSON_BYTES + 5) == 5
    with pytest.raises(TooLarge, match="binary data"):
        json_length(None, MAX_JSON_BYTES + 1)


def test_short_numbers_in_json_do_not_become_more_elements_than_are_taken() -> None:
    half = MAX_ELEMENT_BYTES // 16
    numbers = {"datatype": "FP64", "shape": [half + 1], "data": [0] * (half + 1)}
    with pytest.raises(TooLarge, match="elements"):
        read_request(encoded(inputs=[{"name": "a", **numbers}, {"name": "b", **numbers}]), None)


def test_small_bodies_are_read_by_the_same_rules() -> None:
    assert decode_object(b'{"a": 1}', dict[str, Any]) == {"a": 1}
    for body in (b"[]", b"{", b"\xff", b"[" * 100_000):
        with pytest.raises(BadBody):
            decode_object(body, dict[str, Any])
