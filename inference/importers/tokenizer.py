"""Building the files of a Hugging Face tokenizer from what a GGUF file says about its own.

Byte-level BPE (`tokenizer.ggml.model` = gpt2) is built here, with one of the known ways to cut text before merging;
the cuts are those of the models' own tokenizers. SentencePiece vocabularies (= llama) have a module of their own.
"""

from collections.abc import Callable
from typing import Any, Final

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from inference.importers.gguf import GgufFile
from inference.importers.sentencepiece import build_sentencepiece
from inference.importers.token_lists import (
    add_begin,
    add_markers,
    special_names,
    token_list,
    token_types,
)
from scheduler.errors import ImportRefused

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = (
    _CONTRACTIONS
    + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}DIGITS| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3: Final = ("llama-bpe", "llama3", "llama-v3", "smaug-bpe")
_QWEN2: Final = ("qwen2", "deepseek-r1-qwen")
_BEGIN_BY_DEFAULT: Final = ("llama-bpe", "llama3", "llama-v3")


def build_tokenizer(file: GgufFile) -> Tokenizer:
    """Build the tokenizer of a GGUF file. Raises ImportRefused for kinds that are not supported."""
    kind = file.value("tokenizer.ggml.model", str)
    if kind not in _BUILDERS:
        raise ImportRefused(
            f"{file.path.name} has a tokenizer of kind {kind}; supported: {', '.join(_BUILDERS)}"
        )
    tokens = token_list(file)
    if len(set(tokens)) != len(tokens):
        raise ImportRefused(f"{file.path.name} lists the same token twice")
    try:
        return _BUILDERS[kind](file)
    except ImportRefused:
        raise
    except Exception as error:  # tokenizers raises bare Exception
        raise ImportRefused(
            f"{file.path.name}: the vocabulary and its merges do not fit ({type(error).__name__})"
        )


def tokenizer_config(file: GgufFile, context: int) -> dict[str, Any]:
    """Return tokenizer_config.json: special tokens, context length and the chat template."""
    pieces = file.value("tokenizer.ggml.model", str) == "llama"
    config: dict[str, Any] = {
        "add_bos_token": file.value("tokenizer.ggml.add_bos_token", bool, _begins(file)),
        "add_prefix_space": pieces and file.value("tokenizer.ggml.add_space_prefix", bool, True),
        "clean_up_tokenization_spaces": False,
        "model_max_length": context,
        "tokenizer_class": "LlamaTokenizer" if pieces else "GPT2Tokenizer",
    }
    config |= special_names(file)
    template = chat_template(file)
    if template is not None:
        config["chat_template"] = template
    return config


def chat_template(file: GgufFile) -> str | None:
    """Return the Jinja source that turns messages into a prompt, or None."""
    template = file.optional("tokenizer.chat_template")
    return template if isinstance(template, str) and template else None


def _build_byte_level(file: GgufFile) -> Tokenizer:
    tokens = token_list(file)
    merges = [_pair(merge) for merge in token_list(file, "tokenizer.ggml.merges")]
    cut = file.value("tokenizer.ggml.pre", str, "default")
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=cut in _LLAMA3))
    if cut in _QWEN2:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = _cutter(cut)
    tokenizer.decoder = decoders.ByteLevel()
    add_markers(tokenizer, tokens, token_types(file))
    add_begin(tokenizer, file, tokens, by_default=_begins(file))
    return tokenizer


_BUILDERS: Final[dict[str, Callable[[GgufFile], Tokenizer]]] = {
    "gpt2": _build_byte_level,
    "llama": build_sentencepiece,
}


def _cutter(name: str) -> pre_tokenizers.PreTokenizer:
    """Return what cuts text into pieces before merging, by the name llama.cpp gives it."""
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if name in ("default", "gpt-2"):
        return plain
    if name == "smollm":
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), plain])
    if name in (*_LLAMA3, *_QWEN2):
        pattern = _WORDS.replace("DIGITS", "{1,3}" if name in _LLAMA3 else "")
        cut = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
        return pre_tokenizers.Sequence(
            [cut, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        )
    raise ImportRefused(
        f"the tokenizer cuts text the way of {name}; supported: gpt-2, smollm, "
        f"{', '.join((*_LLAMA3, *_QWEN2))}"
    )


def _begins(file: GgufFile) -> bool:
    """Tell whether prompts begin with a marker when the file does not say: llama.cpp's defaults."""
    if file.value("tokenizer.ggml.model", str) == "llama":
        return True
    return file.value("tokenizer.ggml.pre", str, "default") in _BEGIN_BY_DEFAULT


def _pair(merge: str) -> tuple[str, str]:
    left, _, right = merge.partition(" ")
    return left, right
