"""Hugging Face folders: what is taken over, and what is refused with which sentence."""

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnxruntime
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from inference.importers import import_model
from inference.importers.safetensors_folder import SafetensorsFolder
from inference.importers.safetensors_source import SafetensorsSource
from scheduler.errors import ImportRefused
from tests.reference.tiny_decoders import tiny_config, tiny_weights, write_folder


def quiet(sentence: str) -> None:
    """Say nothing."""


def folder_of(path: Path, family: str = "llama", **settings: Any) -> Path:
    """Write a model; `settings` replace those of its config.json."""
    config = tiny_config(family)
    return write_folder(path, config | settings, tiny_weights(config))


@pytest.mark.parametrize("family", ["llama tied", "qwen2", "gemma3"])
@pytest.mark.parametrize("quantization", ["int4", "none"])
def test_a_folder_becomes_what_onnxruntime_genai_expects(
    tmp_path: Path, family: str, quantization: Any
) -> None:
    source = folder_of(tmp_path / "m", family)
    out = import_model(source, tmp_path / "out", quantization=quantization, report=quiet)
    names = {"genai_config.json", "model.onnx", "tokenizer.json", "tokenizer_config.json"}
    assert {path.name for path in out.iterdir()} - {"wide.onnx"} == names
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (out / name).read_bytes() == (source / name).read_bytes()
    config = json.loads((out / "genai_config.json").read_bytes())["model"]
    assert config["type"] == {"llama tied": "llama", "qwen2": "qwen2", "gemma3": "gemma3_text"}[family]
    assert config["eos_token_id"] == [2, 0]
    for graph in out.glob("*.onnx"):
        onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])


def test_the_file_stands_for_its_folder(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "m") / "model.safetensors"
    out = import_model(source, tmp_path / "out", quantization="none", report=quiet)
    assert Tokenizer.from_file(str(out / "tokenizer.json")).encode("he").ids


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_halves_and_doubles_are_read_as_their_values(tmp_path: Path, dtype: Any) -> None:
    config = tiny_config("llama")
    weights = tiny_weights(config)
    folder = SafetensorsFolder(write_folder(tmp_path / "m", config, weights, dtype=dtype))
    name = "model.layers.0.mlp.up_proj.weight"
    expected = weights[name].astype(dtype).astype(np.float32)
    np.testing.assert_array_equal(folder.tensor(name, (96, 64)), expected)


def test_an_older_chat_template_file_is_taken_over(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "m")
    (source / "chat_template.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    (tmp_path / "out").mkdir()
    SafetensorsSource(source).write_tokenizer(tmp_path / "out")
    assert (tmp_path / "out" / "chat_template.jinja").read_text() == "{{ messages }}"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"architectures": ["MambaForCausalLM"]},
            "architecture MambaForCausalLM; supported: LlamaForCausalLM",
        ),
        ({"architectures": [{}]}, "supported: LlamaForCausalLM"),
        ({"architectures": None}, "architecture none"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantised weights"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "stretches positions by yarn"),
        ({"hidden_act": "relu"}, "activation relu"),
        ({"partial_rotary_factor": 0.5}, "only a part of each head"),
        ({"final_logit_softcapping": 30.0}, "caps its logits"),
        ({"num_hidden_layers": 10**9}, "layers is 1000000000"),
        ({"max_position_embeddings": 10**12}, "context is 1000000000000"),
        ({"hidden_size": "wide"}, "hidden_size is 'wide'"),
        ({"hidden_size": None}, "hidden_size is None"),
        ({"num_key_value_heads": 3}, "4 heads cannot share 3"),
        ({"head_dim": 12}, "multiples of 8"),
        ({"rms_norm_eps": -1}, "rms_norm_eps is -1"),
        ({"intermediate_size": 100}, "has shape"),
        ({"num_hidden_layers": 3}, "has no tensor model.layers.2"),
        ({"attention_bias": True}, "has no tensor model.layers.0.self_attn.q_proj.bias"),
    ],
)
def test_settings_that_are_not_supported_are_refused_by_name(
    tmp_path: Path, settings: dict[str, Any], sentence: str
) -> None:
    source = folder_of(tmp_path / "m", **settings)
    with pytest.raises(ImportRefused, match=sentence):
        import_model(source, tmp_path / "out", quantization="none", report=quiet)
    assert not (tmp_path / "out").exists()


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "m")
    (source / "model.safetensors").rename(source / "pytorch_model.bin")
    with pytest.raises(ImportRefused, match=r"pytorch_model.bin, a format that can run code"):
        SafetensorsFolder(source)


