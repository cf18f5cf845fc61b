from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from inference.engine import Array, Signature
from inference.tensor.trial import Filling, made_up, rows_are_independent, runnable

X = Signature("x", "FP32", (-1, 3))
Y = Signature("y", "FP32", (-1, 3))
FILLING = Filling(1, 256)


def independent(function: "np.ufunc | object") -> bool:
    def run(inputs: Mapping[str, Array]) -> Sequence[Array]:
        assert callable(function)
        return [np.asarray(function(inputs["x"]))]

    return rows_are_independent([X], [Y], run, FILLING)


def test_a_function_of_each_row_is_independent() -> None:
    assert independent(np.tanh)
    assert independent(lambda x: x / x.sum(axis=1, keepdims=True))
    assert independent(lambda x: np.full_like(x, np.nan))


def test_rounding_that_depends_on_the_batch_is_no_influence() -> None:
    assert independent(lambda x: x * (1 + 0.003 * len(x)))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x - x.mean(axis=0, keepdims=True),
        lambda x: x / len(x),
        lambda x: np.cumsum(x, axis=0),
        lambda x: np.cumsum(x[::-1], axis=0)[::-1],
        lambda x: x[::-1],
        lambda x: x.max(axis=0, keepdims=True),
        lambda x: x.sum(),
        lambda x: x @ x.T,
        lambda x: np.repeat(x, 2, axis=0),
    ],
)
def test_a_function_that_mixes_rows_is_not(function: object) -> None:
    assert not independent(function)


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(lambda x: x + 0 * x.mean(axis=0, keepdims=True), id="multiplied by nothing"),
        pytest.param(lambda x: np.tanh(x) + 1e-6 * np.minimum(np.abs(x).max(), 9e9), id="a common scale"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_an_influence_that_only_numbers_out_of_bounds_show_is_found(function: object) -> None:
    assert not independent(function)


def test_a_model_that_refuses_what_is_no_number_may_be_independent() -> None:
    def run(inputs: Mapping[str, Array]) -> Sequence[Array]:
        if not np.isfinite(inputs["x"]).all():
            raise RuntimeError
        return [inputs["x"]]

    assert rows_are_independent([X], [Y], run, FILLING)


def test_a_model_that_refuses_two_rows_is_not() -> None:
    def run(inputs: Mapping[str, Array]) -> Sequence[Array]:
        if len(inputs["x"]) != 1:
            raise RuntimeError
        return [inputs["x"]]

    assert not rows_are_independent([X], [Y], run, FILLING)


def test_a_filling_is_found_for_models_with_a_least_length_or_small_tables() -> None:
    picture = Signature("x", "INT64", (-1, -1))
    table = np.zeros(2)

    def run(inputs: Mapping[str, Array]) -> Sequence[Array]:
        if inputs["x"].shape[1] < 32:
            raise RuntimeError
        return [table[inputs["x"]]]

    assert runnable([picture], run) == Filling(32, 2)


def test_no_filling_is_found_for_a_model_that_takes_nothing() -> None:
    def run(inputs: Mapping[str, Array]) -> Sequence[Array]:
        raise RuntimeError

    assert runnable([X], run) is None


def test_made_up_input_fits_every_datatype() -> None:
    signatures = [
        Signature("f", "FP16", (-1, 2)),
        Signature("i", "INT8", (-1, -1)),
        Signature("b", "BOOL", ()),
        Signature("t", "BYTES", (-1, 1)),
    ]
    arrays = made_up(signatures, 3, Filling(4, 256))
    assert {name: (array.dtype.char, array.shape) for name, array in arrays.items()} == {
        "f": ("e", (3, 2)),
        "i": ("b", (3, 4)),
        "b": ("?", ()),
        "t": ("O", (3, 1)),
    }
