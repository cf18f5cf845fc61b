"""From a path to an engine: what kind of model it is decides which engine opens it."""

from collections.abc import Callable
from pathlib import Path

from inference.artifacts import inspect
from inference.engine import Engine, EngineKind
from inference.providers import installed_runtime
from inference.settings import EngineSettings


def load_engine(path: Path, settings: EngineSettings, report: Callable[[str], None]) -> Engine:
    """Open the model at a path: a folder with genai_config.json, a folder with model.onnx, or an .onnx file.

    `report` gets short sentences about what is going on. Blocks until the model is loaded; call `warm_up` then.

    Raises ModelUnusable with the file and the cause, RuntimeMissing when ONNX Runtime is not there, or twice.
    """
    installed_runtime()
    kind = inspect(path).kind
    # Either engine brings ONNX Runtime in, which takes a second: only now, and only the one that is needed.
    if kind is EngineKind.GENERATE:
        from inference.generate.engine import GenerateEngine

        return GenerateEngine.open(path, settings, report)
    from inference.tensor.engine import TensorEngine

    return TensorEngine.open(path, settings, report)
