"""From a folder to everything that an embedding engine is made of."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from inference.artifacts import digest, inspect
from inference.embed.config import read_config
from inference.embed.layouts import TextLayout, layout_of
from inference.embed.pipeline import Pooling
from inference.embed.tokens import Tokenizing
from inference.engine import EngineKind, ModelCard
from inference.processor import multiplies_bytes_exactly
from inference.providers import open_session, session_options
from inference.settings import EngineSettings
from inference.tensor.model import Model
from inference.tensor.pace import Pace
from inference.vetted_copy import vetted_copy

MAX_TOKENS: Final = 8192
"""Most tokens of a run, however fast the model is: they bound the memory that one takes."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What an engine is made of."""

    model: Model
    layout: TextLayout
    pooling: Pooling
    tokenizing: Tokenizing
    pace: Pace
    """Counts tokens."""
    card: ModelCard
    capacity: int


def open_parts(folder: Path, settings: EngineSettings, report: Callable[[str], None]) -> Parts:
    """Load the model in `folder`. Raises ModelUnusable with the file and the cause, RuntimeMissing."""
    artifact = inspect(folder)
    config = read_config(artifact.root)
    max_length = min(settings.context_length or config.max_length, config.max_length)
    size = sum(file.stat().st_size for file in artifact.files)
    report(f"loading {folder.name}, {size / 1e6:.0f} MB")
    tokenizing = Tokenizing(artifact.root, max_length, lowercase=config.lowercase)
    with vetted_copy(artifact.model, settings.cache) as copy:
        opened = open_session(copy, settings, report, options(settings))
    model = Model(opened.session, opened.provider, artifact.model.name)
    if config.quantization == "int8" and not multiplies_bytes_exactly():
        report("this processor has no VNNI: vectors of 8-bit weights are less exact on it")
    layout, width = layout_of(model, artifact.model.name)
    card = ModelCard(
        kind=EngineKind.EMBED,
        digest=digest(artifact, settings.cache),
        provider=model.provider,
        context_length=max_length,
        dimensions=width or config.dimensions,
    )
    pace = Pace(settings.batch_time_s, MAX_TOKENS, settings.capacity)
    return Parts(model, layout, config.pooling, tokenizing, pace, card, settings.capacity)


def options(settings: EngineSettings) -> Any:
    """Return the session options that are fastest for many short operators (benchmarks/bench_embeddings.py).

    Threads spin between operators, for 50 µs at most and never between runs: on a machine whose cores others use too,
    those that spin without end take the core from the one they wait for.
    """
    options = session_options(settings, spinning=True)
    options.add_session_config_entry("session.intra_op.spin_duration_us", "50")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_session_config_entry("session.dynamic_block_base", "8")
    return options
