from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from inference.engine import Array, Done, Failed, SequencePlace, TensorRequest, WantedOutput
from inference.repository.definition import (
    DynamicBatching,
    ModelDefinition,
    Sequences,
    StateDefinition,
    WarmupSample,
)
from inference.settings import EngineSettings
from inference.tensor.engine import TensorEngine
from scheduler.errors import InvalidInput, ModelUnusable
from tests.unit.inference.tensor import onnx_models
from tests.unit.inference.tensor.definitions import declared, finish, given, opened, outputs, row, seen

ADD = declared(4, inputs=(seen("x", 4), seen("y", 4)), outputs=(given("z", 4),), batching=DynamicBatching())


def faults(caught: pytest.ExceptionInfo[InvalidInput]) -> list[tuple[str, str]]:
    return [(fault.field, fault.fault) for fault in caught.value.faults]


def both(rows: int = 1) -> dict[str, Array]:
    return {"x": row(1, 2, 3, 4, rows=rows), "y": row(1, 1, 1, 1, rows=rows)}


def test_the_card_leaves_the_batch_dimension_out_and_says_how_large_it_may_be(tmp_path: Path) -> None:
    card = opened(onnx_models.add(tmp_path / "add.onnx"), ADD).card
    assert [signature.shape for signature in (*card.inputs, *card.outputs)] == [(4,)] * 3
    assert (card.max_batch_size, card.stateful) == (4, False)


def test_requests_of_several_rows_share_a_run_of_at_most_the_largest_batch(tmp_path: Path) -> None:
    engine = opened(onnx_models.add(tmp_path / "add.onnx"), ADD)
    for key, rows in (("a", 2), ("b", 2), ("c", 3)):
        engine.admit(key, TensorRequest(both(rows)))
    assert [[update.key for update in engine.step()] for _ in range(2)] == [["a", "b"], ["c"]]


@pytest.mark.parametrize(("rows", "told"), [(5, "got 5"), (0, "got 0")])
def test_more_rows_than_the_largest_batch_and_none_at_all_are_refused(
    rows: int, told: str, tmp_path: Path
) -> None:
    engine = opened(onnx_models.add(tmp_path / "add.onnx"), ADD)
    with pytest.raises(InvalidInput) as caught:
        engine.admit("a", TensorRequest(both(rows)))
    assert faults(caught) == [
        (f"tensors.tensors[{at}].shape", f"input {name!r} expects 1 to 4 rows, {told}")
        for at, name in enumerate("xy")
    ]


def test_inputs_that_differ_in_rows_are_refused(tmp_path: Path) -> None:
    engine = opened(onnx_models.add(tmp_path / "add.onnx"), ADD)
    with pytest.raises(InvalidInput, match="input 'y' has 1 rows, but input 'x' has 2"):
        engine.admit("a", TensorRequest({"x": row(0, 0, 0, 0, rows=2), "y": row(0, 0, 0, 0)}))


def test_a_configuration_without_batching_runs_requests_alone_even_of_several_rows(tmp_path: Path) -> None:
    engine = opened(onnx_models.add(tmp_path / "add.onnx"), replace(ADD, batching=None))
    assert engine.together == 1
    for key in "ab":
        engine.admit(key, TensorRequest(both(2)))
    assert [len(engine.step()) for _ in range(2)] == [1, 1]
    assert engine.counts().by_rows[2].runs == 2


def test_without_a_largest_batch_shapes_are_whole_and_nothing_is_shared(tmp_path: Path) -> None:
    definition = declared(0, inputs=(seen("x", -1, 4), seen("y", -1, 4)), outputs=(given("z", -1, 4),))
    engine = opened(onnx_models.add(tmp_path / "add.onnx"), definition)
    assert engine.card.inputs[0].shape == (-1, 4)
    for key in "ab":
        engine.admit(key, TensorRequest(both(9)))
    assert [len(engine.step()) for _ in range(2)] == [1, 1]


def test_inputs_and_outputs_that_are_not_told_are_those_of_the_model(tmp_path: Path) -> None:
    engine = opened(onnx_models.add(tmp_path / "add.onnx"), declared(8))
    assert [(each.name, each.shape) for each in engine.card.inputs] == [("x", (4,)), ("y", (4,))]


def test_without_a_configuration_the_engine_finds_out_by_itself(tmp_path: Path) -> None:
    engine = opened(onnx_models.add(tmp_path / "add.onnx"), ModelDefinition(name="add"))
    assert engine.together > 1
    assert engine.card.inputs[0].shape == (-1, 4)


