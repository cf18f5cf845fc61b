"""What the tests of the tensor engine say in place of a configuration file, and what they ask an engine."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from inference.engine import Array, Done, Signature, TensorOutput, Update
from inference.repository.definition import InputDefinition, ModelDefinition, OutputDefinition
from inference.settings import EngineSettings
from inference.tensor.engine import TensorEngine
from inference.tensor.opening import open_parts


def seen(name: str, *shape: int, datatype: str = "FP32", **rest: object) -> InputDefinition:
    return InputDefinition(Signature(name, datatype, shape), **rest)  # type: ignore[arg-type]


def given(name: str, *shape: int, datatype: str = "FP32", **rest: object) -> OutputDefinition:
    return OutputDefinition(Signature(name, datatype, shape), **rest)  # type: ignore[arg-type]


def declared(max_batch_size: int, **rest: object) -> ModelDefinition:
    return ModelDefinition(max_batch_size=max_batch_size, declared=True, **rest)  # type: ignore[arg-type]


def opened(
    path: Path, definition: ModelDefinition, clock: Callable[[], float] | None = None, **settings: object
) -> TensorEngine:
    """Open without a target for the length of runs: batches must not depend on the speed of the machine."""
    chosen = EngineSettings(providers=("cpu",), threads=1, **({"batch_time_s": 0.0} | settings))  # type: ignore[arg-type]
    if clock is None:
        return TensorEngine.open(path, chosen, lambda _: None, definition)
    return TensorEngine(open_parts(path, chosen, lambda _: None, definition, clock=clock), clock)


def outputs(update: Update) -> Mapping[str, Array]:
    assert isinstance(update, Done), update
    assert isinstance(update.output, TensorOutput)
    return update.output.outputs


def finish(engine: TensorEngine) -> dict[str, Update]:
    updates: dict[str, Update] = {}
    while engine.active:
        updates |= {update.key: update for update in engine.step()}
    return updates


def row(*values: float, rows: int = 1) -> Array:
    return np.array([values] * rows, dtype=np.float32).reshape(rows, len(values))
