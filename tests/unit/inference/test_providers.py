import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from inference import providers
from inference.provider_options import ShapeRange
from inference.providers import brief, candidates, chain, installed_runtime, open_session
from inference.settings import EngineSettings
from scheduler.errors import ModelUnusable, RuntimeMissing


def packages(**versions: str) -> Callable[[str], str]:
    installed = {name.replace("_", "-"): version for name, version in versions.items()}

    def version(name: str) -> str:
        if name not in installed:
            raise importlib.metadata.PackageNotFoundError(name)
        return installed[name]

    return version


class FakeRuntime:
    """ONNX Runtime with providers that fail in ways of their own."""

    def __init__(
        self, available: list[str], refused: dict[str, str], missing: frozenset[str] = frozenset()
    ) -> None:
        self._available = available
        self._refused = refused
        self._missing = missing
        self.opened: list[list[tuple[str, dict[str, str]]]] = []

    def get_available_providers(self) -> list[str]:
        return self._available

    def preload_dlls(self) -> None:
        print("Failed to load libcudnn.so")  # noqa: T201 - as the real one does
        raise OSError

    def InferenceSession(
        self, path: str, options: object, *, providers: list[tuple[str, dict[str, str]]], enable_fallback: int
    ) -> Any:
        assert enable_fallback == 0
        self.opened.append(providers)
        names = [name for name, _ in providers]
        if names[0] in self._refused:
            raise RuntimeError(self._refused[names[0]])
        return SimpleNamespace(get_providers=lambda: [name for name in names if name not in self._missing])


ALL = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]


