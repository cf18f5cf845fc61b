"""What goes into the products of an encoder while it reads a text: how large each channel becomes."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper
from tokenizers import Tokenizer

from inference.embed.layouts import PackedLayout
from inference.importers.architecture import Float32
from inference.importers.calibration_text import TEXT
from inference.importers.encoder_architecture import EncoderShape
from inference.importers.encoder_graph import EncoderGraph, FullProducts
from inference.importers.encoder_weights import EncoderWeights
from inference.importers.graph_parts import GraphParts
from inference.importers.model_file import save_model
from inference.providers import brief, runtime
from scheduler.errors import ImportRefused

_MARKER: Final = "<|"
"""What only language models read begins with it."""
_MOST_TOKENS: Final = 128
"""Of a line of the text."""


class _Observed(FullProducts):
    """Matrices in full that remember what they multiply."""

    def __init__(self, wanted: tuple[str, ...]) -> None:
        self._wanted = wanted
        self.inputs: dict[str, str] = {}

    def multiply_add(self, parts: GraphParts, name: str, x: str, weights: Float32, added: str) -> str:
        """See Products."""
        if name.endswith(self._wanted):
            self.inputs[name] = x
        return super().multiply_add(parts, name, x, weights, added)


def observe_peaks(
    shape: EncoderShape, weights: EncoderWeights, tokenizer: Tokenizer, wanted: tuple[str, ...]
) -> Mapping[str, Float32]:
    """Let a model read the built-in text; return the largest size of each channel that products multiply, (channels,),
    by the names of those whose names end as `wanted`.

    Raises ImportRefused when the model cannot be run.
    """
    observed = _Observed(wanted)
    model = EncoderGraph(shape, observed).build(weights)
    tensors = list(dict.fromkeys(observed.inputs.values()))
    model.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in tensors
    )
    ort = runtime()
    layout = PackedLayout()
    peaks = {name: np.zeros(shape.hidden, np.float32) for name in tensors}
    with tempfile.TemporaryDirectory(prefix="forebay-import-") as folder:
        path = Path(folder, "model.onnx")
        save_model(model, path)
        try:
            session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
            for ids in _lines(tokenizer, shape.context):
                for name, values in zip(tensors, session.run(tensors, layout.feeds([ids])), strict=True):
                    np.maximum(peaks[name], np.abs(values).max(axis=0), out=peaks[name])
        except Exception as error:  # the runtime raises types of its own, without a common base
            raise ImportRefused(f"the model cannot be run: {brief(error)}")
    return {name: peaks[x] for name, x in observed.inputs.items()}


def _lines(tokenizer: Tokenizer, context: int) -> Sequence[NDArray[np.int64]]:
    """Return the lines of the text as tokens."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(min(_MOST_TOKENS, context))
    lines = [line for line in TEXT.splitlines() if line.strip() and _MARKER not in line]
    return [np.array(tokenizer.encode(line).ids, np.int64) for line in lines]
