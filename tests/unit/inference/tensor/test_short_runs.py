"""Which runs are done at once: learned from what ran, and only of models whose runs depend on shapes alone."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.mlp import WIDTH, save_mlp
from inference.engine import Array, KnowsShort, TensorRequest
from inference.external_data import operators
from inference.settings import EngineSettings
from inference.tensor.engine import TensorEngine
from inference.tensor.short_runs import LEARNED, MOST_BYTES, MOST_SHAPES, SHORT_S, SIZED_BY_SHAPE, ShortRuns
from tests.unit.inference.tensor import onnx_models

SOON, LATE = SHORT_S / 2, SHORT_S * 2


def row(width: int = 4, rows: int = 1) -> dict[str, Array]:
    return {"x": np.zeros((rows, width), np.float32)}


def learned(runs: int = LEARNED + 1, together: int = 1) -> ShortRuns:
    short = ShortRuns(True)
    for _ in range(runs):
        short.ran([row()] * together, SOON)
    return short


def test_nothing_is_believed_of_the_first_runs() -> None:
    assert not learned(LEARNED).known([row()])
    assert learned(LEARNED + 1).known([row()])


def test_nothing_is_ever_believed_of_a_model_whose_runs_depend_on_values() -> None:
    short = ShortRuns(False)
    for _ in range(2 * LEARNED):
        short.ran([row()], SOON)
    assert not short.known([row()])


def test_shapes_that_have_not_run_are_not_known_even_of_fewer_bytes() -> None:
    short = learned()
    assert not short.known([row(width=3)])
    assert not short.known([row(rows=2)])
    assert not short.known([{"y": np.zeros((1, 4), np.float32)}])


def test_more_requests_than_ran_together_are_not_known() -> None:
    short = learned(together=4)
    assert short.known([row()] * 4)
    assert not short.known([row()] * 5)


def test_requests_of_different_shapes_are_not_known() -> None:
    short = learned(together=2)
    short.ran([row(width=5)] * 2, SOON)
    assert short.known([row(width=5)])
    assert not short.known([row(), row(width=5)])


def test_one_late_run_of_many_is_the_kernel_and_several_are_the_model() -> None:
    short = learned()
    short.ran([row()], LATE)
    assert short.known([row()])
    for _ in range(4):
        short.ran([row()], LATE)
    assert not short.known([row()])


def test_runs_that_became_short_again_are_believed_again() -> None:
    short = learned()
    for _ in range(LEARNED):
        short.ran([row()], LATE)
    for _ in range(4 * LEARNED):
        short.ran([row()], SOON)
    assert short.known([row()])


def test_more_requests_that_were_late_together_do_not_spoil_what_is_known() -> None:
    short = learned()
    for _ in range(LEARNED):
        short.ran([row()] * 64, LATE)
    assert short.known([row()])
    assert not short.known([row()] * 64)


def test_large_inputs_are_never_done_at_once() -> None:
    short = ShortRuns(True)
    wide = row(width=MOST_BYTES // 4 + 1)
    for _ in range(LEARNED + 1):
        short.ran([wide], SOON)
    assert not short.known([wide])


def test_the_shapes_that_are_remembered_are_bounded() -> None:
    short = learned()
    for width in range(10, 10 + MOST_SHAPES):
        short.ran([row(width)], SOON)
    assert short.known([row(9 + MOST_SHAPES)])
    assert not short.known([row()])


def test_operators_are_read_of_branches_and_loops_too(tmp_path: Path) -> None:
    assert operators(save_mlp(tmp_path / "mlp.onnx")) == {"MatMul", "Relu"}
    assert "Loop" in operators(onnx_models.loop(tmp_path / "loop.onnx"))


@pytest.mark.parametrize(
    "operator", ["Loop", "If", "Scan", "Range", "Expand", "Tile", "ConstantOfShape", "NonZero"]
)
def test_operators_that_repeat_or_size_by_value_are_not_sized_by_shape(operator: str) -> None:
    assert operator not in SIZED_BY_SHAPE


def test_every_operator_that_is_named_exists() -> None:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    assert {schema.name for schema in state.get_all_operator_schema()} >= SIZED_BY_SHAPE


def engine_of(path: Path) -> TensorEngine:
    return TensorEngine.open(path, EngineSettings(providers=("cpu",), threads=1), lambda _: None)


def knows_after_many(engine: TensorEngine, inputs: dict[str, Array], monkeypatch: pytest.MonkeyPatch) -> bool:
    assert isinstance(engine, KnowsShort)
    # Whatever the machine does meanwhile.
    monkeypatch.setattr("inference.tensor.short_runs.SHORT_S", 60.0)
    request = TensorRequest(inputs)
    for number in range(LEARNED + 1):
        engine.admit(str(number), request)
        while engine.active:
            engine.step()
    return engine.short([request])


def test_an_engine_learns_of_a_small_network_from_its_own_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(save_mlp(tmp_path / "mlp.onnx"))
    inputs: dict[str, Array] = {"input": np.zeros((1, WIDTH), np.float32)}
    assert not engine.short([TensorRequest(inputs)])
    assert knows_after_many(engine, inputs, monkeypatch)


def test_an_engine_learns_nothing_of_a_model_that_repeats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(onnx_models.loop(tmp_path / "loop.onnx"))
    inputs: dict[str, Array] = {
        each.name: np.zeros([1 if length < 0 else length for length in each.shape], np.int64)
        if each.datatype == "INT64"
        else np.zeros([1 if length < 0 else length for length in each.shape], np.float32)
        for each in engine.card.inputs
    }
    assert not knows_after_many(engine, inputs, monkeypatch)
