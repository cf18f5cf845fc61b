import importlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from inference.engine import (
    Array,
    Done,
    EngineKind,
    Failed,
    GenerateRequest,
    Interruptible,
    RunCounts,
    TellsRuns,
    TensorOutput,
    TensorRequest,
    Update,
)
from inference.settings import EngineSettings
from inference.tensor.batching import Item, Names
from inference.tensor.datatypes import BFLOAT16, name_of, to_bfloat16
from inference.tensor.engine import TensorEngine
from scheduler.errors import InvalidInput, ModelFailed, ModelOutOfMemory, ModelUnusable
from scheduler.states import Level
from tests.unit.inference.tensor import onnx_models

Opener = Callable[..., TensorEngine]


@pytest.fixture
def opened() -> Opener:
    def open_it(path: Path, **settings: object) -> TensorEngine:
        # Without a target for the length of runs, so that batches do not depend on the speed of the machine.
        chosen = EngineSettings(providers=("cpu",), threads=1, **({"batch_time_s": 0.0} | settings))  # type: ignore[arg-type]
        return TensorEngine.open(path, chosen, lambda _: None)

    return open_it


def finish(engine: TensorEngine) -> dict[str, Update]:
    updates: dict[str, Update] = {}
    while engine.active:
        updates |= {update.key: update for update in engine.step()}
    return updates


def outputs(update: Update) -> dict[str, Array]:
    assert isinstance(update, Done), update
    assert isinstance(update.output, TensorOutput)
    return dict(update.output.outputs)


def row(*values: float, rows: int = 1) -> Array:
    return np.array([values] * rows, dtype=np.float32)


def test_the_card_tells_inputs_outputs_provider_and_digest(tmp_path: Path, opened: Opener) -> None:
    card = opened(onnx_models.add(tmp_path / "add.onnx")).card
    assert card.kind is EngineKind.TENSOR
    assert [(s.name, s.datatype, s.shape) for s in card.inputs] == [
        ("x", "FP32", (-1, 4)),
        ("y", "FP32", (-1, 4)),
    ]
    assert [(s.name, s.datatype, s.shape) for s in card.outputs] == [("z", "FP32", (-1, 4))]
    assert card.provider == "CPUExecutionProvider"
    assert len(card.digest) == 64


def test_requests_of_equal_shape_share_one_run_and_each_gets_its_own_rows(
    tmp_path: Path, opened: Opener
) -> None:
    engine = opened(onnx_models.add(tmp_path / "add.onnx"))
    for number in range(100):
        x = row(number, 0, 0, 0, rows=1 + number % 3)
        engine.admit(str(number), TensorRequest({"y": x, "x": x}))
    updates = engine.step()
    assert len(updates) == 100
    assert engine.active == 0
    for update in updates:
        z = outputs(update)["z"]
        number = int(update.key)
        assert z.shape == (1 + number % 3, 4)
        assert (z[:, 0] == 2 * number).all()


def test_a_run_has_at_most_max_batch_rows(tmp_path: Path, opened: Opener) -> None:
    engine = opened(onnx_models.add(tmp_path / "add.onnx"), max_batch=8)
    for number in range(20):
        engine.admit(str(number), TensorRequest({"x": row(1, 2, 3, 4), "y": row(1, 2, 3, 4)}))
    assert [len(engine.step()) for _ in range(3)] == [8, 8, 4]


def test_one_request_may_have_more_rows_than_max_batch(tmp_path: Path, opened: Opener) -> None:
    engine = opened(onnx_models.add(tmp_path / "add.onnx"), max_batch=8)
    engine.admit("big", TensorRequest({"x": row(1, 2, 3, 4, rows=20), "y": row(0, 0, 0, 0, rows=20)}))
    engine.admit("small", TensorRequest({"x": row(1, 2, 3, 4), "y": row(1, 2, 3, 4)}))
    assert [[update.key for update in engine.step()] for _ in range(2)] == [["big"], ["small"]]


def test_a_request_whose_inputs_differ_in_rows_runs_alone(tmp_path: Path, opened: Opener) -> None:
    engine = opened(onnx_models.add(tmp_path / "add.onnx"))
    engine.admit("broadcast", TensorRequest({"x": row(1, 1, 1, 1, rows=3), "y": row(1, 1, 1, 1)}))
    engine.admit("plain", TensorRequest({"x": row(1, 1, 1, 1), "y": row(1, 1, 1, 1)}))
    updates = finish(engine)
    assert outputs(updates["broadcast"])["z"].shape == (3, 4)
    assert outputs(updates["plain"])["z"].shape == (1, 4)


