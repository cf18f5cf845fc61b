"""ONNX Runtime on an encoder as sentence-transformers uses it: sorted by length, padded batches of 32.

The graph is what ONNX Runtime's own optimiser makes of an exported BERT: Attention with its product of queries, keys
and values inside, SkipLayerNormalization, BiasGelu.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer

from inference.embed.opening import options
from inference.importers.encoder_architecture import encoder_shape
from inference.importers.encoder_weights import EncoderWeights, Norm
from inference.importers.model_file import save_model
from inference.importers.safetensors_folder import SafetensorsFolder, read_json
from inference.providers import runtime
from inference.settings import EngineSettings

BATCH = 32
LONGEST = 256
_MICROSOFT = "com.microsoft"


class PaddedEncoder:
    """Turns texts into vectors of length 1."""

    def __init__(self, model: Path, source: Path) -> None:
        settings = EngineSettings(providers=("cpu",))
        self._session = runtime().InferenceSession(
            str(model), options(settings), providers=["CPUExecutionProvider"]
        )
        self._tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(LONGEST)

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each text."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return (texts, dimensions)."""
        tokens = self.tokens(texts)
        found: list[NDArray[np.float32] | None] = [None] * len(texts)
        for batch in _batches(tokens):
            ids = np.zeros((len(batch), max(len(tokens[index]) for index in batch)), np.int64)
            mask = np.zeros_like(ids)
            for row, index in enumerate(batch):
                ids[row, : len(tokens[index])] = tokens[index]
                mask[row, : len(tokens[index])] = 1
            [hidden] = self._session.run(None, {"input_ids": ids, "attention_mask": mask})
            weights = mask[:, :, None].astype(np.float32)
            vectors = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            for index, vector in zip(batch, vectors, strict=True):
                found[index] = vector
        return np.stack([vector for vector in found if vector is not None])

    def padding(self, texts: Sequence[str]) -> float:
        """Return which part of the tokens that are computed is padding."""
        tokens = self.tokens(texts)
        computed = sum(len(batch) * max(len(tokens[index]) for index in batch) for batch in _batches(tokens))
        return 1 - sum(map(len, tokens)) / computed


def save_padded(source: Path, path: Path) -> Path:
    """Write the padded graph of a Hugging Face folder and return it."""
    shape = encoder_shape(read_json(source, "config.json"), source.name)
    weights = EncoderWeights(SafetensorsFolder(source), shape)
    graph = _Padded(shape.norm_epsilon, shape.heads)
    x = graph.embed(weights)
    for index in range(shape.layers):
        layer = weights.layer(index)
        (mixed,) = graph.node(
            "Attention",
            [x, graph.constant(layer.qkv.weight.T), graph.constant(layer.qkv.bias), "lengths"],
            num_heads=shape.heads,
        )
        mixed = graph.product(mixed, layer.attention_out.weight)
        x = graph.add_norm(mixed, x, layer.attention_norm, layer.attention_out.bias)
        wide = graph.product(x, layer.up.weight)
        (wide,) = graph.node("BiasGelu", [wide, graph.constant(layer.up.bias)])
        x = graph.add_norm(
            graph.product(wide, layer.down.weight), x, layer.feed_forward_norm, layer.down.bias
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.with_suffix(".onnx")
    save_model(graph.model(x, shape.hidden), file)
    return file


class _Padded:
    """The parts of the padded graph."""

    def __init__(self, epsilon: float, heads: int) -> None:
        self._epsilon = epsilon
        self._heads = heads
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def constant(self, values: NDArray[np.generic]) -> str:
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, operator: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> list[str]:
        microsoft = operator in ("Attention", "SkipLayerNormalization", "BiasGelu")
        names = [output or f"n{len(self._nodes)}"]
        self._nodes.append(
            helper.make_node(operator, inputs, names, domain=_MICROSOFT if microsoft else "", **attributes)
        )
        return names

    def product(self, x: str, weights: NDArray[np.float32]) -> str:
        return self.node("MatMul", [x, self.constant(weights.T)])[0]

    def add_norm(self, x: str, residual: str, norm: Norm, bias: NDArray[np.float32]) -> str:
        inputs = [x, residual, self.constant(norm.gain), self.constant(norm.bias), self.constant(bias)]
        return self.node("SkipLayerNormalization", inputs, epsilon=self._epsilon)[0]

    def embed(self, weights: EncoderWeights) -> str:
        one, zero = self.constant(np.array([1])), self.constant(np.array([0]))
        (counted,) = self.node("ReduceSum", ["attention_mask", one], keepdims=0)
        self.node("Cast", [counted], "lengths", to=TensorProto.INT32)
        (tokens,) = self.node("Gather", [self.constant(weights.embedding()), "input_ids"])
        (length,) = self.node("Shape", ["input_ids"], start=1, end=2)
        (places,) = self.node("Slice", [self.constant(weights.positions()), zero, length, zero])
        (summed,) = self.node("Add", [tokens, places])
        norm = weights.embedding_norm()
        inputs = [summed, self.constant(norm.gain), self.constant(norm.bias)]
        return self.node("LayerNormalization", inputs, axis=-1, epsilon=self._epsilon)[0]

    def model(self, output: str, hidden: int) -> onnx.ModelProto:
        self.node("Identity", [output], "last_hidden_state")
        shape = ["batch", "sequence"]
        graph = helper.make_graph(
            self._nodes,
            "padded",
            [
                helper.make_tensor_value_info(name, TensorProto.INT64, shape)
                for name in ("input_ids", "attention_mask")
            ],
            [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, [*shape, hidden])],
            self._constants,
        )
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid(_MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def _batches(tokens: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return the places of the texts of each batch, the longest first."""
    order = sorted(range(len(tokens)), key=lambda index: -len(tokens[index]))
    return [order[at : at + BATCH] for at in range(0, len(order), BATCH)]