def test_nothing_outside_the_folder_is_opened(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "m")
    secret = tmp_path / "secret.safetensors"
    (source / "model.safetensors").rename(secret)
    (source / "model.safetensors").symlink_to(secret)
    with pytest.raises(ImportRefused, match=r"model.safetensors leads out of the folder"):
        SafetensorsFolder(source)
    (source / "model.safetensors").unlink()
    for name in ("../secret.safetensors", str(secret)):
        (source / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": name}}))
        with pytest.raises(ImportRefused, match="leads out of the folder"):
            SafetensorsFolder(source)


@pytest.mark.parametrize(
    ("index", "sentence"),
    [
        ({"weight_map": {"x": "model.safetensors"}}, "has no tensor x"),
        ({"weight_map": {"x": "other.safetensors"}}, "has no file other.safetensors"),
        ({"weight_map": {"x": "model.bin"}}, "not a safetensors file"),
        ({"weight_map": {"x": 3}}, "not a safetensors file"),
        ({}, "has no weight_map"),
        ([], "not a JSON object"),
    ],
)
def test_an_index_that_does_not_fit_is_refused(tmp_path: Path, index: Any, sentence: str) -> None:
    source = folder_of(tmp_path / "m")
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ImportRefused, match=sentence):
        SafetensorsFolder(source)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "m")
    whole = (source / "model.safetensors").read_bytes()
    for content in (b"", b"\x00" * 8, b"\xff" * 64, whole[:100], whole[: len(whole) // 2]):
        (source / "model.safetensors").write_bytes(content)
        with pytest.raises(ImportRefused, match="damaged or truncated"):
            SafetensorsFolder(source)
    (source / "config.json").write_text("{")
    with pytest.raises(ImportRefused, match="is not JSON"):
        SafetensorsSource(source)


def test_numbers_that_are_no_floats_are_refused(tmp_path: Path) -> None:
    save_file({"x": np.zeros((2, 2), np.int8)}, tmp_path / "model.safetensors")
    with pytest.raises(ImportRefused, match="tensor x has the type I8"):
        SafetensorsFolder(tmp_path).tensor("x", (2, 2))


@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "cannot be used"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "has no file tokenizer.json"),
        (
            lambda folder: (folder / "tokenizer.json").rename(folder / "tokenizer.model"),
            "has a tokenizer.model only",
        ),
        (lambda folder: (folder / "config.json").unlink(), "has no file config.json"),
    ],
)
def test_a_folder_without_what_it_needs_is_refused(tmp_path: Path, break_it: Any, sentence: str) -> None:
    source = folder_of(tmp_path / "m")
    break_it(source)
    with pytest.raises(ImportRefused, match=sentence):
        SafetensorsSource(source)


def test_a_model_that_never_ends_is_refused(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "m", eos_token_id=None)
    (source / "generation_config.json").unlink()
    (source / "tokenizer_config.json").unlink()
    with pytest.raises(ImportRefused, match="which token ends an answer"):
        SafetensorsSource(source)


def test_settings_of_the_newer_form_mean_the_same(tmp_path: Path) -> None:
    old = folder_of(tmp_path / "old", "gemma3 stretched")
    config = tiny_config("gemma3 stretched")
    scaling = config.pop("rope_scaling")
    del config["rope_local_base_freq"], config["sliding_window_pattern"]
    config |= {
        "rope_theta": 1.0,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
        "rope_parameters": {
            "full_attention": scaling | {"rope_theta": 1_000_000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
        },
    }
    new = write_folder(tmp_path / "new", config, tiny_weights(config))
    assert SafetensorsSource(new).shape == SafetensorsSource(old).shape
