"""What one request sends is no concern of those that share its run, with real models."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from inference.engine import Array, TensorRequest
from inference.repository.definition import DynamicBatching, ModelDefinition
from inference.tensor.engine import TensorEngine
from tests.unit.inference.tensor import onnx_models
from tests.unit.inference.tensor.definitions import declared, finish, opened, outputs

SEED = 11
ROWS = 24
SPOILED = (0, 5, 6, 17, ROWS - 1)
SPOILS: Final = (float("nan"), float("inf"), float("-inf"), 3.4e38, float("nan"))


def layers(path: Path) -> Path:
    """y = softmax(norm(relu(x a) b)) over FP32 [batch, 8]: what most models consist of."""
    random = np.random.default_rng(SEED)
    weights = [
        numpy_helper.from_array(random.standard_normal((8, 8)).astype(np.float32), name) for name in "ab"
    ]
    ones = numpy_helper.from_array(np.ones(8, np.float32), "ones")
    return onnx_models.save(
        path,
        [
            helper.make_node("MatMul", ["x", "a"], ["xa"]),
            helper.make_node("Relu", ["xa"], ["r"]),
            helper.make_node("MatMul", ["r", "b"], ["rb"]),
            helper.make_node("LayerNormalization", ["rb", "ones"], ["n"], axis=-1),
            helper.make_node("Softmax", ["n"], ["y"], axis=-1),
        ],
        [onnx_models.value("x", ["batch", 8])],
        [onnx_models.value("y", ["batch", 8])],
        [*weights, ones],
    )


def poisonable(path: Path) -> Path:
    """y = x + 0 * the mean of all x, FP32 [batch, 8]: rows are independent as long as all are numbers."""
    return onnx_models.save(
        path,
        [
            helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
            helper.make_node("Mul", ["mean", "nothing"], ["zero"]),
            helper.make_node("Add", ["x", "zero"], ["y"]),
        ],
        [onnx_models.value("x", ["batch", 8])],
        [onnx_models.value("y", ["batch", 8])],
        [numpy_helper.from_array(np.zeros(1, np.float32), "nothing")],
    )


def answers(engine: TensorEngine, rows: NDArray[np.float32]) -> dict[str, Array]:
    """Ask for each row in a request of its own, all at once."""
    for number, row in enumerate(rows):
        engine.admit(str(number), TensorRequest({"x": row[None]}))
    return {key: outputs(update)["y"] for key, update in finish(engine).items()}


def same(one: Array, other: Array) -> bool:
    """Tell whether two arrays have the same bits, but for those of NaN."""
    return np.array_equal(one, other, equal_nan=True)


def rows_and_spoiled() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rows = np.random.default_rng(SEED).standard_normal((ROWS, 8)).astype(np.float32)
    spoiled = rows.copy()
    for at, number in zip(SPOILED, SPOILS, strict=True):
        spoiled[at, at % 8] = number
    return rows, spoiled


@pytest.mark.parametrize("shared", ["found", "declared"])
def test_what_is_no_number_in_one_request_changes_nothing_for_those_that_share_its_run(
    shared: str, tmp_path: Path
) -> None:
    found = shared == "found"
    definition = ModelDefinition() if found else declared(64, batching=DynamicBatching())
    engine = opened(layers(tmp_path / "layers.onnx"), definition)
    assert engine.together >= ROWS
    rows, spoiled = rows_and_spoiled()
    clean, beside = answers(engine, rows), answers(engine, spoiled)
    assert set(engine.counts().by_rows) == {ROWS}, "all shared one run, both times"
    alone = {str(number): answers(engine, rows[number : number + 1])["0"] for number in range(ROWS)}
    for number in range(ROWS):
        key = str(number)
        if number in SPOILED:
            continue
        assert same(beside[key], clean[key])
        # A run of one row uses other kernels, which add up in another order.
        assert np.allclose(beside[key], alone[key], rtol=1e-5, atol=1e-7)
    assert all(np.isnan(beside[str(at)]).any() for at in SPOILED if np.isnan(spoiled[at]).any())


@pytest.mark.parametrize(
    "build",
    [onnx_models.per_row, onnx_models.add],
    ids=["one input", "two inputs"],
)
def test_answers_are_bit_for_bit_those_of_requests_alone(
    build: Callable[[Path], Path], tmp_path: Path
) -> None:
    engine = opened(build(tmp_path / "m.onnx"), ModelDefinition())
    names = [signature.name for signature in engine.card.inputs]
    inner = engine.card.inputs[0].shape[1:]
    random = np.random.default_rng(SEED)
    values = random.standard_normal((ROWS, *inner)).astype(np.float32)
    for at, number in zip(SPOILED, SPOILS, strict=True):
        values[at] = number

    def ask(numbers: range) -> list[Array]:
        for number in numbers:
            array = values[number : number + 1]
            engine.admit(str(number), TensorRequest(dict.fromkeys(names, array)))
        done = finish(engine)
        return [next(iter(outputs(done[str(number)]).values())) for number in numbers]

    together = ask(range(ROWS))
    assert set(engine.counts().by_rows) == {ROWS}
    for number in range(ROWS):
        assert same(together[number], ask(range(number, number + 1))[0])


def test_a_model_whose_rows_poison_each_other_runs_one_request_at_a_time(tmp_path: Path) -> None:
    engine = opened(poisonable(tmp_path / "poisonable.onnx"), ModelDefinition())
    rows, spoiled = rows_and_spoiled()
    beside = answers(engine, spoiled)
    for number in range(ROWS):
        if number not in SPOILED:
            assert same(beside[str(number)], rows[number : number + 1])
