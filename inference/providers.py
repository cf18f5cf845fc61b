"""ONNX Runtime: which of its packages is installed, where models run, and with which options.

Providers are tried in the order of the setting; the first that opens the model is the one in use, and CPU is
what every other one falls back to for operators it does not have.
"""

import contextlib
import importlib
import importlib.metadata
import importlib.util
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inference.provider_options import Options, Shapes, cuda_options, tensorrt_options
from scheduler.errors import ModelUnusable, RuntimeMissing

if TYPE_CHECKING:
    from inference.settings import EngineSettings

PACKAGES = ("onnxruntime", "onnxruntime-gpu")
"""They install the same module, so only one of them may be there."""

PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
"""From the name in settings to ONNX Runtime's."""

ERRORS_ONLY = 4
"""ONNX Runtime's severity of fatal messages: everything less comes to us as an exception."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A session and what it runs on."""

    session: Any
    """onnxruntime.InferenceSession."""
    provider: str
    """ONNX Runtime's name, for example CPUExecutionProvider."""


def installed_runtime(version: Callable[[str], str] = importlib.metadata.version) -> str:
    """Return name and version of the one installed package of ONNX Runtime.

    Raises RuntimeMissing when there is none, or when there are two that overwrite each other's files.
    """
    found = []
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{package} {version(package)}")
    if not found:
        raise RuntimeMissing(
            "ONNX Runtime is not installed: pip install 'forebay[cpu]', or 'forebay[gpu]' for NVIDIA GPUs"
        )
    if len(found) > 1:
        raise RuntimeMissing(
            f"{' and '.join(found)} are both installed and overwrite each other: "
            f"pip uninstall {' '.join(PACKAGES)}, then pip install 'forebay[cpu]' or 'forebay[gpu]'"
        )
    return found[0]


def runtime() -> Any:
    """Return the module `onnxruntime`.

    Raises RuntimeMissing when it is not there, there twice, or cannot be imported.
    """
    name = installed_runtime()
    try:
        module = importlib.import_module("onnxruntime")
        module.set_default_logger_severity(ERRORS_ONLY)
    except (ImportError, OSError, AttributeError) as error:
        raise RuntimeMissing(f"{name} is installed but cannot be imported: {error}")
    return module


def candidates(wanted: Sequence[str], present: Sequence[str]) -> list[str]:
    """Return the wanted providers that this ONNX Runtime has, by setting name and in order.

    Raises ModelUnusable for a name that is not one of PROVIDERS, or when nothing remains.
    """
    if unknown := [name for name in wanted if name not in PROVIDERS]:
        raise ModelUnusable(f"unknown provider {unknown[0]!r}: expected some of {', '.join(PROVIDERS)}")
    chosen = [name for name in wanted if PROVIDERS[name] in present]
    if not chosen:
        raise ModelUnusable(
            f"none of the wanted providers ({', '.join(wanted)}) is in this ONNX Runtime; "
            f"it has {', '.join(sorted(present))}"
        )
    return chosen


def wanted(settings: "EngineSettings") -> Sequence[str]:
    """Return the providers that may run a model, first choice first.

    Raises ModelUnusable where only GPUs may, and the settings name none.
    """
    if not settings.gpu_only:
        return settings.providers
    gpus = [name for name in settings.providers if name != "cpu"]
    if not gpus:
        raise ModelUnusable("only a GPU may run it, and engine.providers names the CPU alone")
    return gpus


def first_candidate(settings: "EngineSettings") -> str:
    """Return the setting name of the provider that is tried first. Raises ModelUnusable, RuntimeMissing."""
    return candidates(wanted(settings), runtime().get_available_providers())[0]


def chain(name: str, settings: "EngineSettings", shapes: Shapes | None = None) -> list[tuple[str, Options]]:
    """Return what ONNX Runtime is given for one provider: itself and what it hands unknown operators to.

    `shapes` are those of a model's inputs, where they are known beforehand.
    """
    cpu = (PROVIDERS["cpu"], Options())
    cuda = (PROVIDERS["cuda"], cuda_options(settings.device, settings.gpu_memory_bytes))
    if name == "tensorrt":
        tensorrt = tensorrt_options(
            settings.device, settings.cache, fp16=settings.tensorrt_fp16, shapes=shapes
        )
        return [(PROVIDERS["tensorrt"], tensorrt), cuda, cpu]
    return [cuda, cpu] if name == "cuda" else [cpu]


def threads_of(settings: "EngineSettings") -> int:
    """Return the threads of one model run: the setting, or every core that this process may use."""
    if settings.threads:
        return settings.threads
    affinity = getattr(os, "sched_getaffinity", None)  # macOS has none
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def session_options(settings: "EngineSettings", *, spinning: bool = False) -> Any:
    """Return onnxruntime.SessionOptions: all graph optimisations, one run at a time on `threads` cores.

    With `spinning` the threads burn their cores between operators: faster for many short runs in a row.
    """
    ort = runtime()
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = threads_of(settings)
    options.inter_op_num_threads = 1
    options.log_severity_level = ERRORS_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    # Otherwise a file of another format that is named .onnx would be read without the checks of ONNX files.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    return options


def open_session(
    model: Path,
    settings: "EngineSettings",
    report: Callable[[str], None],
    options: Any = None,
    shapes: Shapes | None = None,
) -> Opened:
    """Open a model on the first wanted provider that takes it; `report` hears of each that does not.

    `shapes` are those that its inputs take, where they are known beforehand.

    Raises ModelUnusable with the reason of the last provider when none does, RuntimeMissing.
    """
    ort = runtime()
    options = options if options is not None else session_options(settings)
    names = candidates(wanted(settings), ort.get_available_providers())
    if names[0] != "cpu":
        _preload(ort)
    if settings.cache is not None and names[0] == "tensorrt":
        (settings.cache / "tensorrt").mkdir(parents=True, exist_ok=True)
    reason = ""
    for name in names:
        try:
            session = ort.InferenceSession(
                str(model), options, providers=chain(name, settings, shapes), enable_fallback=0
            )
        except Exception as error:
            reason = brief(error)
        else:
            in_use: list[str] = session.get_providers()
            if in_use[0] == PROVIDERS[name]:
                return Opened(session, in_use[0])
            reason = "its libraries cannot be loaded"
        if name != names[-1]:
            report(f"{name} cannot run {model.name} ({reason}); trying the next provider")
    raise ModelUnusable(f"{model.name} cannot be loaded on {names[-1]}: {reason}")


def _preload(ort: Any) -> None:
    """Load CUDA and cuDNN from their PyPI packages where those are installed; what is missing shows later."""
    if preload := getattr(ort, "preload_dlls", None):
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Exception):
            preload()


def brief(error: Exception, limit: int = 400) -> str:
    """Return an error of ONNX Runtime as one line without the parts that only its authors need."""
    text = " ".join(str(error).split())
    _, _, rest = text.rpartition("[ONNXRuntimeError] : ")
    text = rest or text or type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"


def available() -> tuple[str, ...]:
    """Return the setting names of the providers that this ONNX Runtime was built with.

    Raises RuntimeMissing.
    """
    present = runtime().get_available_providers()
    return tuple(name for name, provider in PROVIDERS.items() if provider in present)
