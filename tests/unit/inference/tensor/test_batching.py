import numpy as np
import pytest

from inference.engine import Signature
from inference.tensor.batching import Item, Layout, can_share, cut, join, split
from inference.tensor.interface import InputPort, OutputPort

NAMES = ("x",)


def item(key: str, rows: int = 1, width: int = 4) -> Item:
    inputs = {"x": np.full((rows, width), ord(key[0]), "f4")}
    return Item(key, inputs, Layout(1, rows, NAMES, lengths={"width": width}), 1)


def test_a_model_shares_when_every_first_dimension_is_dynamic() -> None:
    dynamic, fixed, scalar = (
        Signature("a", "FP32", (-1, 2)),
        Signature("b", "FP32", (1, 2)),
        Signature("c", "FP32", ()),
    )
    assert can_share([dynamic, dynamic], [dynamic])
    assert not can_share([dynamic, fixed], [dynamic])
    assert not can_share([dynamic], [fixed])
    assert not can_share([dynamic, scalar], [dynamic])
    assert not can_share([], [dynamic])


def test_a_single_request_is_run_from_its_own_memory() -> None:
    single = item("a")
    assert join([single])["x"] is single.inputs["x"]


@pytest.mark.parametrize("rows", [(1, 1, 1), (2, 1, 3), (1, 0, 2)])
def test_what_was_joined_is_split_into_the_same_parts(rows: tuple[int, ...]) -> None:
    batch = [item(key, rows=count) for key, count in zip("abc", rows, strict=True)]
    joined = join(batch)["x"]
    parts = split(batch, [joined, joined * 2], ("y", "z"))
    assert parts is not None
    for one, part in zip(batch, parts, strict=True):
        assert np.array_equal(part["y"], one.inputs["x"])
        assert np.array_equal(part["z"], one.inputs["x"] * 2)
    alone = split(batch, [joined], ("y",))
    assert alone is not None
    assert [len(part["y"]) for part in alone] == list(rows)


def test_outputs_without_one_row_for_each_of_the_input_are_not_split() -> None:
    batch = [item("a"), item("b")]
    assert split(batch, [np.zeros((3, 1))], ("y",)) is None
    assert split(batch, [np.zeros(())], ("y",)) is None


def test_ragged_inputs_are_padded_with_zeros_at_the_end_to_the_longest_of_the_run() -> None:
    port = InputPort(Signature("x", "FP32", (-1, -1)), ragged=((1, "width"),))
    joined = join([item("a", width=2), item("b", rows=2, width=3)], [port])["x"]
    a, b = ord("a"), ord("b")
    assert joined.tolist() == [[a, a, 0], [b, b, b], [b, b, b]]


def test_ragged_text_is_padded_with_empty_elements() -> None:
    port = InputPort(Signature("x", "BYTES", (-1, -1)), ragged=((1, "words"),))
    batch = [
        Item(key, {"x": np.array([words], object)}, Layout(1, 1, NAMES), 1)
        for key, words in (("a", [b"one"]), ("b", [b"two", b"three"]))
    ]
    assert join(batch, [port])["x"].tolist() == [[b"one", b""], [b"two", b"three"]]


def test_padding_is_cut_off_where_the_output_has_the_same_dimension() -> None:
    port = OutputPort(Signature("y", "FP32", (-1, -1, 2)), cut=((1, "width"),))
    assert cut(np.zeros((1, 7, 2)), port, {"width": 3}).shape == (1, 3, 2)
    assert cut(np.zeros((1, 7, 2)), port, {"other": 3}).shape == (1, 7, 2)
