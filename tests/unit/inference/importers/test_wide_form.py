"""The form of a model for many rows at once, and what makes few bits enough."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer

from inference.importers import import_model
from inference.importers.calibration import observe
from inference.importers.decoder_graph import DecoderGraph
from inference.importers.error_feedback import quantize4_for
from inference.importers.gguf_source import GgufSource
from inference.importers.linears import FullLinears
from inference.importers.quantize import dequantize, quantize4
from inference.importers.smoothing import SmoothedWeights
from inference.importers.wide import quantize_columns
from tests.reference.tiny_llama import write_tiny_llama


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("wide") / "m.gguf")


@pytest.fixture(scope="module")
def folder(gguf: Path) -> Path:
    return import_model(gguf, gguf.parent / "model", report=lambda sentence: None)


class Reader:
    """Reads a prompt in parts, into a cache that it keeps."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        inputs = {node.name: node.shape for node in session.get_inputs()}
        self.caches: dict[str, NDArray[np.float32]] = {
            name: np.zeros((1, shape[1], 0, shape[3]), np.float32)
            for name, shape in inputs.items()
            if name.startswith("past")
        }
        self._held = 0

    def read(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        self._held += len(tokens)
        feeds: dict[str, Any] = {
            **self.caches,
            "input_ids": tokens[None],
            "attention_mask": np.ones((1, self._held), np.int64),
        }
        logits, *caches = self._session.run(None, feeds)
        self.caches = dict(zip(self.caches, caches, strict=True))
        found: NDArray[np.float32] = logits
        return found


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def test_both_forms_have_the_same_inputs_and_outputs(folder: Path) -> None:
    def described(name: str) -> list[tuple[str, str, list[Any]]]:
        opened = session(folder / name)
        return [(node.name, node.type, node.shape) for node in (*opened.get_inputs(), *opened.get_outputs())]

    assert described("wide.onnx") == described("model.onnx")


@pytest.mark.parametrize("part", [2, 16, 24])
def test_a_prompt_read_in_parts_is_exactly_the_prompt_read_as_a_whole(folder: Path, part: int) -> None:
    tokens = np.random.default_rng(0).integers(3, 200, 48)
    wide = session(folder / "wide.onnx")
    whole, parts = Reader(wide), Reader(wide)
    logits = whole.read(tokens)
    for start in range(0, len(tokens), part):
        last = parts.read(tokens[start : start + part])
    np.testing.assert_array_equal(last, logits)
    for name, cache in whole.caches.items():
        np.testing.assert_array_equal(parts.caches[name], cache)


def test_columns_keep_within_half_a_step_of_the_weights() -> None:
    weights = np.random.default_rng(0).normal(0, 1, (7, 40)).astype(np.float32)
    weights[3] = 0
    columns, scales = quantize_columns(weights)
    assert columns.shape == (40, 7)
    assert columns.dtype == np.int8
    assert (np.abs((columns * scales).T - weights) <= scales[:, None] * 0.501).all()


def test_moving_outliers_changes_nothing_in_full_precision(gguf: Path, folder: Path) -> None:
    source = GgufSource(gguf)
    shape, weights = source.shape, source.weights()
    activations = observe(shape, weights, Tokenizer.from_file(str(folder / "tokenizer.json")))
    tokens = np.random.default_rng(0).integers(3, 200, 20)
    found = []
    for some in (weights, SmoothedWeights(weights, activations)):
        model = DecoderGraph(shape, FullLinears()).build(some)
        opened = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        found.append(Reader(opened).read(tokens))
    np.testing.assert_allclose(found[1], found[0], atol=1e-4)


def test_handing_errors_on_makes_the_product_better_not_the_weights() -> None:
    random = np.random.default_rng(0)
    weights = random.normal(0, 1, (48, 96)).astype(np.float32)
    mixing = random.normal(0, 1, (96, 96)) * random.lognormal(0, 1, 96)
    activations = (random.normal(0, 1, (400, 96)) @ mixing).astype(np.float32)
    plain = dequantize(quantize4(weights)) - weights
    handed = dequantize(quantize4_for(weights, activations)) - weights
    assert np.square(activations @ handed.T).sum() < 0.7 * np.square(activations @ plain.T).sum()


def test_activations_of_a_dead_layer_leave_finite_weights() -> None:
    weights = np.random.default_rng(0).normal(0, 1, (8, 64)).astype(np.float32)
    assert np.isfinite(dequantize(quantize4_for(weights, np.zeros((10, 64), np.float32)))).all()