def test_a_request_of_no_rows_gets_no_rows(tmp_path: Path, opened: Opener) -> None:
    engine = opened(onnx_models.add(tmp_path / "add.onnx"))
    for key, rows in (("one", 1), ("none", 0), ("two", 2)):
        engine.admit(key, TensorRequest({name: np.ones((rows, 4), np.float32) for name in "xy"}))
    assert {key: len(outputs(update)["z"]) for key, update in finish(engine).items()} == {
        "one": 1,
        "none": 0,
        "two": 2,
    }


@pytest.mark.parametrize("build", [onnx_models.centred, onnx_models.positive, onnx_models.fixed])
def test_a_model_whose_rows_are_not_requests_runs_them_one_by_one(
    build: Callable[[Path], Path], tmp_path: Path, opened: Opener
) -> None:
    engine = opened(build(tmp_path / "model.onnx"))
    assert engine.together == 1
    shape = (2, 3) if build is onnx_models.fixed else (1, 4)
    for key in "ab":
        engine.admit(key, TensorRequest({"x": np.ones(shape, np.float32)}))
    assert [len(engine.step()) for _ in range(2)] == [1, 1]


def test_batching_by_order_ends_when_the_output_has_not_one_row_for_each_of_the_input(
    tmp_path: Path, opened: Opener
) -> None:
    engine = opened(onnx_models.positive(tmp_path / "model.onnx"), batching="always")
    shared = [engine.together > 1]
    for key in "abc":
        engine.admit(key, TensorRequest({"x": row(1, 0, 0, 1)}))
    updates = finish(engine)
    shared.append(engine.together > 1)
    assert shared == [True, False]
    assert [outputs(updates[key])["y"].tolist() for key in "abc"] == [[[0, 0], [0, 3]]] * 3


def test_batching_can_be_switched_off(tmp_path: Path, opened: Opener) -> None:
    assert opened(onnx_models.add(tmp_path / "add.onnx"), batching="never").together == 1


def test_an_unknown_kind_of_batching_is_refused(tmp_path: Path, opened: Opener) -> None:
    with pytest.raises(ModelUnusable, match="expected auto, always or never"):
        opened(onnx_models.add(tmp_path / "add.onnx"), batching="sometimes")


def test_a_request_that_makes_the_run_fail_does_not_harm_its_neighbours(
    tmp_path: Path, opened: Opener
) -> None:
    engine = opened(onnx_models.lookup(tmp_path / "lookup.onnx"))
    for number in range(50):
        index = 99 if number == 33 else number % 10
        engine.admit(str(number), TensorRequest({"x": np.array([index], np.int64)}))
    updates = finish(engine)
    assert len(updates) == 50
    failed = updates.pop("33")
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, ModelFailed)
    for key, update in updates.items():
        assert outputs(update)["y"][0, 0] == int(key) % 10 * 2


def test_a_request_that_wants_more_memory_than_there_is_is_told_apart(tmp_path: Path, opened: Opener) -> None:
    engine = opened(onnx_models.greedy(tmp_path / "greedy.onnx"))
    for key, length in (("small", 3), ("huge", 2**44), ("other", 4)):
        engine.admit(key, TensorRequest({"x": np.array([length], np.int64)}))
    updates = finish(engine)
    failed = updates["huge"]
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, ModelOutOfMemory)
    assert outputs(updates["small"])["y"].shape == (3,)
    assert outputs(updates["other"])["y"].shape == (4,)


