"""Tokenizers that are built from GGUF metadata, against plain ones."""

import json
from pathlib import Path
from typing import Any

import gguf
import pytest

from inference.importers.gguf import GgufFile
from inference.importers.token_lists import end_tokens
from inference.importers.tokenizer import build_tokenizer, tokenizer_config
from scheduler.errors import ImportRefused
from tests.reference.sentencepiece_bpe import SentencePieceBpe
from tests.reference.tiny_llama import write_tiny_llama

TEXT = "the rain in the north and then in the other valley, again and again on the water"
MARKERS = ("<pad>", "<eos>", "<bos>", "<unk>", "<end_of_turn>")
ADDED = ("\n\n", "  ", "</s>")


def write_vocabulary(path: Path, *, prefix: bool, **replaced: Any) -> Path:
    """Write a file with a SentencePiece vocabulary of every letter of TEXT and its parts of 2 to 5 letters."""
    letters = sorted(set(TEXT.replace(" ", "\u2581")) | set("xyz"))
    source = "\u2581" + TEXT.replace(" ", "\u2581")
    pieces = {source[at : at + size]: None for size in range(2, 6) for at in range(len(source) - size)}
    # Often used parts first, as training gives them; a name breaks ties so that scores differ.
    ranked = sorted(pieces, key=lambda piece: (-source.count(piece), len(piece), piece))
    tokens = [*MARKERS, *ADDED, *(f"<0x{byte:02X}>" for byte in range(256)), *ranked, *letters]
    sizes = [(len(MARKERS), 3), (len(ADDED), 4), (256, 6), (len(ranked) + len(letters), 1)]
    values: dict[str, Any] = {
        "tokens": tokens,
        "types": [kind for count, kind in sizes for _ in range(count)],
        "scores": [0.0] * (len(MARKERS) + len(ADDED) + 256)
        + [-float(rank) for rank in range(len(ranked) + len(letters))],
    } | replaced
    writer = gguf.GGUFWriter(path, "gemma3")
    writer.add_tokenizer_model("llama")
    writer.add_token_list(values["tokens"])
    writer.add_token_types(values["types"])
    writer.add_token_scores(values["scores"])
    writer.add_bos_token_id(2)
    writer.add_eos_token_id(1)
    writer.add_unk_token_id(values.get("unknown", 3))
    writer.add_add_space_prefix(prefix)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("prefix", [True, False])
@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        "water again,  and\n\nagain",
        "tout là-bas 東京 🙂 xyz",
        "a<end_of_turn>the rain",
        " ",
        "nananana thethe inin",
    ],
)
def test_sentencepiece_tokens_are_those_of_an_independent_tokenizer(
    tmp_path: Path, text: str, prefix: bool
) -> None:
    path = write_vocabulary(tmp_path / "m.gguf", prefix=prefix)
    tokenizer = build_tokenizer(GgufFile(path))
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert ids == SentencePieceBpe(path).encode(text)
    # A prefix after every added word, as these models have it, does not come off again.
    if "<" not in text and not (prefix and "\n\n" in text):
        assert tokenizer.decode(ids) == text
    assert tokenizer.encode(text).ids == [2, *ids]


def test_an_answer_ends_at_control_tokens_and_not_at_words_that_look_like_them(tmp_path: Path) -> None:
    file = GgufFile(write_vocabulary(tmp_path / "m.gguf", prefix=False))
    assert end_tokens(file) == (1, 4)
    config = tokenizer_config(file, 64)
    assert (config["tokenizer_class"], config["add_bos_token"]) == ("LlamaTokenizer", True)
    assert (config["bos_token"], config["eos_token"]) == ("<bos>", "<eos>")


@pytest.mark.parametrize(
    ("replaced", "sentence"),
    [
        ({"scores": [0.0]}, "not one score and one type for each token"),
        ({"types": [1, 1]}, "not one score and one type for each token"),
        ({"unknown": 1 << 20}, "unknown token 1048576 is not in the vocabulary"),
        ({"tokens": ["a", "a"]}, "lists the same token twice"),
    ],
)
def test_a_vocabulary_that_does_not_fit_is_refused(
    tmp_path: Path, replaced: dict[str, Any], sentence: str
) -> None:
    file = GgufFile(write_vocabulary(tmp_path / "m.gguf", prefix=True, **replaced))
    with pytest.raises(ImportRefused, match=sentence):
        build_tokenizer(file)


@pytest.mark.parametrize(
    ("cut", "pieces"),
    [
        ("llama-bpe", ["Ġthe", "Ġ", "123", "45", "'ll", "!!\u010a"]),
        ("qwen2", ["Ġthe", "Ġ", "1", "2", "3", "4", "5", "'ll", "!!\u010a"]),
        ("smollm", ["Ġthe", "Ġ", "1", "2", "3", "4", "5", "'ll", "!!", "\u010a"]),
    ],
)
def test_text_is_cut_the_way_of_the_model(tmp_path: Path, cut: str, pieces: list[str]) -> None:
    file = GgufFile(write_tiny_llama(tmp_path / "m.gguf", cut=cut))
    cutter = build_tokenizer(file).pre_tokenizer
    assert [piece for piece, _ in cutter.pre_tokenize_str(" the 12345'll!!\n")] == pieces


def test_decomposed_letters_are_composed_only_where_the_model_does(tmp_path: Path) -> None:
    for cut, same in (("qwen2", True), ("llama-bpe", False)):
        tokenizer = build_tokenizer(GgufFile(write_tiny_llama(tmp_path / f"{cut}.gguf", cut=cut)))
        composed, decomposed = tokenizer.encode("\u00e9").ids, tokenizer.encode("e\u0301").ids
        assert (composed == decomposed) is same
        begins = json.loads(tokenizer.to_str())["post_processor"] is not None
        assert begins is (cut == "llama-bpe")
