from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from forebay.compat.kserve import model_config_pb2 as pb
from inference.engine import (
    Array,
    CountsRuns,
    Delays,
    Done,
    Engine,
    Failed,
    Follows,
    Interruptible,
    SequencePlace,
    SharesRuns,
    TellsRuns,
    TensorOutput,
    TensorRequest,
    Update,
    WantedOutput,
)
from inference.ensemble.engine import EnsembleEngine
from inference.loading import load_engine
from inference.settings import EngineSettings
from inference.tensor.engine import TensorEngine
from scheduler.errors import InvalidInput, ModelFailed, ModelUnusable, SequenceUnknown
from scheduler.policies.policy import Policy
from scheduler.states import Level
from tests.unit.inference.repository.folders import configured, versioned
from tests.unit.inference.repository.test_steps import step
from tests.unit.inference.tensor import onnx_models

CPU = EngineSettings(providers=("cpu",), threads=1)


def tensor(name: str, dims: str = "4", datatype: str = "FP32", more: str = "") -> str:
    return f'{{ name: "{name}" data_type: TYPE_{datatype} dims: [ {dims} ] {more} }}'


ADD = f"""max_batch_size: 8
input [ {tensor("x")}, {tensor("y")} ]
output [ {tensor("z")} ]
dynamic_batching {{ }}
"""


def write_ensemble(
    folder: Path,
    steps: str,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    rows: int = 8,
    more: str = "",
) -> Path:
    inputs, outputs = inputs or [tensor("in")], outputs or [tensor("out")]
    text = (
        f'platform: "ensemble" max_batch_size: {rows}\n'
        f"input [ {', '.join(inputs)} ]\noutput [ {', '.join(outputs)} ]\n"
        f"ensemble_scheduling {{\n{steps}}}\n{more}"
    )
    configured(folder, text)
    (folder / "1").mkdir(exist_ok=True)
    return folder


ZEROS = 'key: "in" value { data_type: TYPE_FP32 dims: 4 zero_data: true }'


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """add: z = x + y; chain: out = (in + in) + in, whose tensors between are twice and out."""
    versioned(tmp_path / "add", (1,), ADD)
    write_ensemble(
        tmp_path / "chain",
        step("add", "x=in y=in", "z=twice") + step("add", "x=twice y=in", "z=out"),
        more=f"model_warmup {{ batch_size: 2 inputs {{ {ZEROS} }} }}",
    )
    return tmp_path


def opened(path: Path, said: list[str] | None = None) -> EnsembleEngine:
    engine = load_engine(path, CPU, (said if said is not None else []).append)
    assert isinstance(engine, EnsembleEngine)
    return engine


def finish(engine: Engine, most_steps: int = 100) -> list[Update]:
    updates: list[Update] = []
    for _ in range(most_steps):
        if not engine.active:
            return updates
        updates += engine.step()
    raise AssertionError(f"still {engine.active} active after {most_steps} steps")


def outputs_of(updates: Sequence[Update]) -> dict[str, Mapping[str, Array]]:
    found = {}
    for update in updates:
        assert isinstance(update, Done), update
        assert isinstance(update.output, TensorOutput)
        found[update.key] = update.output.outputs
    return found


def rows(*values: float) -> Array:
    return np.array([[value] * 4 for value in values], np.float32)


def test_a_request_goes_through_every_step(repository: Path) -> None:
    engine = opened(repository / "chain")
    engine.warm_up()
    engine.admit("a", TensorRequest({"in": rows(1, 2)}))
    assert engine.active == 1
    assert outputs_of(finish(engine))["a"]["out"].tolist() == rows(3, 6).tolist()
    assert engine.active == 0
    engine.close()
    engine.close()


def test_its_card_shows_what_clients_see(repository: Path) -> None:
    card = opened(repository / "chain").card
    assert [(each.name, each.datatype, each.shape) for each in card.inputs] == [("in", "FP32", (4,))]
    assert [(each.name, each.datatype, each.shape) for each in card.outputs] == [("out", "FP32", (4,))]
    assert (card.max_batch_size, card.provider, card.stateful) == (8, "CPUExecutionProvider", False)
    config = pb.ModelConfig.FromString(card.config)
    assert (config.name, config.platform, len(config.ensemble_scheduling.step)) == ("chain", "ensemble", 2)


