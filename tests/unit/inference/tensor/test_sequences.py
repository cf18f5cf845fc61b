from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inference.engine import Array, Done, Failed, SequencePlace, TensorRequest, Update
from inference.repository.definition import (
    ControlInput,
    ControlKind,
    DynamicBatching,
    ModelDefinition,
    Sequences,
    StateDefinition,
    WarmupSample,
)
from inference.tensor.engine import TensorEngine
from scheduler.errors import InvalidInput, ModelUnusable, Overloaded, SequenceUnknown
from tests.unit.inference.tensor import onnx_models
from tests.unit.inference.tensor.definitions import declared, finish, given, opened, outputs, row, seen

CONTROLS = (
    ControlInput("start", ControlKind.START, "FP32", -1, 2),
    ControlInput("end", ControlKind.END, "INT32"),
    ControlInput("ready", ControlKind.READY, "BOOL"),
    ControlInput("id", ControlKind.ID, "INT64"),
)
SUMS = Sequences((StateDefinition("before", "after", "FP32", (2,)),), CONTROLS, longest_idle_s=10, most=3)
DEFINITION = declared(8, sequences=SUMS, batching=DynamicBatching())


class Time:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def engine(tmp_path: Path, time: Time) -> Iterator[TensorEngine]:
    engine = opened(onnx_models.accumulator(tmp_path / "sums.onnx"), DEFINITION, time)
    yield engine
    engine.close()


def call(sequence: str, number: float, mark: str = "", tenant: str = "acme") -> TensorRequest:
    place = SequencePlace(sequence, start="s" in mark, end="e" in mark)
    return TensorRequest({"x": row(number, 0)}, tenant=tenant, sequence=place)


def sums(updates: dict[str, Update]) -> dict[str, float]:
    return {key: float(outputs(update)["sum"][0, 0]) for key, update in updates.items()}


def test_state_goes_from_call_to_call_of_a_sequence(engine: TensorEngine) -> None:
    engine.admit("a", call("1", 1, "s"))
    assert sums(finish(engine)) == {"a": 1}
    engine.admit("b", call("1", 10))
    engine.admit("c", call("1", 100, "e"))
    assert sums(finish(engine)) == {"b": 11, "c": 111}


def test_clients_see_neither_state_nor_controls(engine: TensorEngine) -> None:
    assert engine.card.stateful
    assert [each.name for each in engine.card.inputs] == ["x"]
    assert [each.name for each in engine.card.outputs] == [
        "sum",
        "start_seen",
        "end_seen",
        "ready_seen",
        "id_seen",
    ]
    with pytest.raises(InvalidInput, match="the model has no input 'before'"):
        request = call("1", 1, "s")
        engine.admit("a", replace(request, inputs={**request.inputs, "before": row(1, 1)}))


def test_calls_of_a_sequence_keep_their_order_and_share_runs_with_those_of_others_only(
    engine: TensorEngine,
) -> None:
    for number in range(3):
        for sequence in "123":
            engine.admit(f"{sequence}{number}", call(sequence, number + 1, "s" if number == 0 else ""))
    runs = [[update.key for update in engine.step()] for _ in range(3)]
    assert runs == [[f"{sequence}{number}" for sequence in "123"] for number in range(3)]
    assert engine.active == 0


def test_controls_tell_each_row_where_its_call_stands(engine: TensorEngine) -> None:
    engine.admit("7s", call("7", 1, "s"))
    engine.admit("-8se", call("-8", 1, "se"))
    engine.admit("7", call("7", 1))
    told = {
        key: [outputs(update)[f"{name}_seen"].item() for name in ("start", "end", "ready", "id")]
        for key, update in finish(engine).items()
    }
    assert told == {"7s": [2, 0, True, 7], "-8se": [2, 1, True, -8], "7": [-1, 0, True, 7]}


def test_a_start_begins_anew_even_in_the_middle(engine: TensorEngine) -> None:
    for key, number, mark in (("a", 1, "s"), ("b", 10, ""), ("c", 5, "s"), ("d", 1, "")):
        engine.admit(key, call("1", number, mark))
    assert sums(finish(engine)) == {"a": 1, "b": 11, "c": 5, "d": 6}


def test_tenants_do_not_share_a_sequence_of_one_name(engine: TensorEngine) -> None:
    engine.admit("a", call("1", 1, "s", tenant="acme"))
    finish(engine)
    with pytest.raises(SequenceUnknown):
        engine.admit("b", call("1", 10, tenant="other"))


def test_a_call_of_a_sequence_that_never_began_or_has_ended_is_refused(engine: TensorEngine) -> None:
    with pytest.raises(SequenceUnknown):
        engine.admit("a", call("1", 1))
    engine.admit("b", call("1", 1, "s"))
    engine.admit("c", call("1", 1, "e"))
    with pytest.raises(SequenceUnknown):
        engine.admit("d", call("1", 1))
    assert set(finish(engine)) == {"b", "c"}
    with pytest.raises(SequenceUnknown):
        engine.admit("e", call("1", 1))