def test_a_batch_for_which_there_is_no_memory_runs_in_smaller_ones(
    tmp_path: Path, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = opened(onnx_models.add(tmp_path / "add.onnx"))
    run, sizes = engine._runs._run.run, list[int]()

    def small_only(names: Names, feeds: dict[str, Array], batch: Sequence[Item]) -> list[Array]:
        sizes.append(len(batch))
        if len(batch) > 2:
            raise MemoryError
        return run(names, feeds, batch)

    monkeypatch.setattr(engine._runs._run, "run", small_only)
    for number in range(8):
        engine.admit(str(number), TensorRequest({"x": row(number, 0, 0, 0), "y": row(0, 0, 0, 0)}))
    updates = finish(engine)
    assert {key: outputs(update)["z"][0, 0] for key, update in updates.items()} == {
        str(number): number for number in range(8)
    }
    assert sizes == [8, 4, 2, 2, 4, 2, 2]


def test_it_tells_what_each_run_consists_of(tmp_path: Path, opened: Opener) -> None:
    engine = opened(onnx_models.lookup(tmp_path / "lookup.onnx"))
    told: list[list[str]] = []
    engine.tell_runs(lambda keys: told.append(list(keys)))
    assert isinstance(engine, TellsRuns)
    assert isinstance(engine, Interruptible)
    for key, index in (("a", 1), ("bad", 99), ("c", 2)):
        engine.admit(key, TensorRequest({"x": np.array([index], np.int64)}))
    assert not engine.runs("a")
    finish(engine)
    assert told == [["a", "bad", "c"], ["a"], ["bad", "c"], ["bad"], ["c"]]


def test_a_cancelled_request_gets_no_update(tmp_path: Path, opened: Opener) -> None:
    engine = opened(onnx_models.lookup(tmp_path / "lookup.onnx"))
    for key, index in (("a", 1), ("bad", 99), ("c", 2), ("d", 3)):
        engine.admit(key, TensorRequest({"x": np.array([index], np.int64)}))
    engine.cancel("a")
    engine.cancel("unknown")
    assert engine.step() == []  # fails; its halves wait for the next steps
    engine.cancel("c")
    engine.cancel("bad")
    assert set(finish(engine)) == {"d"}


def test_a_running_request_can_be_interrupted_from_another_thread(tmp_path: Path, opened: Opener) -> None:
    engine = opened(onnx_models.loop(tmp_path / "loop.onnx"))
    engine.admit("endless", TensorRequest({"turns": np.array([2**62], np.int64)}))
    engine.interrupt("endless")  # does not run yet: nothing happens
    updates: list[Sequence[Update]] = []
    thread = threading.Thread(target=lambda: updates.append(engine.step()))
    thread.start()
    while thread.is_alive():
        engine.interrupt("endless")
        thread.join(0.01)
    assert updates == [[]]
    engine.admit("short", TensorRequest({"turns": np.array([3], np.int64)}))
    assert outputs(finish(engine)["short"])["done"].tolist() == [3]


def test_every_fault_of_a_request_is_told_at_once(tmp_path: Path, opened: Opener) -> None:
    engine = opened(onnx_models.add(tmp_path / "add.onnx"))
    with pytest.raises(InvalidInput) as caught:
        engine.admit("a", TensorRequest({"w": row(1), "x": np.zeros((1, 4), np.int64)}))
    assert [(fault.field, fault.fault) for fault in caught.value.faults] == [
        ("tensors.tensors[0].name", "the model has no input 'w'; expected x, y"),
        ("tensors.tensors[1].datatype", "input 'x' expects FP32, got INT64"),
        ("tensors.tensors", "input 'y' is missing; expected FP32[-1,4]"),
    ]
    assert engine.active == 0


def test_a_prompt_is_refused(tmp_path: Path, opened: Opener) -> None:
    engine = opened(onnx_models.add(tmp_path / "add.onnx"))
    with pytest.raises(InvalidInput, match="takes tensors"):
        engine.admit("a", GenerateRequest(prompt="hello"))


def test_text_goes_in_and_comes_out_as_bytes(tmp_path: Path, opened: Opener) -> None:
    engine = opened(onnx_models.echo(tmp_path / "echo.onnx", TensorProto.STRING))
    texts = [b"ab\0c\0", "é漢🦊".encode(), b""]
    for number, text in enumerate(texts):
        array = np.empty(1, object)
        array[0] = text
        engine.admit(str(number), TensorRequest({"x": array}))
    updates = engine.step()
    assert [outputs(update)["y"].tolist() for update in updates] == [[text] for text in texts]


def test_text_that_is_not_utf8_is_refused_every_time(tmp_path: Path, opened: Opener) -> None:
    engine = opened(onnx_models.echo(tmp_path / "echo.onnx", TensorProto.STRING))
    good, bad = np.array([b"ok"], object), np.array([b"\xff"], object)
    engine.admit("good", TensorRequest({"x": good}))
    with pytest.raises(InvalidInput, match="input 'x' expects UTF-8, and element 0 is not"):
        engine.admit("bad", TensorRequest({"x": bad}))
    assert set(finish(engine)) == {"good"}


@pytest.mark.parametrize(
    ("element", "datatype", "dtype"),
    [
        (TensorProto.BOOL, "BOOL", "?"),
        (TensorProto.UINT8, "UINT8", "u1"),
        (TensorProto.UINT16, "UINT16", "u2"),
        (TensorProto.UINT32, "UINT32", "u4"),
        (TensorProto.UINT64, "UINT64", "u8"),
        (TensorProto.INT8, "INT8", "i1"),
        (TensorProto.INT16, "INT16", "i2"),
        (TensorProto.INT32, "INT32", "i4"),
        (TensorProto.INT64, "INT64", "i8"),
        (TensorProto.FLOAT16, "FP16", "f2"),
        (TensorProto.FLOAT, "FP32", "f4"),
        (TensorProto.DOUBLE, "FP64", "f8"),
    ],
)
def test_every_element_type_survives_a_batch(
    element: int, datatype: str, dtype: str, tmp_path: Path, opened: Opener
) -> None:
    engine = opened(onnx_models.echo(tmp_path / "echo.onnx", element, ("batch", 2)))
    assert engine.card.inputs[0].datatype == datatype
    for number in (0, 1):
        engine.admit(str(number), TensorRequest({"x": np.array([[number, 1]], dtype)}))
    for update in engine.step():
        y = outputs(update)["y"]
        assert y.dtype == np.dtype(dtype)
        assert y.tolist() == [[int(update.key), 1]]


def test_a_model_of_bfloat16_and_text_is_refused_when_it_is_loaded(tmp_path: Path, opened: Opener) -> None:
    with pytest.raises(ModelUnusable, match=r"both\.onnx: input 's' is BYTES and 'x' is BF16"):
        opened(onnx_models.halves_and_text(tmp_path / "both.onnx"))


@pytest.mark.parametrize("element", [TensorProto.FLOAT, TensorProto.BFLOAT16], ids=["FP32", "BF16"])
def test_an_input_without_dimensions_keeps_having_none(element: int, tmp_path: Path, opened: Opener) -> None:
    engine = opened(onnx_models.scalar(tmp_path / "scalar.onnx", element))
    engine.warm_up()
    assert engine._parts.warming._filling is not None, "the model takes what is made up for it"
    x, factor = np.array([[1, 2]], np.float32), np.array(3, np.float32)
    if element == TensorProto.BFLOAT16:
        x, factor = to_bfloat16(x), to_bfloat16(factor)  # type: ignore[assignment]
    engine.admit("a", TensorRequest({"x": x, "factor": factor}))
    assert outputs(finish(engine)["a"])["y"].tolist() == [[3, 6]]


def test_bfloat16_goes_in_and_comes_out_in_a_batch(tmp_path: Path, opened: Opener) -> None:
    engine = opened(onnx_models.echo(tmp_path / "echo.onnx", TensorProto.BFLOAT16, ("batch", 2)))
    assert engine.together > 1
    assert engine.card.inputs[0].datatype == "BF16"
    for number in (1, 2):
        bits = np.array([[0x3F80 + number, 0xC000]], "<u2")
        engine.admit(str(number), TensorRequest({"x": bits.view(BFLOAT16)}))
    updates = engine.step()
    assert len(updates) == 2
    for update in updates:
        y = outputs(update)["y"]
        assert name_of(y) == "BF16"
        assert y.view("<u2").tolist() == [[0x3F80 + int(update.key), 0xC000]]


def test_bfloat16_is_computed_with(tmp_path: Path, opened: Opener) -> None:
    engine = opened(onnx_models.as_numbers(tmp_path / "cast.onnx", TensorProto.BFLOAT16))
    engine.admit("a", TensorRequest({"x": to_bfloat16(np.array([[1.5, -2.0, 3.0, 0.25]], np.float32))}))
    assert outputs(engine.step()[0])["y"].tolist() == [[1.5, -2.0, 3.0, 0.25]]


def test_bfloat16_comes_out_beside_the_pulsar_client(tmp_path: Path, opened: Opener) -> None:
    # Its binding to C++ ends the iterations of ONNX Runtime's with an error.
    importlib.import_module("pulsar")
    engine = opened(onnx_models.echo(tmp_path / "echo.onnx", TensorProto.BFLOAT16, ("batch", 2)))
    engine.admit("a", TensorRequest({"x": to_bfloat16(np.ones((1, 2), np.float32))}))
    assert outputs(engine.step()[0])["y"].view("<u2").tolist() == [[0x3F80, 0x3F80]]


def test_a_model_with_an_element_type_that_cannot_travel_is_refused(tmp_path: Path, opened: Opener) -> None:
    with pytest.raises(ModelUnusable, match="complex64"):
        opened(onnx_models.echo(tmp_path / "echo.onnx", TensorProto.COMPLEX64))


def test_warming_up_leaves_nothing_behind_and_closing_twice_is_harmless(
    tmp_path: Path, opened: Opener
) -> None:
    engine = opened(onnx_models.add(tmp_path / "add.onnx"))
    engine.warm_up()
    assert engine.active == 0
    assert engine.step() == []
    engine.close()
    engine.close()


def test_what_is_remembered_of_shapes_is_bounded(
    tmp_path: Path, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference.tensor.requests.MAX_LAYOUTS", 4)
    engine = opened(onnx_models.add(tmp_path / "add.onnx"))
    for rows in range(1, 20):
        engine.admit(str(rows), TensorRequest({name: np.ones((rows, 4), np.float32) for name in "xy"}))
    assert len(engine._requests._layouts) <= 4
    assert len(finish(engine)) == 19


def test_a_model_that_is_slower_than_the_target_runs_and_holds_few_requests(
    tmp_path: Path, opened: Opener
) -> None:
    engine = opened(onnx_models.add(tmp_path / "add.onnx"), batch_time_s=1e-9)
    engine.warm_up()
    assert engine.capacity == 4
    for key in "ab":
        engine.admit(key, TensorRequest({"x": row(1, 2, 3, 4), "y": row(1, 2, 3, 4)}))
    assert [len(engine.step()) for _ in range(2)] == [1, 1]


def test_requests_at_once_are_those_of_the_setting_when_runs_are_short(
    tmp_path: Path, opened: Opener
) -> None:
    engine = opened(onnx_models.add(tmp_path / "add.onnx"), batch_time_s=3600.0)
    engine.warm_up()
    assert engine.capacity == 1024


def test_what_a_run_took_and_how_many_shared_it_is_counted(tmp_path: Path, opened: Opener) -> None:
    engine = opened(onnx_models.lookup(tmp_path / "lookup.onnx"), max_batch=4)
    engine.warm_up()
    assert engine.counts() == RunCounts()
    for key, index in (("a", 1), ("b", 2), ("c", 3), ("d", 4), ("bad", 99)):
        engine.admit(key, TensorRequest({"x": np.array([index, index], np.int64)}))
    updates = finish(engine)
    batches = {key: update.batch for key, update in updates.items() if isinstance(update, Done)}
    assert batches == {"a": 2, "b": 2, "c": 2, "d": 2}
    counts = engine.counts()
    assert counts.rows == 8
    assert {rows: size.runs for rows, size in counts.by_rows.items()} == {4: 2}
    [size] = counts.by_rows.values()
    assert counts.request_infer_s == pytest.approx(2 * size.infer_s)
    assert min(size.input_s, size.infer_s, size.output_s) > 0


def test_a_critical_request_is_in_the_next_run_whatever_is_held(tmp_path: Path, opened: Opener) -> None:
    engine = opened(onnx_models.add(tmp_path / "add.onnx"), max_batch=16)
    arrays = {"x": row(1, 2, 3, 4), "y": row(1, 2, 3, 4)}
    for number in range(1023):
        engine.admit(str(number), TensorRequest(arrays, Level.LOW))
    engine.step()
    engine.admit("refill", TensorRequest(arrays, Level.LOW))
    assert engine.active < engine.capacity
    engine.admit("urgent", TensorRequest(arrays, Level.CRITICAL))
    updates = engine.step()
    assert updates[0].key == "urgent"
    assert len(updates) == 16
    assert len(finish(engine)) == 1024 - 31


def test_levels_share_the_runs_of_a_model_that_does_not_batch(tmp_path: Path, opened: Opener) -> None:
    engine = opened(onnx_models.add(tmp_path / "add.onnx"), batching="never")
    assert engine.capacity == 1024
    arrays = {"x": row(1, 2, 3, 4), "y": row(1, 2, 3, 4)}
    for number in range(100):
        engine.admit(f"low {number}", TensorRequest(arrays, Level.LOW))
        engine.admit(f"normal {number}", TensorRequest(arrays, Level.NORMAL))
    first = [update.key.split()[0] for _ in range(50) for update in engine.step()]
    assert first.count("normal") == 40


def test_an_engine_that_ran_out_of_memory_while_answering_says_so_to_the_request(
    tmp_path: Path, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = opened(onnx_models.add(tmp_path / "add.onnx"))

    def no_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(engine._answers, "parts", no_memory)
    engine.admit("a", TensorRequest({"x": row(1, 2, 3, 4), "y": row(1, 2, 3, 4)}))
    [update] = engine.step()
    assert isinstance(update, Failed)
    assert isinstance(update.error, ModelOutOfMemory)
    assert engine.active == 0
