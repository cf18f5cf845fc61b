from pathlib import Path

import numpy as np
import onnx
import pytest
from tokenizers import Tokenizer

from inference.importers import import_model
from inference.importers.quantize import dequantize, quantize4, quantize8
from scheduler.errors import ImportRefused
from tests.reference.byte_level_bpe import ByteLevelBpe
from tests.reference.tiny_llama import write_tiny_llama


def quiet(sentence: str) -> None:
    """Say nothing."""


def test_the_folder_has_what_onnxruntime_genai_expects(tmp_path: Path) -> None:
    said: list[str] = []
    out = import_model(write_tiny_llama(tmp_path / "m.gguf"), tmp_path / "out", report=said.append)
    assert sorted(path.name for path in out.iterdir()) == [
        "chat_template.jinja",
        "genai_config.json",
        "model.onnx",
        "tokenizer.json",
        "tokenizer_config.json",
        "wide.onnx",
    ]
    model = onnx.load(out / "model.onnx")
    assert [node.name for node in model.graph.input][:3] == [
        "input_ids",
        "attention_mask",
        "past_key_values.0.key",
    ]
    assert [node.name for node in model.graph.output][:2] == ["logits", "present.0.key"]
    assert {node.op_type for node in model.graph.node} >= {"MatMulNBits", "GroupQueryAttention"}
    assert len(said) == 2


@pytest.mark.parametrize("tied", [True, False])
def test_importing_again_replaces_the_folder(tmp_path: Path, tied: bool) -> None:
    source = write_tiny_llama(tmp_path / "m.gguf", tied=tied)
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").write_text("old")
    import_model(source, out, report=quiet)
    assert not (out / "old").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.gguf", "out"]


@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        ({"tokenizer": "t5"}, "tokenizer of kind t5; supported: gpt2, llama"),
        ({"cut": "martian"}, "the way of martian"),
        ({"architecture": "gemma"}, "architecture gemma; supported: llama"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(
    tmp_path: Path, metadata: dict[str, str], sentence: str
) -> None:
    source = write_tiny_llama(tmp_path / "m.gguf", **metadata)  # type: ignore[arg-type]
    with pytest.raises(ImportRefused, match=sentence):
        import_model(source, tmp_path / "out", report=quiet)
    assert not (tmp_path / "out").exists()


def test_files_that_are_no_gguf_are_refused(tmp_path: Path) -> None:
    whole = write_tiny_llama(tmp_path / "m.gguf").read_bytes()
    for name, content in {
        "empty": b"",
        "text": b"hello there",
        "short": whole[:900],
        "cut": whole[: len(whole) // 2],
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImportRefused, match=name):
            import_model(tmp_path / name, tmp_path / "out", report=quiet)
    with pytest.raises(ImportRefused, match="cannot be read"):
        import_model(tmp_path / "nothing", tmp_path / "out", report=quiet)


def test_tokens_are_those_of_an_independent_tokenizer(tmp_path: Path) -> None:
    source = write_tiny_llama(tmp_path / "m.gguf")
    tokenizer = Tokenizer.from_file(
        str(import_model(source, tmp_path / "out", report=quiet) / "tokenizer.json")
    )
    text = "the rain  on 12 the\n\n hen's än 東京 🙂"
    assert tokenizer.encode(text).ids == ByteLevelBpe(source).encode(text)
    assert tokenizer.encode("a<|im_end|>").ids[-1] == 2
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_four_bits_come_close_and_a_grid_they_can_hold_comes_back() -> None:
    random = np.random.default_rng(0)
    weights = random.normal(0, 1, (7, 96)).astype(np.float32)
    error = dequantize(quantize4(weights)) - weights
    assert np.sqrt((error**2).mean()) < 0.09
    steps = random.integers(0, 16, (5, 96))
    steps[:, ::32], steps[:, 1::32] = 0, 15
    grid = ((steps - 6) * np.float32(0.25)).astype(np.float32)
    np.testing.assert_allclose(dequantize(quantize4(grid)), grid, atol=1e-6)
    assert not dequantize(quantize4(np.zeros((2, 64), np.float32))).any()


def test_eight_bits_keep_what_a_q8_0_file_holds() -> None:
    random = np.random.default_rng(0)
    levels = random.integers(-127, 128, (4, 64))
    levels[:, ::32] = 127
    weights = (levels * np.float32(0.0123)).astype(np.float32)
    np.testing.assert_allclose(dequantize(quantize8(weights)), weights, rtol=1e-6)
