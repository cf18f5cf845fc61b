"""What tests of the embedding engine share: a way to open a folder, and to run an engine to its end."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.embed.engine import EmbedEngine
from inference.engine import Done, EmbedOutput, EmbedRequest, Update
from inference.importers import import_model
from inference.settings import EngineSettings
from tests.reference.tiny_encoders import write_encoder, write_sentence_files


def quiet(sentence: str) -> None:
    """Say nothing."""


def opened(folder: Path, **settings: object) -> EmbedEngine:
    """Open a folder without a target for the length of runs: batches do not depend on the speed of the machine."""
    usual: dict[str, object] = {"providers": ("cpu",), "threads": 1, "batch_time_s": 0.0}
    chosen = EngineSettings(**(usual | settings))  # type: ignore[arg-type]
    return EmbedEngine.open(folder, chosen, quiet)


def imported(folder: Path, quantization: str = "none", **sentence_files: object) -> Path:
    """Write a tiny encoder below a folder, import it, and return what came of it."""
    source = write_sentence_files(write_encoder(folder / "source"), **sentence_files)  # type: ignore[arg-type]
    return import_model(source, folder / "model", quantization=quantization, report=quiet)  # type: ignore[arg-type]


def finish(engine: EmbedEngine) -> dict[str, Update]:
    """Step until nothing is active."""
    updates: dict[str, Update] = {}
    while engine.active:
        updates |= {update.key: update for update in engine.step()}
    return updates


def answer(update: Update) -> EmbedOutput:
    """Return the output of a request that succeeded."""
    assert isinstance(update, Done), update
    assert isinstance(update.output, EmbedOutput)
    return update.output


def embedded(engine: EmbedEngine, *texts: str, normalize: bool = True) -> EmbedOutput:
    """Turn texts into vectors by one request."""
    engine.admit("it", EmbedRequest(texts, normalize))
    return answer(finish(engine)["it"])


def cosines(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the cosine of each pair of rows."""
    first, second = one.astype(np.float64), other.astype(np.float64)
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    products: NDArray[np.float64] = np.einsum("td,td->t", first, second) / lengths
    return products