def test_its_digest_changes_with_that_of_a_model(repository: Path) -> None:
    before = opened(repository / "chain").card.digest
    assert opened(repository / "chain").card.digest == before
    onnx_models.save(
        repository / "add" / "1" / "model.onnx",
        [helper.make_node("Sub", ["x", "y"], ["z"])],
        [onnx_models.value("x", ["batch", 4]), onnx_models.value("y", ["batch", 4])],
        [onnx_models.value("z", ["batch", 4])],
    )
    assert opened(repository / "chain").card.digest != before


def test_requests_share_the_runs_of_each_model(repository: Path) -> None:
    engine = opened(repository / "chain")
    told: list[list[str]] = []
    engine.tell_runs(lambda keys: told.append(sorted(keys)))
    for key in "abcd":
        engine.admit(key, TensorRequest({"in": rows(ord(key))}))
    found = outputs_of(finish(engine))
    assert {key: float(found[key]["out"][0, 0]) for key in "abcd"} == {key: 3.0 * ord(key) for key in "abcd"}
    assert told == [["a", "b", "c", "d"], ["a", "b", "c", "d"]]


def test_requests_at_different_steps_share_a_run_of_the_same_model(repository: Path) -> None:
    engine = opened(repository / "chain")
    told: list[list[str]] = []
    engine.tell_runs(lambda keys: told.append(sorted(keys)))
    engine.admit("a", TensorRequest({"in": rows(1)}))
    assert engine.step() == []
    engine.admit("b", TensorRequest({"in": rows(2)}))
    finish(engine)
    assert told == [["a"], ["a", "b"], ["b"]]


def test_ways_that_part_and_meet_again(repository: Path) -> None:
    steps = (
        step("add", "x=in y=in", "z=left")
        + step("add", "x=in y=other", "z=right")
        + step("add", "x=left y=right", "z=out")
    )
    path = write_ensemble(
        repository / "diamond", steps, [tensor("in"), tensor("other")], [tensor("out"), tensor("right")]
    )
    engine = opened(path)
    engine.admit("a", TensorRequest({"in": rows(1), "other": rows(10)}))
    found = outputs_of(finish(engine))["a"]
    assert list(found) == ["out", "right"]
    assert found["out"].tolist() == rows(13).tolist()
    assert found["right"].tolist() == rows(11).tolist()


def test_only_what_leads_to_wanted_outputs_is_run(repository: Path) -> None:
    steps = step("add", "x=in y=in", "z=twice") + step("add", "x=twice y=in", "z=out")
    path = write_ensemble(repository / "two", steps, outputs=[tensor("twice"), tensor("out")])
    engine = opened(path)
    engine.admit("a", TensorRequest({"in": rows(1)}, outputs=(WantedOutput("twice"),)))
    updates = list(engine.step())
    assert list(outputs_of(updates)["a"]) == ["twice"]


def test_the_highest_values_of_an_output_are_named_with_the_labels_of_the_model_that_makes_it(
    repository: Path,
) -> None:
    (repository / "add" / "labels.txt").write_text("a\nb\nc\nd\n")
    output = tensor("z", more='label_filename: "labels.txt"')
    labelled = ADD.replace(tensor("z"), output)
    configured(repository / "add", labelled)
    engine = opened(repository / "chain")
    values = np.array([[1, 4, 2, 3]], np.float32)
    engine.admit("a", TensorRequest({"in": values}, outputs=(WantedOutput("out", classes=2),)))
    assert outputs_of(finish(engine))["a"]["out"].tolist() == [[b"12.000000:1:b", b"9.000000:3:d"]]


def test_a_tensor_is_let_go_of_once_nobody_needs_it(repository: Path) -> None:
    import gc
    import weakref

    steps = (
        step("add", "x=in y=in", "z=twice")
        + step("add", "x=twice y=twice", "z=four")
        + step("add", "x=four y=four", "z=out")
    )
    engine = opened(write_ensemble(repository / "long", steps))
    array = rows(1)
    gone = weakref.ref(array)
    engine.admit("a", TensorRequest({"in": array}))
    del array
    engine.step()
    gc.collect()
    assert gone() is None
    assert outputs_of(finish(engine))["a"]["out"].tolist() == rows(8).tolist()


def failing(repository: Path) -> Path:
    """lookup fails for a place that is not there: out = table[in + in]."""
    onnx_models.save(
        repository / "sum" / "1" / "model.onnx",
        [helper.make_node("Add", ["x", "y"], ["z"])],
        [
            onnx_models.value("x", ["batch"], TensorProto.INT64),
            onnx_models.value("y", ["batch"], TensorProto.INT64),
        ],
        [onnx_models.value("z", ["batch"], TensorProto.INT64)],
    )
    onnx_models.lookup(repository / "lookup" / "1" / "model.onnx")
    return write_ensemble(
        repository / "find",
        step("sum", "x=in y=in", "z=place") + step("lookup", "x=place", "y=out"),
        [tensor("in", "-1", "INT64")],
        [tensor("out", "-1, 2")],
        rows=0,
    )


