"""Reading GGUF model files: metadata and tensors, bounded and checked before anything is converted.

The container format is read by the `gguf` package of the llama.cpp project; this module turns what it finds into
plain data, or refuses with a sentence that says what was found.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from gguf import GGUFReader, dequantize
from numpy.typing import NDArray

from scheduler.errors import ImportRefused

Float32 = NDArray[np.float32]
T = TypeVar("T", int, float, str, bool)


@dataclass(frozen=True, slots=True)
class LlamaShape:
    """The numbers that define a model of the llama architecture."""

    layers: int
    hidden: int
    """Width of the residual stream."""
    heads: int
    kv_heads: int
    head_size: int
    feed_forward: int
    vocabulary: int
    context: int
    """Tokens it was trained to attend to."""
    norm_epsilon: float
    rope_base: float


class GgufFile:
    """One opened GGUF file. Tensors are read when they are asked for, never all at once."""

    def __init__(self, path: Path) -> None:
        """Open it. Raises ImportRefused when it is no GGUF file or is cut short."""
        self.path = path
        try:
            with path.open("rb") as file:
                magic = file.read(4)
        except OSError as error:
            raise ImportRefused(f"{path} cannot be read: {error.strerror}")
        if magic != b"GGUF":
            raise ImportRefused(f"{path} is not a GGUF file: it does not begin with the letters GGUF")
        try:
            self._reader = GGUFReader(path)
        except Exception as error:  # the reader raises whatever the damage leads to
            raise ImportRefused(f"{path} is a damaged or truncated GGUF file ({type(error).__name__})")
        self._tensors = {tensor.name: tensor for tensor in self._reader.tensors}

    def value(self, key: str, kind: type[T], default: T | None = None) -> T:
        """Return one metadata value. Raises ImportRefused when it is missing without default, or of another type."""
        found = self.optional(key)
        if found is None:
            if default is None:
                raise ImportRefused(f"{self.path.name} has no metadata value {key}")
            return default
        if kind is float and isinstance(found, int):
            return kind(found)
        if not isinstance(found, kind):
            raise ImportRefused(
                f"{self.path.name}: {key} is a {type(found).__name__}, expected {kind.__name__}"
            )
        return found

    def optional(self, key: str) -> Any:
        """Return a metadata value of whatever type, or None."""
        field = self._reader.fields.get(key)
        return None if field is None else field.contents()

    def has(self, name: str) -> bool:
        """Tell whether the file holds a tensor of this name."""
        return name in self._tensors

    def tensor(self, name: str, shape: tuple[int, ...]) -> Float32:
        """Return a tensor dequantised to float32 in C order, (out_features, in_features) for a projection.

        Raises ImportRefused when it is missing or its shape is not `shape`.
        """
        tensor = self._tensors.get(name)
        if tensor is None:
            raise ImportRefused(f"{self.path.name} has no tensor {name}")
        found = tuple(int(n) for n in reversed(tensor.shape))
        if found != shape:
            raise ImportRefused(f"{self.path.name}: tensor {name} has shape {found}, expected {shape}")
        try:
            values = dequantize(tensor.data, tensor.tensor_type)
        except NotImplementedError:
            raise ImportRefused(
                f"{self.path.name}: tensor {name} has the type {tensor.tensor_type.name}, not supported"
            )
        return np.ascontiguousarray(values, dtype=np.float32).reshape(shape)


def llama_shape(file: GgufFile) -> LlamaShape:
    """Read the numbers of a llama model. Raises ImportRefused for another architecture or impossible numbers."""
    architecture = file.value("general.architecture", str)
    if architecture != "llama":
        raise ImportRefused(f"{file.path.name} has the architecture {architecture}; supported: llama")
    if file.value("llama.expert_count", int, 0):
        raise ImportRefused(f"{file.path.name} is a mixture of experts; supported: dense llama models")
    heads = file.value("llama.attention.head_count", int)
    hidden = file.value("llama.embedding_length", int)
    kv_heads = file.value("llama.attention.head_count_kv", int, heads)
    if heads < 1 or kv_heads < 1 or heads % kv_heads or hidden % heads:
        raise ImportRefused(
            f"{file.path.name}: {heads} heads, {kv_heads} KV heads and width {hidden} do not fit"
        )
    head_size = file.value("llama.attention.key_length", int, hidden // heads)
    if file.value("llama.rope.dimension_count", int, head_size) != head_size:
        raise ImportRefused(f"{file.path.name} rotates only a part of each head; supported: whole heads")
    tokens = file.optional("tokenizer.ggml.tokens") or []
    shape = LlamaShape(
        layers=file.value("llama.block_count", int),
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_size=head_size,
        feed_forward=file.value("llama.feed_forward_length", int),
        vocabulary=file.value("llama.vocab_size", int, len(tokens)),
        context=file.value("llama.context_length", int),
        norm_epsilon=file.value("llama.attention.layer_norm_rms_epsilon", float),
        rope_base=file.value("llama.rope.freq_base", float, 10_000.0),
    )
    if min(shape.layers, shape.feed_forward, shape.vocabulary, shape.context, shape.head_size) < 1:
        raise ImportRefused(f"{file.path.name} describes an empty model")
    return shape
