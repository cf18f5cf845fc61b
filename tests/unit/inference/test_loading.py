from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from forebay.compat.kserve import model_config_pb2 as pb
from inference import loading
from inference.engine import Done, EngineKind, TensorOutput, TensorRequest
from inference.loading import load_engine
from inference.settings import EngineSettings
from inference.tensor.engine import TensorEngine
from scheduler.errors import ModelUnusable, RuntimeMissing
from tests.unit.inference.repository.folders import configured, versioned
from tests.unit.inference.tensor import onnx_models

CPU = EngineSettings(providers=("cpu",), threads=1)


def test_an_onnx_file_and_a_folder_with_model_onnx_become_tensor_engines(tmp_path: Path) -> None:
    path = onnx_models.add(tmp_path / "model.onnx")
    said: list[str] = []
    for place in (path, tmp_path):
        engine = load_engine(place, CPU, said.append)
        assert engine.card.kind is EngineKind.TENSOR
        engine.warm_up()
        engine.close()
    assert said[0] == f"loading model.onnx, {path.stat().st_size} bytes"


def test_a_model_that_onnx_runtime_refuses_says_which_and_why(tmp_path: Path) -> None:
    from onnx import helper

    path = onnx_models.save(
        tmp_path / "odd.onnx",
        [helper.make_node("NoSuchOperator", ["x"], ["y"])],
        [onnx_models.value("x", [1])],
        [onnx_models.value("y", [1])],
    )
    with pytest.raises(ModelUnusable, match=r"^odd.onnx cannot be loaded on cpu: .*NoSuchOperator"):
        load_engine(path, CPU, lambda _: None)


ON_GPUS = "max_batch_size: 8\ninstance_group [\n  { kind: KIND_GPU }\n]\n"


def test_a_model_for_gpus_is_refused_where_there_is_none_and_says_whose_word_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    folder = versioned(tmp_path / "m", config=ON_GPUS)
    for settings, why in (
        (EngineSettings(), r"none of the wanted providers \(tensorrt, cuda\) is in this ONNX Runtime"),
        (CPU, "only a GPU may run it, and engine.providers names the CPU alone"),
    ):
        with pytest.raises(
            ModelUnusable, match=rf"^{why}.*\(KIND_GPU at {folder}/config.pbtxt:3:5: nothing but"
        ):
            load_engine(folder, settings, lambda _: None)


def test_of_two_groups_only_the_process_whose_seat_is_a_gpu_is_kept_off_the_cpu(tmp_path: Path) -> None:
    both = ON_GPUS.replace("{ kind: KIND_GPU }", "{ kind: KIND_CPU },\n  { kind: KIND_GPU }")
    folder = versioned(tmp_path / "m", config=both)
    load_engine(folder, CPU, lambda _: None).close()
    with pytest.raises(ModelUnusable, match=r"\(KIND_GPU at .*config.pbtxt:4:5: nothing but a GPU"):
        load_engine(folder, replace(CPU, gpu_only=True), lambda _: None)


def test_where_only_gpus_may_run_models_one_for_the_cpu_says_so_itself(tmp_path: Path) -> None:
    settings = replace(CPU, gpu_only=True)
    folder = versioned(tmp_path / "m", config=ON_GPUS.replace("KIND_GPU", "KIND_CPU"))
    assert load_engine(folder, settings, lambda _: None).card.provider == "CPUExecutionProvider"
    with pytest.raises(ModelUnusable, match=r"engine\.providers names the CPU alone$"):
        load_engine(onnx_models.add(tmp_path / "plain.onnx"), settings, lambda _: None)


def test_weights_outside_the_folder_never_reach_onnx_runtime(tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(b"\0" * 16)
    path = onnx_models.with_external_weights(tmp_path / "model" / "m.onnx", "../secret.bin")
    with pytest.raises(ModelUnusable, match="outside the model's folder"):
        load_engine(path, CPU, lambda _: None)


def test_weights_beside_the_model_are_loaded(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"\0" * 16)
    path = onnx_models.with_external_weights(tmp_path / "m.onnx", "weights.bin")
    assert load_engine(path, CPU, lambda _: None).card.inputs[0].name == "x"


def test_a_file_of_another_format_under_the_name_of_onnx_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"\x18\0\0\0ORTM" + b"\0" * 64)
    with pytest.raises(ModelUnusable, match=r"m.onnx is not an ONNX model"):
        load_engine(tmp_path / "m.onnx", CPU, lambda _: None)


def test_without_onnx_runtime_nothing_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise RuntimeMissing("ONNX Runtime is not installed")

    monkeypatch.setattr(loading, "installed_runtime", missing)
    with pytest.raises(RuntimeMissing):
        load_engine(tmp_path, CPU, lambda _: None)


