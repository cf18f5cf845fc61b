"""What can be converted: a language model as its file or folder has it, whatever the format."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from inference.importers.architecture import DecoderShape
from inference.importers.weights import DecoderWeights


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """Ids that mean something to whoever runs the model."""

    begin: int | None
    """Written before a plain prompt, by models that want it."""
    ends: tuple[int, ...]
    """End an answer; at least one, the usual one first."""
    padding: int | None


class ModelSource(Protocol):
    """One opened model."""

    @property
    def name(self) -> str:
        """What it is called in sentences."""
        ...

    @property
    def shape(self) -> DecoderShape:
        """Its description, checked."""
        ...

    @property
    def special(self) -> SpecialTokens:
        """Its special tokens."""
        ...

    def weights(self) -> DecoderWeights:
        """Return what reads its weights, each when it is asked for."""
        ...

    def write_tokenizer(self, folder: Path) -> None:
        """Put tokenizer.json, tokenizer_config.json and, where there is one, chat_template.jinja into a folder.

        Raises ImportRefused when the model's tokenizer is of no supported kind, OSError when writing fails.
        """
        ...


def open_source(path: Path) -> ModelSource:
    """Open a GGUF file, or a Hugging Face folder (or the safetensors file in it), by what is there.

    Raises ImportRefused when it cannot be converted; the sentence says what was found and what is supported.
    """
    # Imported here, for each format needs a package of its own.
    if path.is_dir() or path.suffix == ".safetensors":
        from inference.importers.safetensors_source import SafetensorsSource

        return SafetensorsSource(path if path.is_dir() else path.parent)
    from inference.importers.gguf_source import GgufSource

    return GgufSource(path)