def test_every_disagreement_with_the_model_is_told_with_its_place(tmp_path: Path) -> None:
    definition = declared(
        4,
        inputs=(seen("x", 5, datatype="INT32", place="config.pbtxt:3:1"), seen("w", 4)),
        outputs=(given("z", 4, 1),),
    )
    with pytest.raises(ModelUnusable) as caught:
        opened(onnx_models.add(tmp_path / "add.onnx"), definition)
    for fault in (
        "config.pbtxt:3:1: input 'x' is INT32, but FP32 in the model",
        "input 'x' is INT32[-1,5], but FP32[-1,4] in the model",
        "the model has no input 'w'; it has x, y",
        "the configuration leaves out the input FP32[-1,4] 'y'",
        "output 'z' is FP32[-1,4,1], but FP32[-1,4] in the model",
    ):
        assert fault in str(caught.value)


def test_a_model_without_a_batch_dimension_cannot_be_told_to_have_one(tmp_path: Path) -> None:
    with pytest.raises(
        ModelUnusable, match=r"max_batch_size is 4, but the first dimension of 'x' FP32\[2,3\]"
    ):
        opened(onnx_models.fixed(tmp_path / "fixed.onnx"), declared(4))


def test_clients_may_see_other_shapes_than_the_model(tmp_path: Path) -> None:
    definition = declared(
        4,
        inputs=(seen("x", 2, 2, reshape=(4,)), seen("y", 4)),
        outputs=(given("z", 4, 1, reshape=(4,)),),
        batching=DynamicBatching(),
    )
    engine = opened(onnx_models.add(tmp_path / "add.onnx"), definition)
    square = np.arange(4, dtype=np.float32).reshape(1, 2, 2)
    for key in "ab":
        engine.admit(key, TensorRequest({"x": square, "y": row(0, 0, 0, 1)}))
    updates = engine.step()
    assert len(updates) == 2
    for update in updates:
        assert outputs(update)["z"].tolist() == [[[0], [1], [2], [4]]]


def test_a_dimension_of_one_can_be_there_for_clients_only(tmp_path: Path) -> None:
    definition = declared(
        4,
        inputs=(seen("x", 1, reshape=()),),
        outputs=(given("y", 1, reshape=()),),
        batching=DynamicBatching(),
    )
    engine = opened(onnx_models.per_row(tmp_path / "rows.onnx"), definition)
    engine.admit("a", TensorRequest({"x": np.array([[1], [2]], np.float32)}))
    engine.admit("b", TensorRequest({"x": np.array([[3]], np.float32)}))
    assert [outputs(update)["y"].tolist() for update in engine.step()] == [[[2], [4]], [[6]]]


def test_an_input_for_which_the_model_has_a_value_may_be_left_out(tmp_path: Path) -> None:
    definition = replace(ADD, inputs=(seen("x", 4), seen("y", 4, optional=True)))
    engine = opened(onnx_models.with_default(tmp_path / "default.onnx"), definition)
    for key in "ab":
        engine.admit(f"without {key}", TensorRequest({"x": row(1, 2, 3, 4)}))
        engine.admit(f"with {key}", TensorRequest(both()))
    batches = [{update.key: outputs(update)["z"].tolist() for update in engine.step()} for _ in range(2)]
    assert batches == [
        {f"without {key}": [[11, 22, 33, 44]] for key in "ab"},
        {f"with {key}": [[2, 3, 4, 5]] for key in "ab"},
    ]


def test_an_input_that_the_model_needs_cannot_be_optional(tmp_path: Path) -> None:
    definition = replace(ADD, inputs=(seen("x", 4), seen("y", 4, optional=True)))
    with pytest.raises(ModelUnusable, match="'y' is optional, but the model has no value of its own for it"):
        opened(onnx_models.add(tmp_path / "add.onnx"), definition)


RAGGED = declared(8, inputs=(seen("x", -1, ragged=True),), batching=DynamicBatching())


def test_requests_of_different_lengths_share_a_run_where_the_input_is_ragged(tmp_path: Path) -> None:
    engine = opened(onnx_models.ragged(tmp_path / "ragged.onnx"), RAGGED)
    for key, values in (("a", (1, 2, 3)), ("b", (4,))):
        engine.admit(key, TensorRequest({"x": row(*values)}))
    a, b = map(outputs, engine.step())
    assert (a["y"].tolist(), b["y"].tolist()) == ([[2, 4, 6]], [[8]])
    assert (a["total"].tolist(), b["total"].tolist()) == ([6], [4])


