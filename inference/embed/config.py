"""Reading embed_config.json: what is done around the model of a folder. Every value may be left out.

`pooling` is mean, cls or max; `max_length` is the most tokens of a text; `lowercase` says that texts are read in lower
case. What is left out is what the files of sentence-transformers in the folder say. `dimensions` tells how many numbers
a vector has, where the model itself does not; `quantization` how the weights are stored: none or int8.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from inference.artifacts import EMBED_CONFIG
from inference.embed.pipeline import Pooling, read_object, read_pipeline
from scheduler.errors import ModelUnusable

_KNOWN: Final = ("dimensions", "lowercase", "max_length", "pooling", "quantization")
DEFAULT_LENGTH: Final = 512
"""Most tokens of a text where no file says so: what the first encoders read."""


@dataclass(frozen=True, slots=True)
class EmbedConfig:
    """What the engine needs to know of a folder."""

    pooling: Pooling
    max_length: int
    dimensions: int = 0
    """0 where only the model tells."""
    lowercase: bool = False
    quantization: str = ""
    """How its weights are stored, where that is told."""


def read_config(folder: Path) -> EmbedConfig:
    """Read and check `folder/embed_config.json`. Raises ModelUnusable with the file and the cause."""
    path = folder / EMBED_CONFIG
    content = read_object(path)
    if unknown := sorted(content.keys() - set(_KNOWN)):
        raise ModelUnusable(f"{path}: {unknown[0]!r} is unknown; known: {', '.join(_KNOWN)}")
    pipeline = read_pipeline(folder)
    pooling = content.get("pooling", pipeline.pooling.value)
    if pooling not in list(Pooling):
        raise ModelUnusable(f"{path}: pooling is {pooling!r}, expected one of {', '.join(Pooling)}")
    lowercase = content.get("lowercase", pipeline.lowercase)
    if not isinstance(lowercase, bool):
        raise ModelUnusable(f"{path}: lowercase is {lowercase!r}, must be true or false")
    return EmbedConfig(
        pooling=Pooling(pooling),
        max_length=_whole(content, "max_length", pipeline.max_length or DEFAULT_LENGTH, path),
        dimensions=_whole(content, "dimensions", 0, path),
        lowercase=lowercase,
        quantization=str(content.get("quantization", "")),
    )


def _whole(content: dict[str, Any], key: str, default: int, path: Path) -> int:
    if key not in content:
        return default
    value = content[key]
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 1 << 30:
        raise ModelUnusable(f"{path}: {key} is {value!r}, must be a whole number over 0")
    return value