def test_a_folder_in_tritons_layout_opens_the_version_that_is_wanted(tmp_path: Path) -> None:
    text = "max_batch_size: 4 version_policy { all { } } future: 1"
    folder = versioned(tmp_path / "m", (1,), text)
    onnx_models.fixed(folder / "2" / "model.onnx")
    said: list[str] = []
    engine = load_engine(folder, CPU, said.append, 1)
    assert [(each.name, each.shape) for each in engine.card.inputs] == [("x", (4,)), ("y", (4,))]
    assert engine.card.max_batch_size == 4
    assert said[0] == f"{folder / 'config.pbtxt'}:1:46: future is not supported and has no effect"
    config = pb.ModelConfig.FromString(engine.card.config)
    assert (config.name, config.max_batch_size, config.input[0].name) == ("m", 4, "x")
    with pytest.raises(ModelUnusable, match="the configuration does not fit the model"):
        load_engine(folder, CPU, said.append)
    with pytest.raises(ModelUnusable, match="has no version 3; it has 1, 2"):
        load_engine(folder, CPU, said.append, 3)


def test_a_version_without_a_configuration_is_opened_as_a_model_of_its_own(tmp_path: Path) -> None:
    engine = load_engine(versioned(tmp_path / "m", (1, 2)), CPU, lambda _: None)
    assert [each.shape for each in engine.card.inputs] == [(-1, 4), (-1, 4)]
    config = pb.ModelConfig.FromString(engine.card.config)
    assert config.max_batch_size > 1
    assert list(config.input[0].dims) == [4]


def test_the_file_that_a_configuration_names_is_opened(tmp_path: Path) -> None:
    onnx_models.add(tmp_path / "m" / "1" / "net.onnx")
    configured(tmp_path / "m", 'default_model_filename: "net.onnx"')
    assert load_engine(tmp_path / "m", CPU, lambda _: None).card.outputs[0].name == "z"
    onnx_models.add(tmp_path / "n" / "1" / "model.onnx" / "model.onnx")
    assert load_engine(tmp_path / "n", CPU, lambda _: None).card.outputs[0].name == "z"


@pytest.mark.parametrize("versions", ["1", ""])
@pytest.mark.parametrize(
    ("mark", "name"), [("genai_config.json", "Generate"), ("embed_config.json", "Embed")]
)
def test_a_file_beside_the_model_decides_which_engine_opens_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: str, name: str, versions: str
) -> None:
    where = tmp_path / "m" / versions
    where.mkdir(parents=True)
    (where / mark).write_text("{}")
    onnx_models.add(where / "model.onnx")
    opened: list[tuple[Path, EngineSettings]] = []
    engine = TensorEngine.open(onnx_models.add(tmp_path / "any.onnx"), CPU, lambda _: None)

    class Other:
        @staticmethod
        def open(path: Path, settings: EngineSettings, report: object) -> TensorEngine:
            opened.append((path, settings))
            return engine

    monkeypatch.setattr(loading, "import_module", lambda module: SimpleNamespace(**{f"{name}Engine": Other}))
    configured(tmp_path / "m", 'parameters { key: "intra_op_thread_count" value { string_value: "7" } }')
    assert load_engine(tmp_path / "m", CPU, lambda _: None) is engine
    [(path, settings)] = opened
    assert (path, settings.threads) == (where, 7)
    configured(tmp_path / "m", "sequence_batching { }")
    with pytest.raises(ModelUnusable, match=r"config.pbtxt:1:1: only models with tensors keep state"):
        load_engine(tmp_path / "m", CPU, lambda _: None)


def test_what_onnx_runtime_opens_is_a_copy_that_is_gone_afterwards(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "weights.bin").write_bytes(np.ones(4, np.float32).tobytes())
    path = onnx_models.with_external_weights(tmp_path / "m" / "m.onnx", "weights.bin")
    engine = load_engine(path, replace(CPU, cache=tmp_path / "cache"), lambda _: None)
    assert list((tmp_path / "cache" / "opening").iterdir()) == []
    (tmp_path / "m" / "weights.bin").unlink()
    engine.admit("a", TensorRequest({"x": np.ones((1, 4), np.float32)}))
    [update] = engine.step()
    assert isinstance(update, Done)
    assert isinstance(update.output, TensorOutput)
    assert update.output.outputs["y"].tolist() == [[2, 2, 2, 2]]


def test_what_is_announced_of_answers_changes_with_the_weights_and_is_the_same_for_the_same(
    tmp_path: Path,
) -> None:
    path = onnx_models.with_external_weights(tmp_path / "m.onnx", "weights.bin")
    seen = []
    for weights in (b"\0" * 16, b"\0" * 16, b"\1" * 16):
        (tmp_path / "weights.bin").write_bytes(weights)
        card = load_engine(path, CPU, lambda _: None).card
        assert not card.draws
        assert not card.unsteady_chats
        seen.append(card.answers_digest)
    assert seen[0] == seen[1] != seen[2]
    assert len(seen[0]) == 64


def test_what_is_announced_of_a_model_that_draws_says_so(tmp_path: Path) -> None:
    assert load_engine(onnx_models.dropout(tmp_path / "m.onnx"), CPU, lambda _: None).card.draws
