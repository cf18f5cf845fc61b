import numpy as np
import pytest

from inference.engine import Signature
from inference.tensor.batching import Item, can_share, join, layout_of, next_batch, split

NAMES = ("x",)


def item(key: str, rows: int = 1, width: int = 4, dtype: str = "f4", *, share: bool = True) -> Item:
    inputs = {"x": np.full((rows, width), ord(key[0]), dtype)}
    return Item(key, inputs, layout_of(inputs, NAMES, share=share))


def keys(batch: list[Item]) -> str:
    return "".join(found.key for found in batch)


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


def test_equal_trailing_shapes_and_dtypes_go_together_in_order() -> None:
    waiting = [item("a"), item("b", width=5), item("c", rows=2), item("d", dtype="f8"), item("e")]
    assert keys(next_batch(waiting, 256)) == "ace"


def test_the_request_that_waited_longest_always_runs() -> None:
    assert keys(next_batch([item("a", width=5), item("b"), item("c")], 256)) == "a"


def test_a_batch_ends_before_it_has_too_many_rows() -> None:
    assert keys(next_batch([item("a", rows=3), item("b", rows=6), item("c")], 8)) == "a"
    assert keys(next_batch([item("a", rows=3), item("b", rows=5), item("c")], 8)) == "ab"


def test_requests_that_cannot_share_go_alone() -> None:
    assert keys(next_batch([item("a", share=False), item("b", share=False)], 256)) == "a"
    assert keys(next_batch([item("a"), item("b", share=False), item("c")], 256)) == "ac"


def test_nothing_waits_and_nothing_runs() -> None:
    assert next_batch([], 256) == []


def test_rows_that_differ_between_inputs_make_a_request_run_alone() -> None:
    inputs = {"x": np.zeros((1, 2)), "y": np.zeros((2, 2))}
    assert layout_of(inputs, ("x", "y"), share=True).group is None


def test_a_single_request_is_run_from_its_own_memory() -> None:
    single = item("a")
    assert join([single], NAMES)["x"] is single.inputs["x"]


@pytest.mark.parametrize("rows", [(1, 1, 1), (2, 1, 3), (1, 0, 2)])
def test_what_was_joined_is_split_into_the_same_parts(rows: tuple[int, ...]) -> None:
    batch = [item(key, rows=count) for key, count in zip("abc", rows, strict=True)]
    joined = join(batch, NAMES)["x"]
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
