from typing import Any

import msgspec
import numpy as np
import pytest

from services.gateway.kserve_http.elements import DTYPES, Elements, all_finite, from_bytes
from services.gateway.kserve_http.refusals import BadBody

NUMBERS = {name: dtype for name, dtype in DTYPES.items() if name not in ("BOOL", "FP16")}


def to_bytes(text: str, datatype: str, *shape: int) -> bytes:
    return Elements(msgspec.Raw(text.encode())).to_bytes(datatype, shape, "input 'x'")


@pytest.mark.parametrize(("datatype", "dtype"), NUMBERS.items())
def test_the_least_and_the_greatest_number_of_each_datatype_go_in_and_come_out(
    datatype: str, dtype: str
) -> None:
    info: Any = np.finfo(dtype) if dtype[-2] == "f" else np.iinfo(dtype)
    values = [
        info.min.item() if dtype[-2] == "f" else info.min,
        1,
        info.max.item() if dtype[-2] == "f" else info.max,
    ]
    raw = to_bytes(msgspec.json.encode(values).decode(), datatype, 3)
    assert raw == np.array(values, dtype).tobytes()
    assert from_bytes(datatype, raw, "output 'y'") == values


def test_elements_may_be_nested_as_the_shape_or_in_one_list() -> None:
    flat = np.arange(6, dtype="<i4").tobytes()
    assert to_bytes("[0,1,2,3,4,5]", "INT32", 2, 3) == flat
    assert to_bytes(" [ [0,1,2], [3,4,5] ]", "INT32", 2, 3) == flat
    assert to_bytes("[[[0],[1],[2]],[[3],[4],[5]]]", "INT32", 2, 3, 1) == flat
    assert to_bytes("[[],[]]", "INT32", 2, 0) == b""
    assert to_bytes("[7]", "INT32") == (7).to_bytes(4, "little")
    assert to_bytes("[]", "FP32", 0) == b""


def test_texts_are_preceded_by_their_length() -> None:
    raw = b"\x02\0\0\0\xc3\xa4\0\0\0\0\x01\0\0\0b"
    assert to_bytes('["ä", "", "b"]', "BYTES", 3) == raw
    assert to_bytes('[["ä"], [""], ["b"]]', "BYTES", 3, 1) == raw
    assert from_bytes("BYTES", raw, "output 'y'") == ["ä", "", "b"]


def test_truth_values_and_half_precision_come_out_as_json_has_them() -> None:
    assert to_bytes("[true, false]", "BOOL", 2) == b"\1\0"
    assert from_bytes("BOOL", b"\1\0", "y") == [True, False]
    assert from_bytes("FP16", np.array([1.5, -2], "<f2").tobytes(), "y") == [1.5, -2.0]
    assert from_bytes("BF16", b"\x80\x3f\x00\xc0", "y") == [1.0, -2.0]


@pytest.mark.parametrize(
    ("text", "datatype", "shape", "fault"),
    [
        ("[1.5]", "INT32", (1,), "Expected `int`, got `float`"),
        ("[true]", "INT32", (1,), "got `bool`"),
        ('["1"]', "FP32", (1,), "got `str`"),
        ("[1]", "BOOL", (1,), "Expected `bool`"),
        ("[1]", "BYTES", (1,), "Expected `str`"),
        ("[null]", "FP32", (1,), "got `null`"),
        ("{}", "FP32", (1,), "Expected `array`"),
        ("3", "FP32", (1,), "Expected `array`"),
        ("[[1]]", "INT32", (1,), "Expected `int`, got `array`"),
        ("[[1],[2,3]]", "INT32", (2, 1), "nested otherwise"),
        ("[[1,2]]", "INT32", (2, 1), "its shape"),
        ("[1,2]", "INT32", (3,), "its shape"),
        ('[["a"],["b","c"]]', "BYTES", (2, 2), "its shape"),
        ("[300]", "INT8", (1,), "cannot hold"),
        ("[-1]", "UINT64", (1,), "cannot hold"),
        ("[18446744073709551616]", "UINT64", (1,), "cannot hold"),
        ("[1e39]", "FP32", (1,), "cannot hold"),
        ("[1]", "FP16", (1,), "binary data"),
        ("[1]", "BF16", (1,), "binary data"),
        ("[1]", "FP8", (1,), "must be one of"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(
    text: str, datatype: str, shape: tuple[int, ...], fault: str
) -> None:
    with pytest.raises(BadBody, match=fault):
        to_bytes(text, datatype, *shape)


def test_a_text_that_is_not_unicode_is_refused_both_ways() -> None:
    with pytest.raises(BadBody, match="Unicode"):
        Elements(None, ["\ud800"]).to_bytes("BYTES", [1], "input 'x'")
    with pytest.raises(BadBody, match="binary data"):
        from_bytes("BYTES", b"\x01\0\0\0\xff", "output 'y'")


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
def test_numbers_that_are_none_are_noticed(datatype: str) -> None:
    dtype = DTYPES[datatype]
    assert all_finite(datatype, np.array([1, -1], dtype).tobytes())
    for value in (np.nan, np.inf, -np.inf):
        assert not all_finite(datatype, np.array([1, value], dtype).tobytes())


def test_numbers_that_are_none_are_noticed_in_bf16_and_cannot_be_in_integers() -> None:
    assert all_finite("BF16", b"\x80\x3f")
    assert not all_finite("BF16", b"\x80\x7f")
    assert not all_finite("BF16", b"\xc0\xff")
    assert all_finite("INT8", b"\xff")