@pytest.mark.parametrize("words", [None, "words"], ids=["without a name", "under another name"])
def test_lengths_are_not_mixed_where_an_output_may_be_as_long_as_the_padding(
    words: str | None, tmp_path: Path
) -> None:
    said: list[str] = []
    whole = onnx_models.value("whole", ["batch", words and "width"])
    path = onnx_models.ragged(tmp_path / "ragged.onnx", whole, words=words)
    definition = replace(RAGGED, inputs=(seen("x", -1, ragged=True, place="config.pbtxt:3:9"),))
    settings = EngineSettings(providers=("cpu",), threads=1, batch_time_s=0.0)
    engine = TensorEngine.open(path, settings, said.append, definition)
    for key, values in (("a", (1, 2, 3)), ("b", (4,)), ("c", (5, 6, 7))):
        engine.admit(key, TensorRequest({"x": row(*values)}))
    updates = finish(engine)
    assert {key: outputs(update)["whole"].tolist() for key, update in updates.items()} == {
        "a": [[1, 2, 3]],
        "b": [[4]],
        "c": [[5, 6, 7]],
    }
    done = {key: update.batch for key, update in updates.items() if isinstance(update, Done)}
    assert done == {"a": 2, "b": 1, "c": 2}
    [warning] = [sentence for sentence in said if sentence.startswith("config.pbtxt:3:9: ")]
    first = "whole" if words else "y"
    assert f"lengths of 'x' differ do not share runs: output {first!r}" in warning


def test_an_input_whose_dimension_has_no_name_is_padded_where_no_output_can_have_it(tmp_path: Path) -> None:
    engine = opened(onnx_models.total(tmp_path / "total.onnx"), RAGGED)
    for key, values in (("a", (1, 2, 3)), ("b", (4,))):
        engine.admit(key, TensorRequest({"x": row(*values)}))
    a, b = map(outputs, engine.step())
    assert (a["total"].tolist(), b["total"].tolist()) == ([6], [4])


def test_requests_of_different_lengths_run_apart_where_nothing_is_declared(tmp_path: Path) -> None:
    definition = replace(RAGGED, inputs=(seen("x", -1),))
    engine = opened(onnx_models.ragged(tmp_path / "ragged.onnx"), definition)
    for key, values in (("a", (1, 2, 3)), ("b", (4,))):
        engine.admit(key, TensorRequest({"x": row(*values)}))
    assert [len(engine.step()) for _ in range(2)] == [1, 1]


def test_only_wanted_outputs_are_asked_of_the_model_and_returned_in_their_order(tmp_path: Path) -> None:
    engine = opened(onnx_models.ragged(tmp_path / "ragged.onnx"), RAGGED)
    names = []
    run = engine._parts.model.run

    def noted(wanted: object, *rest: object) -> object:
        names.append(wanted)
        return run(wanted, *rest)  # type: ignore[arg-type]

    engine._parts.model.run = noted  # type: ignore[assignment,method-assign]
    for key, wanted in (("a", ("total", "y")), ("b", ("y",))):
        request = TensorRequest({"x": row(1, 2)}, outputs=tuple(map(WantedOutput, wanted)))
        engine.admit(key, request)
    updates = finish(engine)
    assert names == [("y", "total")]
    assert [list(outputs(updates[key])) for key in "ab"] == [["total", "y"], ["y"]]


def test_an_unknown_output_and_one_without_highest_values_are_refused(tmp_path: Path) -> None:
    engine = opened(
        onnx_models.echo(tmp_path / "echo.onnx", TensorProto.BOOL, ("batch", 2)),
        declared(8, outputs=(given("y", 2, datatype="BOOL"),)),
    )
    wanted = (WantedOutput("z"), WantedOutput("y", classes=2), WantedOutput("y"))
    with pytest.raises(InvalidInput) as caught:
        engine.admit("a", TensorRequest({"x": np.ones((1, 2), bool)}, outputs=wanted))
    assert faults(caught) == [
        ("outputs[0].name", "the model has no output 'z'; expected some of y"),
        ("outputs[1].classes", "output 'y' is BOOL, which has no highest values"),
        ("outputs[2].name", "output 'y' is wanted twice"),
    ]