def open_with(fake: FakeRuntime, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> tuple[str, list[str]]:
    monkeypatch.setattr(providers, "runtime", lambda: fake)
    said: list[str] = []
    opened = open_session(Path("m.onnx"), EngineSettings(**settings), said.append, options=object())
    return opened.provider, said


def test_the_one_installed_package_is_named() -> None:
    assert installed_runtime(packages(onnxruntime="1.31.1")) == "onnxruntime 1.31.1"
    assert installed_runtime(packages(onnxruntime_gpu="1.31.1")) == "onnxruntime-gpu 1.31.1"


def test_no_package_is_one_clear_sentence() -> None:
    with pytest.raises(RuntimeMissing) as caught:
        installed_runtime(packages())
    assert str(caught.value) == (
        "ONNX Runtime is not installed: pip install 'forebay[cpu]', or 'forebay[gpu]' for NVIDIA GPUs"
    )


def test_both_packages_are_one_clear_sentence() -> None:
    with pytest.raises(RuntimeMissing) as caught:
        installed_runtime(packages(onnxruntime="1.31.1", onnxruntime_gpu="1.30.0"))
    assert str(caught.value) == (
        "onnxruntime 1.31.1 and onnxruntime-gpu 1.30.0 are both installed and overwrite each other: "
        "pip uninstall onnxruntime onnxruntime-gpu, then pip install 'forebay[cpu]' or 'forebay[gpu]'"
    )


def test_a_package_that_cannot_be_imported_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise ImportError("libcublas.so.12: cannot open shared object file")

    monkeypatch.setattr(providers, "installed_runtime", lambda: "onnxruntime-gpu 1.31.1")
    monkeypatch.setattr("importlib.import_module", fail)
    with pytest.raises(
        RuntimeMissing, match=r"^onnxruntime-gpu 1.31.1 is installed but cannot be imported: libcublas"
    ):
        providers.runtime()


def test_wanted_providers_keep_their_order_and_absent_ones_are_passed_over() -> None:
    assert candidates(("tensorrt", "cuda", "cpu"), ALL) == ["tensorrt", "cuda", "cpu"]
    assert candidates(("cpu", "cuda"), ALL) == ["cpu", "cuda"]
    assert candidates(("tensorrt", "cuda", "cpu"), ["AzureExecutionProvider", "CPUExecutionProvider"]) == [
        "cpu"
    ]


def test_unknown_and_unavailable_providers_are_refused() -> None:
    with pytest.raises(ModelUnusable, match=r"unknown provider 'cdua': expected some of tensorrt, cuda, cpu"):
        candidates(("cdua", "cpu"), ALL)
    with pytest.raises(
        ModelUnusable, match=r"none of the wanted providers \(cuda\).*it has CPUExecutionProvider"
    ):
        candidates(("cuda",), ["CPUExecutionProvider"])
    with pytest.raises(ModelUnusable):
        candidates((), ALL)


def test_each_provider_hands_on_what_it_does_not_know() -> None:
    settings = EngineSettings()
    assert [name for name, _ in chain("tensorrt", settings)] == ALL
    assert [name for name, _ in chain("cuda", settings)] == ALL[1:]
    assert chain("cpu", settings) == [("CPUExecutionProvider", {})]


def test_options_come_from_the_settings(tmp_path: Path) -> None:
    settings = EngineSettings(device=1, gpu_memory_bytes=1 << 30, tensorrt_fp16=True, cache=tmp_path)
    tensorrt, cuda, _ = chain("tensorrt", settings)
    assert cuda[1] == {
        "device_id": "1",
        "arena_extend_strategy": "kSameAsRequested",
        "enable_skip_layer_norm_strict_mode": "1",
        "gpu_mem_limit": str(1 << 30),
    }
    assert tensorrt[1] == {
        "device_id": "1",
        "trt_fp16_enable": "True",
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(tmp_path / "tensorrt"),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(tmp_path / "tensorrt"),
    }
    plain_tensorrt, plain_cuda, _ = chain("tensorrt", EngineSettings())
    assert "gpu_mem_limit" not in plain_cuda[1]
    assert "trt_engine_cache_enable" not in plain_tensorrt[1]
    assert not any(name.startswith("trt_profile") for name in plain_tensorrt[1])


def test_tensorrt_is_told_the_shapes_that_inputs_take_and_cuda_is_not() -> None:
    shapes = {
        "ids": ShapeRange((1, 1), (16, 1), (16, 256)),
        "past.0.key": ShapeRange((1, 3, 8192, 64), (16, 3, 8192, 64), (16, 3, 8192, 64)),
    }
    tensorrt, cuda, _ = chain("tensorrt", EngineSettings(), shapes)
    assert tensorrt[1]["trt_profile_min_shapes"] == "ids:1x1,past.0.key:1x3x8192x64"
    assert tensorrt[1]["trt_profile_opt_shapes"] == "ids:16x1,past.0.key:16x3x8192x64"
    assert tensorrt[1]["trt_profile_max_shapes"] == "ids:16x256,past.0.key:16x3x8192x64"
    assert not any("profile" in name for name in cuda[1])
    assert not any(
        "profile" in name for _, options in chain("cuda", EngineSettings(), shapes) for name in options
    )


def test_shapes_reach_the_provider_that_opens_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRuntime(ALL, {})
    monkeypatch.setattr(providers, "runtime", lambda: fake)
    shapes = {"x": ShapeRange((1,), (2,), (3,))}
    open_session(Path("m.onnx"), EngineSettings(), lambda said: None, object(), shapes)
    assert fake.opened[0][0][1]["trt_profile_max_shapes"] == "x:3"


def test_the_first_provider_that_takes_the_model_is_in_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = FakeRuntime(ALL, {})
    assert open_with(fake, monkeypatch, cache=tmp_path) == ("TensorrtExecutionProvider", [])
    assert [name for name, _ in fake.opened[0]] == ALL
    assert (tmp_path / "tensorrt").is_dir()


def test_the_next_provider_is_tried_when_one_fails_or_did_not_load(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = FakeRuntime(ALL, {ALL[0]: "no engine"}, missing=frozenset({ALL[1]}))
    assert open_with(fake, monkeypatch) == (
        "CPUExecutionProvider",
        [
            "tensorrt cannot run m.onnx (no engine); trying the next provider",
            "cuda cannot run m.onnx (its libraries cannot be loaded); trying the next provider",
        ],
    )
    assert capsys.readouterr().out == ""


def test_a_model_that_no_provider_takes_is_refused_with_the_last_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = FakeRuntime(ALL, {ALL[1]: "out of memory"})
    with pytest.raises(ModelUnusable, match=r"m.onnx cannot be loaded on cuda: out of memory"):
        open_with(fake, monkeypatch, providers=("cuda",))


def test_where_only_a_gpu_will_do_the_cpu_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRuntime(ALL, {"TensorrtExecutionProvider": "no engine"}, frozenset({"CUDAExecutionProvider"}))
    with pytest.raises(
        ModelUnusable, match=r"^m\.onnx cannot be loaded on cuda: its libraries cannot be loaded$"
    ):
        open_with(fake, monkeypatch, gpu_only=True)
    assert [providers[0][0] for providers in fake.opened] == ALL[:2]


def test_messages_of_onnx_runtime_become_one_short_line() -> None:
    assert brief(RuntimeError("[ONNXRuntimeError] : 1 : FAIL : a\n  b")) == "1 : FAIL : a b"
    assert brief(RuntimeError("x" * 1000)) == "x" * 399 + "…"
    assert brief(ValueError()) == "ValueError"


def test_this_machine_has_a_runtime_and_runs_on_the_cpu() -> None:
    assert "cpu" in providers.available()
    assert providers.session_options(EngineSettings(threads=2)).intra_op_num_threads == 2
    assert providers.session_options(EngineSettings()).intra_op_num_threads >= 1
