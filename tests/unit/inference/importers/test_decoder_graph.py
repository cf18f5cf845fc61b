"""The exported graph of every family computes what plain NumPy computes, at once and token by token."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from inference.importers.architecture import DecoderShape
from inference.importers.decoder_graph import DecoderGraph
from inference.importers.gguf import GgufFile
from inference.importers.gguf_architecture import gguf_naming, gguf_shape
from inference.importers.huggingface_architecture import huggingface_naming, huggingface_shape
from inference.importers.linears import FullLinears
from inference.importers.safetensors_folder import SafetensorsFolder
from inference.importers.smoothing import SmoothedWeights
from inference.importers.weights import DecoderWeights
from tests.reference.decoder_numpy import DecoderReference
from tests.reference.tiny_decoders import CONFIGS, tiny_config, tiny_weights, write_folder, write_gguf

NOT_IN_GGUF = ("mistral with a window", "gemma3 scaled")
"""Settings that these files have no key for."""

TOKENS = np.random.default_rng(1).integers(3, 250, 24).tolist()


def run(model: bytes, tokens: list[int], chunks: list[int]) -> NDArray[np.float32]:
    """Return the logits of all positions, read in chunks over one growing cache."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    outputs = [node.name for node in session.get_outputs()]
    past = {
        node.name: np.zeros((1, node.shape[1], 0, node.shape[3]), np.float32)
        for node in session.get_inputs()
        if node.name.startswith("past")
    }
    found = []
    at = 0
    for chunk in chunks:
        ids = np.array([tokens[at : at + chunk]], np.int64)
        at += chunk
        mask = np.ones((1, at), np.int64)
        logits, *present = session.run(outputs, {"input_ids": ids, "attention_mask": mask, **past})
        past = dict(zip(past, present, strict=True))
        found.append(logits[0])
    return np.concatenate(found)


def check(shape: DecoderShape, decoder: DecoderWeights, expected: NDArray[np.float64]) -> None:
    """Compare at once, in chunks, and token by token."""
    model = DecoderGraph(shape, FullLinears(), positions="all").build(decoder).SerializeToString()
    assert expected.std() > 0.5
    for chunks in ([24], [10, 10, 4], [1] * 24):
        assert np.abs(run(model, TOKENS, chunks) - expected).max() < 1e-3


@pytest.mark.parametrize("family", [name for name in CONFIGS if name not in NOT_IN_GGUF])
def test_a_gguf_model_computes_what_plain_numpy_computes(tmp_path: Path, family: str) -> None:
    config = tiny_config(family)
    weights = tiny_weights(config)
    file = GgufFile(write_gguf(tmp_path / "m.gguf", config, weights))
    shape = gguf_shape(file)
    decoder = DecoderWeights(file, gguf_naming(shape), shape)
    check(shape, decoder, DecoderReference(config, weights).logits(TOKENS))


@pytest.mark.parametrize("family", CONFIGS)
def test_a_safetensors_model_computes_what_plain_numpy_computes(tmp_path: Path, family: str) -> None:
    config = tiny_config(family)
    weights = tiny_weights(config)
    folder = SafetensorsFolder(write_folder(tmp_path / "m", config, weights, shards=2))
    shape = huggingface_shape(config, "m")
    decoder = DecoderWeights(folder, huggingface_naming(shape), shape)
    check(shape, decoder, DecoderReference(config, weights).logits(TOKENS))


@pytest.mark.parametrize("family", ["llama tied", "gemma3"])
def test_rows_of_different_lengths_decode_together_over_shared_buffers(tmp_path: Path, family: str) -> None:
    """As the engine runs it: past and present are one buffer with room to spare, and the mask is wider than rows."""
    config = tiny_config(family)
    weights = tiny_weights(config)
    file = GgufFile(write_gguf(tmp_path / "m.gguf", config, weights))
    shape = gguf_shape(file)
    graph = DecoderGraph(shape, FullLinears()).build(DecoderWeights(file, gguf_naming(shape), shape))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    caches = {
        name: np.zeros((3, shape.kv_heads, 64, shape.head_size), np.float32)
        for name in (node.name for node in session.get_inputs())
        if name.startswith("past")
    }
    rows = [TOKENS[:23], TOKENS[5:12], TOKENS[10:22]]
    for row, tokens in enumerate(rows):
        parts = {name: cache[row : row + 1] for name, cache in caches.items()}
        step(session, np.array([tokens[:-1]]), [len(tokens) - 1], parts)
    newest = np.array([tokens[-1:] for tokens in rows])
    found = step(session, newest, [len(tokens) for tokens in rows], caches)
    reference = DecoderReference(config, weights)
    for row, tokens in enumerate(rows):
        assert np.abs(found[row, 0] - reference.logits(tokens)[-1]).max() < 1e-3


def step(
    session: onnxruntime.InferenceSession,
    ids: NDArray[np.int64],
    lengths: list[int],
    caches: dict[str, NDArray[np.float32]],
) -> NDArray[np.float32]:
    """Run once, with every cache bound as past and as present; `lengths` count the new tokens too."""
    binding = session.io_binding()
    mask = (np.arange(32)[None, :] < np.array(lengths)[:, None]).astype(np.int64)
    binding.bind_cpu_input("input_ids", ids.astype(np.int64))
    binding.bind_cpu_input("attention_mask", mask)
    binding.bind_output("logits")
    for name, cache in caches.items():
        for bind, tensor in (
            (binding.bind_input, name),
            (binding.bind_output, name.replace("past_key_values", "present")),
        ):
            bind(tensor, "cpu", 0, np.float32, cache.shape, cache.ctypes.data)
    session.run_with_iobinding(binding)
    logits: NDArray[np.float32] = binding.copy_outputs_to_cpu()[0]
    return logits


@pytest.mark.parametrize("family", CONFIGS)
def test_moving_outliers_changes_nothing_in_any_family(tmp_path: Path, family: str) -> None:
    config = tiny_config(family)
    weights = tiny_weights(config)
    folder = SafetensorsFolder(write_folder(tmp_path / "m", config, weights))
    shape = huggingface_shape(config, "m")
    random = np.random.default_rng(3)
    widths = {"attention.qkv": shape.hidden, "mlp.gate_up": shape.hidden, "mlp.down": shape.feed_forward}
    activations = {
        f"model.layers.{layer}.{name}": random.lognormal(0, 1.5, (4, width)).astype(np.float32)
        for layer in range(shape.layers)
        for name, width in widths.items()
    }
    smoothed = SmoothedWeights(DecoderWeights(folder, huggingface_naming(shape), shape), activations)
    check(shape, smoothed, DecoderReference(config, weights).logits(TOKENS))