def test_an_idle_sequence_is_forgotten(engine: TensorEngine, time: Time) -> None:
    engine.admit("a", call("1", 1, "s"))
    engine.admit("b", call("2", 1, "s"))
    finish(engine)
    time.now_s += 9
    engine.admit("c", call("2", 1))
    finish(engine)
    time.now_s += 2
    with pytest.raises(SequenceUnknown):
        engine.admit("d", call("1", 1))
    engine.admit("e", call("2", 1))
    assert sums(finish(engine)) == {"e": 3}


def test_a_call_that_waits_keeps_its_sequence_from_being_forgotten(engine: TensorEngine, time: Time) -> None:
    engine.admit("a", call("1", 1, "s"))
    finish(engine)
    engine.admit("b", call("1", 1))
    time.now_s += 100
    engine.admit("c", call("1", 1))
    assert sums(finish(engine)) == {"b": 2, "c": 3}


def test_there_are_so_many_sequences_and_no_more(engine: TensorEngine, time: Time) -> None:
    for sequence in "123":
        engine.admit(sequence, call(sequence, 1, "s"))
    with pytest.raises(Overloaded, match="the state of 3 sequences"):
        engine.admit("4", call("4", 1, "s"))
    engine.admit("1 e", call("1", 1, "e"))
    finish(engine)
    engine.admit("4", call("4", 1, "s"))
    time.now_s += 11
    for sequence in "56":
        engine.admit(sequence, call(sequence, 1, "s"))
    assert set(finish(engine)) == set("456")


def test_a_request_without_a_sequence_one_of_several_rows_and_an_id_that_is_no_number_are_refused(
    engine: TensorEngine,
) -> None:
    with pytest.raises(InvalidInput, match="each needs the id of its sequence"):
        engine.admit("a", TensorRequest({"x": row(1, 0)}))
    with pytest.raises(InvalidInput, match="input 'x' expects 1 row, got 2"):
        engine.admit("a", replace(call("1", 1, "s"), inputs={"x": row(1, 0, rows=2)}))
    for sequence in ("one", "²", "9" * 19, "9" * 5000):
        with pytest.raises(InvalidInput, match=r"the model takes (numbers as ids|ids of sequences from)"):
            engine.admit("a", call(sequence, 1, "s"))
    assert engine.active == 0


def test_a_cancelled_call_leaves_the_state_and_those_behind_it_go_on(engine: TensorEngine) -> None:
    engine.admit("a", call("1", 1, "s"))
    finish(engine)
    for key, number in (("b", 10), ("c", 100), ("d", 1000)):
        engine.admit(key, call("1", number))
    engine.cancel("b")
    engine.cancel("c")
    assert sums(finish(engine)) == {"d": 1001}


def test_calls_behind_a_cancelled_start_are_told_that_the_sequence_is_unknown(engine: TensorEngine) -> None:
    for key, mark in (("a", "s"), ("b", ""), ("c", ""), ("d", "s")):
        engine.admit(key, call("1", 1, mark))
    engine.cancel("a")
    assert engine.active == 3
    engine.cancel("c")
    updates = finish(engine)
    assert set(updates) == {"b", "d"}
    lost = updates["b"]
    assert isinstance(lost, Failed)
    assert isinstance(lost.error, SequenceUnknown)
    assert isinstance(updates["d"], Done)


def test_a_start_that_is_cancelled_while_it_waits_ends_the_sequence_there(engine: TensorEngine) -> None:
    for key, mark in (("a", "s"), ("b", ""), ("c", "s"), ("d", "")):
        engine.admit(key, call("1", 1, mark))
    engine.cancel("c")
    updates = finish(engine)
    lost = updates.pop("d")
    assert isinstance(lost, Failed)
    assert isinstance(lost.error, SequenceUnknown)
    assert sums(updates) == {"a": 1, "b": 2}
    engine.admit("e", call("1", 1, "s"))
    engine.admit("f", call("1", 1, "s"))
    engine.cancel("f")
    with pytest.raises(SequenceUnknown):
        engine.admit("g", call("1", 1))
    assert set(finish(engine)) == {"e"}
    assert engine._sequences is not None
    assert len(engine._sequences) == 0


