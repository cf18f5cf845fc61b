"""Models in float16: what is written, and what is refused because float16 could not hold it."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto
from tokenizers import Tokenizer

from inference.importers import import_model
from inference.importers.decoder_graph import DecoderGraph
from inference.importers.float16 import LARGEST, largest_activation
from inference.importers.graph_parts import GraphParts, Precision
from inference.importers.huggingface_architecture import huggingface_naming, huggingface_shape
from inference.importers.linears import FullLinears
from inference.importers.safetensors_folder import SafetensorsFolder
from inference.importers.safetensors_source import SafetensorsSource
from inference.importers.weights import DecoderWeights
from scheduler.errors import ImportRefused
from tests.reference.decoder_numpy import DecoderReference
from tests.reference.tiny_decoders import CONFIGS, tiny_config, tiny_weights, write_folder

TOKENS = np.random.default_rng(1).integers(3, 250, 24).tolist()
FAMILIES = [name for name in CONFIGS if not name.startswith("gemma3")]


def quiet(sentence: str) -> None:
    """Say nothing."""


def folder_of(path: Path, family: str = "llama", larger: Mapping[str, float] | None = None) -> Path:
    """Write a model; `larger` are factors of the weights whose names end so."""
    config = tiny_config(family)
    weights = tiny_weights(config)
    for ending, factor in (larger or {}).items():
        for name in weights:
            if name.removesuffix(".weight").endswith(ending):
                weights[name] *= np.float32(factor)
    return write_folder(path, config, weights)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("quantization", ["none", "int4", "int8"])
def test_everything_but_the_logits_is_in_16_bits(tmp_path: Path, family: str, quantization: Any) -> None:
    source = folder_of(tmp_path / "m", family)
    out = import_model(source, tmp_path / "out", quantization=quantization, precision="float16", report=quiet)
    assert not (out / "wide.onnx").exists()
    model = onnx.load(out / "model.onnx")
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert TensorProto.FLOAT not in kinds.values()
    assert kinds["model.embedding"] == kinds["rope.cos"] == TensorProto.FLOAT16
    types = {node.name: node.type.tensor_type.elem_type for node in (*model.graph.input, *model.graph.output)}
    assert types.pop("logits") == TensorProto.FLOAT
    caches = {kind for name, kind in types.items() if name.startswith(("past", "present"))}
    assert caches == {TensorProto.FLOAT16}
    operators = Counter(node.op_type for node in model.graph.node)
    layers = 4 * tiny_config(family)["num_hidden_layers"]
    assert (operators["MatMulNBits"], operators["MatMul"]) == (
        (0, layers + 1) if quantization == "none" else (layers, 1)
    )
    onnxruntime.InferenceSession(out / "model.onnx", providers=["CPUExecutionProvider"])


def test_onnxruntime_genai_is_told_that_it_is_for_cuda(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "m")
    options = []
    precisions: tuple[Precision, ...] = ("float32", "float16")
    for precision in precisions:
        out = import_model(
            source, tmp_path / precision, quantization="none", precision=precision, report=quiet
        )
        config = json.loads((out / "genai_config.json").read_bytes())
        options.append(config["model"]["decoder"]["session_options"]["provider_options"])
    cuda = {"enable_cuda_graph": "0", "enable_skip_layer_norm_strict_mode": "1"}
    assert options == [[], [{"cuda": cuda}]]


@pytest.mark.parametrize("family", CONFIGS)
def test_the_graph_of_every_family_computes_what_plain_numpy_computes(tmp_path: Path, family: str) -> None:
    """Gemma's too: that is about its graph, not about the numbers of the real models."""
    config = tiny_config(family)
    weights = tiny_weights(config)
    folder = SafetensorsFolder(write_folder(tmp_path / "m", config, weights))
    shape = huggingface_shape(config, "m")
    decoder = DecoderWeights(folder, huggingface_naming(shape), shape)
    model = DecoderGraph(shape, FullLinears(), positions="all", precision="float16").build(decoder)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    cache = np.zeros((1, shape.kv_heads, 0, shape.head_size), np.float16)
    feeds: dict[str, Any] = {
        node.name: cache for node in session.get_inputs() if node.name.startswith("past")
    }
    feeds |= {"input_ids": [TOKENS], "attention_mask": np.ones((1, len(TOKENS)), np.int64)}
    found = session.run(["logits"], feeds)[0][0]
    expected = DecoderReference(config, weights).logits(TOKENS)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_gemma_is_refused_and_what_helps_is_said(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "m", "gemma3")
    with pytest.raises(ImportRefused, match=r"Gemma models pass 65,504.*--precision float32"):
        import_model(source, tmp_path / "out", precision="float16", report=quiet)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("ending", ["mlp.down_proj", "self_attn.o_proj", "embed_tokens"])
def test_a_model_whose_activations_come_near_the_limit_is_refused(tmp_path: Path, ending: str) -> None:
    source = folder_of(tmp_path / "m", larger={ending: 30_000.0})
    with pytest.raises(ImportRefused, match=r"activations reach .* too near to 65,504"):
        import_model(source, tmp_path / "out", quantization="none", precision="float16", report=quiet)
    assert not (tmp_path / "out").exists()


def test_the_largest_activation_is_that_of_the_stream_and_of_what_layers_compute(tmp_path: Path) -> None:
    def largest(larger: Mapping[str, float] | None = None) -> float:
        path = folder_of(tmp_path / f"m{len(list(tmp_path.iterdir()))}", larger=larger)
        source = SafetensorsSource(path)
        return largest_activation(
            source.shape, source.weights(), Tokenizer.from_file(str(path / "tokenizer.json"))
        )

    plain = largest()
    assert 1 < plain < 1000
    for ending in ("embed_tokens", "q_proj", "up_proj", "down_proj"):
        assert largest({ending: 1000.0}) > 10 * plain


def test_weights_beyond_float16_are_refused_by_name() -> None:
    parts = GraphParts("float16")
    with pytest.raises(ImportRefused, match=r"model.norm.weight holds values up to 7e\+04"):
        parts.constant("model.norm.weight", np.array([1, -70_000], np.float32))
    parts.constant("fits", np.array([LARGEST], np.float32))
    parts.constant("whole", np.array([1 << 40], np.int64))
    assert [one.data_type for one in parts.initializers] == [TensorProto.FLOAT16, TensorProto.INT64]