def test_classes_are_the_highest_values_of_each_row_with_their_labels(tmp_path: Path) -> None:
    definition = replace(ADD, outputs=(given("z", 4, labels=("cat", "dog", "")),))
    engine = opened(onnx_models.add(tmp_path / "add.onnx"), definition)
    x = np.array([[0.25, 3, 1, -1], [0, 0, 0, 5]], np.float32)
    request = TensorRequest({"x": x, "y": np.zeros_like(x)}, outputs=(WantedOutput("z", classes=2),))
    engine.admit("a", request)
    engine.admit("b", TensorRequest({"x": x, "y": x}))
    updates = finish(engine)
    assert outputs(updates["a"])["z"].tolist() == [
        [b"3.000000:1:dog", b"1.000000:2"],
        [b"5.000000:3", b"0.000000:0:cat"],
    ]
    assert outputs(updates["b"])["z"].tolist() == (2 * x).tolist()


def test_samples_of_the_configuration_warm_the_model_up(tmp_path: Path) -> None:
    engine = opened(
        onnx_models.add(tmp_path / "add.onnx"), replace(ADD, warmup=(WarmupSample("two", both(2), 3),))
    )
    shapes = []
    run = engine._parts.model.run

    def noted(names: object, feeds: dict[str, Array], *rest: object) -> object:
        shapes.append(feeds["x"].shape)
        return run(names, feeds, *rest)  # type: ignore[arg-type]

    engine._parts.model.run = noted  # type: ignore[assignment,method-assign]
    engine.warm_up()
    assert shapes == [(2, 4)] * 3
    assert engine.counts().rows == 0


@pytest.mark.parametrize("inputs", [{"x": row(1, 2)}, both(5)])
def test_a_sample_that_does_not_fit_refuses_the_model(
    inputs: dict[str, Array],
    tmp_path: Path,
) -> None:
    sample = WarmupSample("wrong", inputs, place="config.pbtxt:9:1")
    engine = opened(onnx_models.add(tmp_path / "add.onnx"), replace(ADD, warmup=(sample,)))
    with pytest.raises(ModelUnusable, match=r"config\.pbtxt:9:1: warm-up sample 'wrong': .*expects"):
        engine.warm_up()


def test_a_sample_on_which_the_model_fails_refuses_it(tmp_path: Path) -> None:
    sample = WarmupSample("far", {"x": np.array([99], np.int64)})
    engine = opened(onnx_models.lookup(tmp_path / "lookup.onnx"), declared(4, warmup=(sample,)))
    with pytest.raises(ModelUnusable, match="warm-up sample 'far'"):
        engine.warm_up()


def test_a_model_without_state_refuses_a_sequence(tmp_path: Path) -> None:
    engine = opened(onnx_models.add(tmp_path / "add.onnx"), ADD)
    with pytest.raises(InvalidInput, match="sequence: the model keeps no state between requests"):
        engine.admit("a", TensorRequest(both(), sequence=SequencePlace("1", start=True)))


def test_a_model_may_lie_under_another_name_in_its_folder(tmp_path: Path) -> None:
    onnx_models.add(tmp_path / "1" / "other.onnx")
    settings = EngineSettings(providers=("cpu",))
    engine = TensorEngine.open(tmp_path / "1", settings, lambda _: None, ADD, Path("other.onnx"))
    assert [signature.name for signature in engine.card.inputs] == ["x", "y"]


def test_a_neighbours_failure_leaves_the_rows_of_others_alone(tmp_path: Path) -> None:
    engine = opened(onnx_models.lookup(tmp_path / "lookup.onnx"), declared(64, batching=DynamicBatching()))
    for key, index in (("a", 1), ("bad", 99), ("c", 2)):
        engine.admit(key, TensorRequest({"x": np.array([index, index], np.int64)}))
    updates = finish(engine)
    assert isinstance(updates["bad"], Failed)
    assert all(isinstance(updates[key], Done) for key in "ac")
    assert outputs(updates["c"])["y"].tolist() == [[4, 5]] * 2


def test_state_that_is_not_in_the_model_refuses_the_configuration(tmp_path: Path) -> None:
    states = (StateDefinition("before", "after", "FP32", (2,)),)
    with pytest.raises(ModelUnusable, match="the model has no input 'before' for state"):
        opened(onnx_models.add(tmp_path / "add.onnx"), declared(4, sequences=Sequences(states)))
