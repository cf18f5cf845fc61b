"""What goes into each matrix of a model while it reads a text: what the errors of its weights are multiplied by.

The model that reads is the wide form as it comes, without any of the improvements that follow from this: 8-bit
weights take a quarter of the memory of float32, are made in no time, and change activations by less than matters here.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from tokenizers import Tokenizer

from inference.importers.architecture import DecoderShape, Float32
from inference.importers.calibration_text import TEXT
from inference.importers.decoder_graph import DecoderGraph
from inference.importers.graph_parts import GraphParts
from inference.importers.model_file import save_model
from inference.importers.weights import DecoderWeights
from inference.importers.wide import WideLinears
from inference.providers import brief, runtime
from scheduler.errors import ImportRefused

MOST_TOKENS = 2_048

Activations = Mapping[str, Float32]
"""By name of a linear layer, what it multiplies: (tokens, in_features)."""


class _Observed(WideLinears):
    """Wide matrices that remember what they multiply."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs: dict[str, str] = {}

    def multiply(self, parts: GraphParts, name: str, x: str, weights: Float32, output: str = "") -> str:
        """See Linears."""
        self.inputs[name] = x
        return super().multiply(parts, name, x, weights, output)


def observe(shape: DecoderShape, weights: DecoderWeights, tokenizer: Tokenizer) -> Activations:
    """Let a model read the built-in text and return what each of its linear layers multiplied, but for the logits.

    Raises ImportRefused when the model cannot be run.
    """
    observed = _Observed()
    model = DecoderGraph(shape, observed).build(weights)
    tensors = list(dict.fromkeys(observed.inputs.values()))
    model.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in tensors
    )
    found = run_once(model, shape, sample(shape, tokenizer, MOST_TOKENS), tensors)
    return {name: found[x][0] for name, x in observed.inputs.items()}


def sample(shape: DecoderShape, tokenizer: Tokenizer, most: int) -> list[int]:
    """Return the first tokens of the built-in text, at most `most` and at most what the model takes."""
    tokens = [token for token in tokenizer.encode(TEXT).ids if token < shape.vocabulary]
    return tokens[: min(most, shape.context)]


def run_once(
    model: onnx.ModelProto, shape: DecoderShape, tokens: list[int], outputs: list[str]
) -> dict[str, Float32]:
    """Let a model in float32 read tokens, and return some of its tensors by name.

    Raises ImportRefused when the model cannot be run.
    """
    feeds = {
        f"past_key_values.{layer}.{part}": np.zeros((1, shape.kv_heads, 0, shape.head_size), np.float32)
        for layer in range(shape.layers)
        for part in ("key", "value")
    }
    ids = np.array([tokens], np.int64)
    ort = runtime()
    with tempfile.TemporaryDirectory(prefix="forebay-import-") as folder:
        path = Path(folder, "model.onnx")
        save_model(model, path)
        try:
            session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
            values = session.run(outputs, {**feeds, "input_ids": ids, "attention_mask": np.ones_like(ids)})
        except Exception as error:  # the runtime raises types of its own, without a common base
            raise ImportRefused(f"the model cannot be run: {brief(error)}")
    return dict(zip(outputs, values, strict=True))
