"""GGUF files: every type of tensor, shards, and bytes that are not what they say."""

import struct
import zlib
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from inference.importers.gguf import GgufFile
from inference.importers.gguf_container import GgufContainer
from inference.importers.gguf_source import GgufSource
from scheduler.errors import ImportRefused
from tests.reference.tiny_decoders import tiny_config, tiny_weights, write_gguf
from tests.reference.tiny_llama import write_tiny_llama

KINDS = (
    "F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS IQ3_S IQ2_XXS TQ1_0 MXFP4"
).split()


def write_raw(path: Path, kind: gguf.GGMLQuantizationType, rows: int = 3, columns: int = 512) -> Any:
    """Write a file with one tensor `x` of arbitrary small bytes; return the bytes as (rows, …)."""
    random = np.random.default_rng(zlib.crc32(kind.name.encode()))
    block, size = gguf.GGML_QUANT_SIZES[kind]
    stored = random.integers(0, 60, (rows, columns // block * size)).astype(np.uint8)
    writer = gguf.GGUFWriter(path, "llama")
    plain = {"F32": np.float32, "F16": np.float16}.get(kind.name)
    writer.add_tensor("x", stored if plain is None else stored.view(plain), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return stored if plain is None else stored.view(plain)


@pytest.mark.parametrize("name", KINDS)
def test_every_common_type_is_decoded(tmp_path: Path, name: str) -> None:
    kind = gguf.GGMLQuantizationType[name]
    stored = write_raw(tmp_path / "m.gguf", kind)
    found = GgufFile(tmp_path / "m.gguf").tensor("x", (3, 512))
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, gguf.dequantize(stored, kind).astype(np.float32))


@pytest.mark.parametrize(("number", "called"), [(24, "I8"), (34_567, "number 34567")])
def test_a_type_that_nobody_decodes_is_named(tmp_path: Path, number: int, called: str) -> None:
    path = tmp_path / "m.gguf"
    write_raw(path, gguf.GGMLQuantizationType.F32)
    content = path.read_bytes()
    place = content.index(struct.pack("<QQ", 512, 3)) + 16
    path.write_bytes(content[:place] + struct.pack("<I", number) + content[place + 4 :])
    with pytest.raises(ImportRefused, match=f"tensor x has the type {called}, not supported"):
        GgufFile(path).tensor("x", (3, 512))


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "BF16"])
def test_a_quantised_model_is_read_as_the_values_it_stands_for(tmp_path: Path, kind: str) -> None:
    config = tiny_config("qwen2")
    weights = tiny_weights(config)
    which = gguf.GGMLQuantizationType[kind]
    source = GgufSource(write_gguf(tmp_path / "m.gguf", config, weights, kind=which))
    rows = weights["model.layers.1.mlp.down_proj.weight"]
    expected = gguf.dequantize(gguf.quantize(rows, which), which)
    np.testing.assert_array_equal(source.weights().layer(1).down, expected)


def test_shards_are_read_as_one_model_whichever_is_named(tmp_path: Path) -> None:
    config = tiny_config("llama")
    weights = tiny_weights(config)
    whole = GgufSource(write_gguf(tmp_path / "whole.gguf", config, weights)).weights()
    write_gguf(tmp_path / "m.gguf", config, weights, shard_tensors=7)
    shards = sorted(tmp_path.glob("m-*.gguf"))
    assert len(shards) == 3
    for shard in (shards[0], shards[-1]):
        parts = GgufSource(shard).weights()
        for layer in range(2):
            np.testing.assert_array_equal(parts.layer(layer).qkv, whole.layer(layer).qkv)
    shards[1].unlink()
    with pytest.raises(ImportRefused, match=r"m-00002-of-00003.gguf is not beside it"):
        GgufSource(shards[0])
    shards[0].rename(tmp_path / "alone.gguf")
    with pytest.raises(ImportRefused, match="is one of 3 shards"):
        GgufSource(tmp_path / "alone.gguf")


def test_metadata_are_what_the_package_of_the_format_reads(tmp_path: Path) -> None:
    path = write_tiny_llama(tmp_path / "m.gguf")
    found = GgufContainer(path).values
    fields = gguf.GGUFReader(path).fields
    expected = {key: field.contents() for key, field in fields.items() if not key.startswith("GGUF.")}
    assert found == expected


def test_damage_is_refused_whatever_it_hits(tmp_path: Path) -> None:
    whole = write_tiny_llama(tmp_path / "m.gguf", layers=1).read_bytes()
    path = tmp_path / "damaged.gguf"
    random = np.random.default_rng(0)
    header = whole.index(b"blk.0.ffn_down") + 80
    refused = 0
    for _ in range(150):
        content = bytearray(whole)
        for at in random.integers(4, header, 3):
            content[at] = random.choice([0, 1, 0x7F, 0xFF])
        path.write_bytes(content)
        try:
            GgufContainer(path)
        except ImportRefused:
            refused += 1
    assert refused > 20
    for size in (5, 24, 100, header, len(whole) - 4):
        path.write_bytes(whole[:size])
        with pytest.raises(ImportRefused, match="damaged or truncated"):
            GgufContainer(path)


@pytest.mark.parametrize(
    ("family", "change", "sentence"),
    [
        ("llama", {"expert_count": 8}, "mixture of experts"),
        ("llama", {"rope.scaling.type": "yarn"}, "stretches positions by yarn"),
        ("llama", {"rope.dimension_count": 16}, "supported: whole heads"),
        ("gemma3", {"final_logit_softcapping": 30.0}, "caps its logits"),
        ("llama", {"block_count": 1 << 30}, "layers is 1073741824"),
        ("llama", {"attention.head_count_kv": 3}, "do not fit"),
        ("gemma3", {"attention.sliding_window": 0}, "no size of the window"),
        ("llama", {"context_length": "long"}, "context_length is a str, expected int"),
    ],
)
def test_metadata_that_are_not_supported_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, change: dict[str, Any], sentence: str
) -> None:
    config = tiny_config(family)
    path = write_gguf(tmp_path / "m.gguf", config, tiny_weights(config))
    container = GgufContainer(path)
    container.values |= {f"{family}.{key}": value for key, value in change.items()}
    monkeypatch.setattr("inference.importers.gguf.GgufContainer", lambda path: container)
    with pytest.raises(ImportRefused, match=sentence):
        GgufSource(path)