def test_the_failure_of_a_model_fails_its_request_alone_and_names_the_model(repository: Path) -> None:
    engine = opened(failing(repository))
    for key, place in (("bad", 40), ("good", 2)):
        engine.admit(key, TensorRequest({"in": np.array([place])}))
    updates = {update.key: update for update in finish(engine)}
    assert isinstance(updates["good"], Done)
    bad = updates["bad"]
    assert isinstance(bad, Failed)
    assert isinstance(bad.error, ModelFailed)
    assert str(bad.error).startswith("lookup: ")


def test_what_one_model_brought_is_not_lost_when_another_raises(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = opened(failing(repository))
    engine.admit("ahead", TensorRequest({"in": np.array([2])}))
    engine.step()
    engine.admit("behind", TensorRequest({"in": np.array([2])}))
    step_of_any = TensorEngine.step

    def raises(member: TensorEngine) -> Sequence[Update]:
        if member.card.inputs[0].name == "x" and len(member.card.inputs) == 2:
            raise MemoryError
        return step_of_any(member)

    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(TensorEngine, "step", raises)
        engine.step()
    engine.cancel("behind")
    assert engine.active == 1
    assert [update.key for update in engine.step()] == ["ahead"]


def test_it_tells_and_does_what_runners_ask_of_engines(repository: Path) -> None:
    engine = opened(repository / "chain")
    assert isinstance(engine, Interruptible)
    assert isinstance(engine, TellsRuns)
    assert isinstance(engine, SharesRuns)
    assert isinstance(engine, Delays)
    assert isinstance(engine, Follows)
    assert isinstance(engine, CountsRuns)
    engine.follow(Policy())
    assert engine.together == 8
    # Each request can be twice in the one model that both steps share.
    assert engine.capacity == opened_add(repository).capacity // 2
    assert engine.due_s == 0
    engine.admit("a", TensorRequest({"in": rows(1)}))
    assert engine.due_s == 0


def opened_add(repository: Path) -> Engine:
    return load_engine(repository / "add", CPU, lambda _: None)


def test_input_that_does_not_fit_is_refused_at_once(repository: Path) -> None:
    engine = opened(repository / "chain")
    with pytest.raises(InvalidInput, match=r"'in' expects 1 to 8 rows, got 9"):
        engine.admit("a", TensorRequest({"in": rows(*range(9))}))
    with pytest.raises(InvalidInput, match="the model has no output 'twice'"):
        engine.admit("a", TensorRequest({"in": rows(1)}, outputs=(WantedOutput("twice"),)))
    with pytest.raises(InvalidInput, match="input 'in' is missing"):
        engine.admit("a", TensorRequest({}))
    with pytest.raises(InvalidInput, match="keeps no state"):
        engine.admit("a", TensorRequest({"in": rows(1)}, sequence=SequencePlace("s")))
    assert engine.active == 0


def test_what_a_model_does_not_take_is_the_clients_fault_only_when_the_client_sent_it(
    repository: Path,
) -> None:
    steps = step("add", "x=in y=in", "z=twice") + step("add", "x=twice y=other", "z=out")
    path = write_ensemble(
        repository / "free",
        steps,
        [tensor("in", "-1, -1"), tensor("other", "-1, -1")],
        [tensor("out", "-1, -1")],
        0,
    )
    engine = opened(path)
    engine.admit("first", TensorRequest({"in": np.zeros((1, 3), np.float32), "other": rows(1)}))
    engine.admit("second", TensorRequest({"in": rows(1), "other": np.zeros((1, 3), np.float32)}))
    errors = {update.key: update.error for update in finish(engine) if isinstance(update, Failed)}
    assert isinstance(errors["first"], InvalidInput)
    assert "add: input 'x' expects shape" in str(errors["first"])
    assert isinstance(errors["second"], ModelFailed)
    assert str(errors["second"]).startswith("add: ")


def test_a_request_can_be_cancelled_wherever_it_is(repository: Path) -> None:
    engine = opened(repository / "chain")
    for steps_before in range(3):
        engine.admit("gone", TensorRequest({"in": rows(1)}))
        engine.admit("stays", TensorRequest({"in": rows(2)}))
        updates: list[Update] = []
        for _ in range(steps_before):
            updates += engine.step()
        engine.cancel("gone")
        engine.cancel("unknown")
        updates += finish(engine)
        left = [update.key for update in updates]
        assert left == (["stays"] if steps_before < 2 else ["gone", "stays"])
        assert engine.active == 0


def test_the_more_urgent_request_enters_a_full_model_first(repository: Path) -> None:
    configured(
        repository / "add",
        ADD.replace("dynamic_batching { }", "").replace("max_batch_size: 8", "max_batch_size: 1"),
    )
    path = write_ensemble(repository / "single", step("add", "x=in y=in", "z=out"), rows=1)
    engine = opened(path)
    engine.admit("low", TensorRequest({"in": rows(1)}, Level.LOW))
    engine.admit("critical", TensorRequest({"in": rows(1)}, Level.CRITICAL))
    assert [update.key for update in finish(engine)] == ["critical", "low"]


def test_runs_are_counted_without_the_warming_up(repository: Path) -> None:
    engine = opened(repository / "chain")
    engine.warm_up()
    assert engine.counts().by_rows == {}
    engine.admit("a", TensorRequest({"in": rows(1, 2)}))
    engine.admit("b", TensorRequest({"in": rows(1)}))
    finish(engine)
    counts = engine.counts()
    assert counts.rows == 3
    assert {size: one.runs for size, one in counts.by_rows.items()} == {1: 1, 2: 1}
    assert counts.request_infer_s > 0


def test_the_calls_of_a_sequence_go_through_one_after_the_other(repository: Path) -> None:
    rows_of_four: Sequence[int | str | None] = ["batch", 4]
    onnx_models.save(
        repository / "sum" / "1" / "model.onnx",
        [helper.make_node("Add", ["x", "before"], ["y"]), helper.make_node("Identity", ["y"], ["after"])],
        [onnx_models.value("x", rows_of_four), onnx_models.value("before", rows_of_four)],
        [onnx_models.value("y", rows_of_four), onnx_models.value("after", rows_of_four)],
    )
    states = 'state { input_name: "before" output_name: "after" data_type: TYPE_FP32 dims: 4 }'
    configured(repository / "sum", f"max_batch_size: 8 sequence_batching {{ {states} }}")
    path = write_ensemble(
        repository / "steps", step("add", "x=in y=in", "z=twice") + step("sum", "x=twice", "y=out")
    )
    engine = opened(path)
    assert engine.card.stateful
    with pytest.raises(InvalidInput, match="needs the id of its sequence"):
        engine.admit("none", TensorRequest({"in": rows(1)}))
    for index in range(3):
        place = SequencePlace("s", start=index == 0, end=index == 2)
        engine.admit(f"a{index}", TensorRequest({"in": rows(index + 1)}, Level(3 - index), sequence=place))
    engine.admit(
        "b0", TensorRequest({"in": rows(100)}, tenant="other", sequence=SequencePlace("s", start=True))
    )
    engine.admit("c1", TensorRequest({"in": rows(100)}, sequence=SequencePlace("unknown")))
    updates = finish(engine)
    [lost] = [update for update in updates if isinstance(update, Failed)]
    assert lost.key == "c1"
    assert isinstance(lost.error, SequenceUnknown)
    found = outputs_of([update for update in updates if update is not lost])
    assert {key: float(each["out"][0, 0]) for key, each in found.items()} == {
        "a0": 2,
        "a1": 6,
        "a2": 12,
        "b0": 200,
    }


def test_an_ensemble_can_be_a_step_of_another(repository: Path) -> None:
    steps = step("chain", "in=in", "out=three") + step("add", "x=three y=in", "z=out")
    engine = opened(write_ensemble(repository / "outer", steps))
    engine.warm_up()
    told: list[list[str]] = []
    engine.tell_runs(lambda keys: told.append(list(keys)))
    engine.admit("a/b", TensorRequest({"in": rows(1)}))
    assert outputs_of(finish(engine))["a/b"]["out"].tolist() == rows(4).tolist()
    assert set(map(tuple, told)) == {("a/b",)}


def test_ensembles_that_are_made_of_each_other_are_refused(repository: Path) -> None:
    path = write_ensemble(repository / "one", step("two", "in=in", "out=out"))
    write_ensemble(repository / "two", step("one", "in=in", "out=out"))
    with pytest.raises(
        ModelUnusable, match=r"one/config.pbtxt:5:6: two: .*two/config.pbtxt:5:6: .*one -> two -> one"
    ):
        opened(path)


@pytest.mark.parametrize(
    ("steps", "inputs", "outputs", "n_rows", "fault"),
    [
        (
            step("nobody", "x=in", "z=out"),
            "",
            "",
            8,
            "config.pbtxt:5:6: there is no model 'nobody' beside the ensemble",
        ),
        (step("add", "x=in y=in", "z=out", "7"), "", "", 8, "config.pbtxt:5:6: add: .*has no version 7"),
        (step("add", "x=in q=in", "z=out"), "", "", 8, "config.pbtxt:5:6: add has no input 'q'; it has x, y"),
        (step("add", "x=in y=in", "q=out"), "", "", 8, "config.pbtxt:5:6: add has no output 'q'; it has z"),
        (step("add", "x=in", "z=out"), "", "", 8, "config.pbtxt:5:6: input 'y' of add is missing"),
        (
            step("add", "x=in y=in", "z=out"),
            tensor("in", "5"),
            "",
            8,
            r"config.pbtxt:5:6: input 'x' of add is FP32\[-1,4\], but tensor 'in' is FP32\[-1,5\]",
        ),
        (
            step("add", "x=in y=in", "z=out"),
            tensor("in", datatype="INT64"),
            "",
            8,
            r"but tensor 'in' is INT64\[-1,4\]",
        ),
        (
            step("add", "x=in y=in", "z=out"),
            "",
            tensor("out", "4, 1"),
            8,
            r"config.pbtxt:3:10: output 'out' is said to be FP32\[-1,4,1\], but it is made as FP32\[-1,4\]",
        ),
        (
            step("add", "x=in y=in", "z=out"),
            "",
            "",
            9,
            "add takes 8 rows at most, but the ensemble's max_batch_size is 9",
        ),
        (
            step("add", "x=in y=in", "z=out"),
            tensor("in", more="optional: true"),
            "",
            8,
            "input 'x' of add is needed, but 'in' may be left out",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused_with_its_place(
    repository: Path, steps: str, inputs: str, outputs: str, n_rows: int, fault: str
) -> None:
    path = write_ensemble(
        repository / "bad", steps, [inputs] if inputs else [], [outputs] if outputs else [], n_rows
    )
    with pytest.raises(ModelUnusable, match=fault):
        opened(path)


def test_a_sample_that_does_not_run_refuses_the_model(repository: Path) -> None:
    path = failing(repository)
    with (path / "config.pbtxt").open("a") as file:
        file.write(
            'model_warmup { name: "w" inputs { key: "in" value { data_type: TYPE_INT64 dims: 1 random_data: true } } }'
        )
    engine = opened(path)
    with pytest.raises(ModelUnusable, match=r"config.pbtxt:8:14: warm-up sample 'w': lookup: "):
        engine.warm_up()


def test_a_run_of_any_of_its_models_can_be_interrupted(repository: Path) -> None:
    from threading import Thread

    onnx_models.loop(repository / "loop" / "1" / "model.onnx")
    path = write_ensemble(
        repository / "endless",
        step("loop", "turns=in", "done=half") + step("loop", "turns=half", "done=out"),
        [tensor("in", "1", "INT64")],
        [tensor("out", "1", "INT64")],
        rows=0,
    )
    engine = opened(path)
    engine.admit("a", TensorRequest({"in": np.array([2**60])}))
    stepping = Thread(target=lambda: finish(engine))
    stepping.start()
    while not engine.runs("a"):
        assert stepping.is_alive()
    engine.interrupt("a")
    stepping.join(10)
    assert not stepping.is_alive()
    assert engine.active == 0
    assert not engine.runs("a")


def test_what_an_ensemble_announces_of_its_answers_covers_the_models_that_it_is_made_of(
    repository: Path,
) -> None:
    before = opened(repository / "chain").card.answers_digest
    assert opened(repository / "chain").card.answers_digest == before
    versioned(repository / "add", (1,), ADD.replace("max_batch_size: 8", "max_batch_size: 16"))
    assert opened(repository / "chain").card.answers_digest != before


def test_it_draws_when_any_of_its_models_does(repository: Path) -> None:
    assert not opened(repository / "chain").card.draws
    onnx_models.dropout(repository / "noisy" / "1" / "model.onnx")
    steps = step("noisy", "x=in", "y=drawn") + step("noisy", "x=drawn", "y=out")
    write_ensemble(repository / "noise", steps, [tensor("in", "8")], [tensor("out", "8")])
    assert opened(repository / "noise").card.draws
