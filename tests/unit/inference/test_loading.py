from pathlib import Path

import pytest

from inference import loading
from inference.engine import EngineKind
from inference.loading import load_engine
from inference.settings import EngineSettings
from scheduler.errors import ModelUnusable, RuntimeMissing
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
