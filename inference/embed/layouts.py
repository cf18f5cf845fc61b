"""How the tokens of several texts are given to a model, and where the vector of each text is in what it returns.

A packed model has the tokens of all texts one after the other (inference/importers/encoder_graph.py): padding is only
in attention. A padded one is what exporters write: a row for each text, as long as the longest, with a mask, so only
texts of nearly one length share a run.
"""

from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from inference.embed.pipeline import Pooling
from inference.engine import Array, Signature
from inference.tensor.model import Model
from scheduler.errors import ModelUnusable

Ids = NDArray[np.int64]
Vectors = NDArray[np.float32]

PACKED_INPUTS: Final = frozenset(("input_ids", "positions", "spread", "gather", "lengths"))
PADDED_INPUTS: Final = frozenset(("input_ids", "attention_mask"))
KINDS: Final = "token_type_ids"
_HIDDEN: Final = ("last_hidden_state", "token_embeddings")
"""What exporters call the vectors of tokens."""
_SHORTEST_BUCKET: Final = 32
_STEPS: Final = 8
"""Buckets of padded texts between one power of two and the next: an eighth of padding at most."""


class TextLayout(Protocol):
    """Feeds one model."""

    @property
    def output(self) -> str:
        """Name of the output that has the vectors of the tokens."""
        ...

    def bucket(self, length: int) -> int:
        """Return the longest text that shares a run with one of `length` tokens."""
        ...

    def feeds(self, texts: Sequence[Ids]) -> dict[str, Array]:
        """Return the inputs of a run over texts."""
        ...

    def pool(self, hidden: Vectors, texts: Sequence[Ids], pooling: Pooling) -> Vectors:
        """Return (texts, dimensions) of what the model returned."""
        ...


class PackedLayout:
    """See TextLayout."""

    output: Final = "hidden"

    def bucket(self, length: int) -> int:
        """Return a power of two: what is wasted in attention is little while texts are short."""
        return max(_SHORTEST_BUCKET, 1 << (length - 1).bit_length())

    def feeds(self, texts: Sequence[Ids]) -> dict[str, Array]:
        """See TextLayout."""
        lengths = np.array([len(ids) for ids in texts])
        starts = _starts(lengths)
        tokens = int(lengths.sum())
        longest = int(lengths.max())
        places = np.arange(tokens)
        positions = places - np.repeat(starts, lengths)
        gather = positions + np.repeat(np.arange(len(texts)) * longest, lengths)
        spread = np.zeros(len(texts) * longest, np.int64)
        spread[gather] = places
        return {
            "input_ids": np.concatenate(texts),
            "positions": positions,
            "spread": spread.reshape(len(texts), longest),
            "gather": gather,
            "lengths": lengths.astype(np.int32),
        }

    def pool(self, hidden: Vectors, texts: Sequence[Ids], pooling: Pooling) -> Vectors:
        """See TextLayout."""
        lengths = np.array([len(ids) for ids in texts])
        starts = _starts(lengths)
        if pooling is Pooling.CLS:
            return hidden[starts]
        if pooling is Pooling.MAX:
            return np.maximum.reduceat(hidden, starts, axis=0)
        means: Vectors = np.add.reduceat(hidden, starts, axis=0, dtype=np.float32)
        means /= lengths[:, None]
        return means


class PaddedLayout:
    """See TextLayout."""

    def __init__(self, output: str, *, kinds: bool) -> None:
        """`kinds`: whether the model wants the types of tokens too."""
        self.output = output
        self._kinds = kinds

    def bucket(self, length: int) -> int:
        """See TextLayout."""
        step = max(1, (1 << (length - 1).bit_length()) // (2 * _STEPS))
        return -(-length // step) * step

    def feeds(self, texts: Sequence[Ids]) -> dict[str, Array]:
        """See TextLayout."""
        ids = np.zeros((len(texts), max(map(len, texts))), np.int64)
        mask = np.zeros_like(ids)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = text
            mask[row, : len(text)] = 1
        feeds: dict[str, Array] = {"input_ids": ids, "attention_mask": mask}
        if self._kinds:
            feeds[KINDS] = np.zeros_like(ids)
        return feeds

    def pool(self, hidden: Vectors, texts: Sequence[Ids], pooling: Pooling) -> Vectors:
        """See TextLayout."""
        if pooling is Pooling.CLS:
            return hidden[:, 0]
        pick = np.max if pooling is Pooling.MAX else np.mean
        return np.stack([pick(hidden[row, : len(text)], axis=0) for row, text in enumerate(texts)])


def layout_of(model: Model, name: str) -> tuple[TextLayout, int]:
    """Return the layout of a model by its inputs, and the width of its vectors; 0 where that shows in a run only.

    Raises ModelUnusable for one that takes or gives something else.
    """
    inputs = {signature.name for signature in model.inputs}
    outputs = {signature.name: signature for signature in model.outputs}
    if inputs == PACKED_INPUTS and PackedLayout.output in outputs:
        return PackedLayout(), _width(outputs[PackedLayout.output], 2, name)
    if inputs - {KINDS} == PADDED_INPUTS:
        hidden = next((output for output in _HIDDEN if output in outputs), model.outputs[0].name)
        return PaddedLayout(hidden, kinds=KINDS in inputs), _width(outputs[hidden], 3, name)
    raise ModelUnusable(
        f"{name} takes {', '.join(sorted(inputs))}; an encoder takes {', '.join(sorted(PADDED_INPUTS))} and perhaps "
        f"{KINDS}, or what `forebay models import` writes"
    )


def _width(output: Signature, dimensions: int, name: str) -> int:
    if len(output.shape) != dimensions or output.datatype != "FP32":
        raise ModelUnusable(
            f"{name}: {output.name} is {output.datatype} with {len(output.shape)} dimensions; expected FP32 with "
            f"{dimensions}, the vector of each token"
        )
    return max(0, output.shape[-1])


def _starts(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    starts = np.zeros_like(lengths)
    np.cumsum(lengths[:-1], out=starts[1:])
    return starts