def test_a_call_that_nobody_wants_any_more_leaves_the_state_even_if_its_run_was_over(
    engine: TensorEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for sequence in "12":
        engine.admit(sequence, call(sequence, 1, "s"))
    finish(engine)
    run = engine._parts.model.run

    def interrupted_at_its_end(*given: object) -> object:
        found = run(*given)  # type: ignore[arg-type]
        engine.interrupt("late")
        return found

    monkeypatch.setattr(engine._parts.model, "run", interrupted_at_its_end)
    engine.admit("late", call("1", 10))
    engine.admit("other", call("2", 10))
    assert sums(finish(engine)) == {"other": 11}
    monkeypatch.undo()
    engine.admit("next", call("1", 100))
    assert sums(finish(engine)) == {"next": 101}


def test_a_cancelled_end_leaves_the_sequence(engine: TensorEngine) -> None:
    engine.admit("a", call("1", 1, "s"))
    finish(engine)
    engine.admit("b", call("1", 10, "e"))
    engine.cancel("b")
    engine.admit("c", call("1", 100))
    assert sums(finish(engine)) == {"c": 101}


def test_a_call_that_fails_leaves_the_state_and_its_neighbours_alone(
    engine: TensorEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for sequence in "12":
        engine.admit(sequence, call(sequence, 1, "s"))
    finish(engine)
    run = engine._parts.model.run

    def fails_on_13(names: object, feeds: dict[str, Array], *rest: object) -> object:
        if (feeds["x"] == 13).any():
            raise RuntimeError("thirteen")
        return run(names, feeds, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(engine._parts.model, "run", fails_on_13)
    for key, sequence, number in (("1 bad", "1", 13), ("1 good", "1", 2), ("2 good", "2", 3)):
        engine.admit(key, call(sequence, number))
    updates = finish(engine)
    assert isinstance(updates.pop("1 bad"), Failed)
    assert sums(updates) == {"1 good": 3, "2 good": 4}


def test_a_sequence_begins_with_what_the_configuration_says(tmp_path: Path) -> None:
    states = (StateDefinition("before", "after", "FP32", (2,), np.array([40, 0], np.float32)),)
    definition = declared(8, sequences=Sequences(states, CONTROLS), batching=DynamicBatching())
    engine = opened(onnx_models.accumulator(tmp_path / "sums.onnx"), definition)
    for sequence in "12":
        engine.admit(sequence, call(sequence, int(sequence), "s"))
    assert sums(finish(engine)) == {"1": 41, "2": 42}


def test_sequences_share_a_run_only_where_their_states_have_the_same_shape(tmp_path: Path) -> None:
    states = (StateDefinition("before", "after", "FP32", (-1,)),)
    definition = declared(
        8,
        inputs=(seen("x", 1),),
        outputs=(given("after", -1),),
        sequences=Sequences(states),
        batching=DynamicBatching(),
    )
    engine = opened(onnx_models.growing(tmp_path / "growing.onnx"), definition)

    def admit(key: str, sequence: str, *, start: bool = False) -> None:
        place = SequencePlace(sequence, start=start)
        engine.admit(key, TensorRequest({"x": row(int(key))}, sequence=place))

    admit("1", "a", start=True)
    finish(engine)
    admit("2", "a")
    admit("3", "b", start=True)
    admit("4", "c", start=True)
    runs = [{update.key: outputs(update)["after"].tolist() for update in engine.step()} for _ in range(2)]
    assert runs == [{"2": [[0, 1, 2]]}, {"3": [[0, 3]], "4": [[0, 4]]}]


@pytest.mark.parametrize("build", [lambda path: onnx_models.accumulator(path, batched=False)])
def test_a_model_without_a_batch_dimension_keeps_state_too(
    build: Callable[[Path], Path], tmp_path: Path
) -> None:
    engine = opened(build(tmp_path / "sums.onnx"), declared(0, sequences=SUMS))
    for key, sequence, mark in (("a", "1", "s"), ("b", "2", "s"), ("c", "1", "")):
        place = SequencePlace(sequence, start="s" in mark)
        engine.admit(key, TensorRequest({"x": np.array([1, 0], np.float32)}, sequence=place))
    runs = [{update.key: outputs(update)["sum"].tolist() for update in engine.step()} for _ in range(3)]
    assert runs == [{"a": [1, 0]}, {"b": [1, 0]}, {"c": [2, 0]}]


def test_warming_up_begins_no_sequence(tmp_path: Path) -> None:
    definition: ModelDefinition = replace(DEFINITION, warmup=(WarmupSample("one", {"x": row(1, 2)}),))
    engine = opened(onnx_models.accumulator(tmp_path / "sums.onnx"), definition)
    engine.warm_up()
    assert engine._sequences is not None
    assert len(engine._sequences) == 0
    with pytest.raises(SequenceUnknown):
        engine.admit("a", call("0", 1))


def test_a_control_of_another_type_than_the_model_refuses_the_configuration(tmp_path: Path) -> None:
    controls = (ControlInput("start", ControlKind.START, "INT32"), *CONTROLS[1:])
    with pytest.raises(ModelUnusable, match="control 'start' is not INT32 in the model"):
        opened(
            onnx_models.accumulator(tmp_path / "sums.onnx"),
            declared(8, sequences=replace(SUMS, controls=controls)),
        )
