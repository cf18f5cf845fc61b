"""Building the files of a Hugging Face tokenizer from what a GGUF file says about its own.

Supported are byte-level BPE vocabularies (`tokenizer.ggml.model` = gpt2) with one of the known ways to cut text before
merging; the cuts are those of the models' own tokenizers. Token types are those of the GGUF specification.
"""

from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors

from inference.importers.gguf import GgufFile
from scheduler.errors import ImportRefused

_CONTROL, _USER_DEFINED = (
    3,
    4,
)  # GGUF token types: markers that are never shown, and whole words added by hand

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LLAMA3 = (
    _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def build_tokenizer(file: GgufFile) -> Tokenizer:
    """Build the tokenizer of a GGUF file. Raises ImportRefused for kinds that are not supported."""
    kind = file.value("tokenizer.ggml.model", str)
    if kind != "gpt2":
        raise ImportRefused(
            f"{file.path.name} has a tokenizer of kind {kind}; supported: gpt2 (byte-level BPE)"
        )
    tokens = _strings(file, "tokenizer.ggml.tokens")
    merges = [_pair(merge) for merge in _strings(file, "tokenizer.ggml.merges")]
    cut = file.value("tokenizer.ggml.pre", str, "default")
    vocabulary = {token: index for index, token in enumerate(tokens)}
    if len(vocabulary) != len(tokens):
        raise ImportRefused(f"{file.path.name} lists the same token twice")
    try:
        model = models.BPE(vocab=vocabulary, merges=merges, ignore_merges=cut == "llama-bpe")
    except Exception as error:
        raise ImportRefused(
            f"{file.path.name}: the vocabulary and its merges do not fit ({type(error).__name__})"
        )
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = _cutter(cut)
    tokenizer.decoder = decoders.ByteLevel()
    _add_markers(tokenizer, tokens, file.optional("tokenizer.ggml.token_type") or [])
    _add_begin(tokenizer, file, tokens)
    return tokenizer


def tokenizer_config(file: GgufFile, context: int) -> dict[str, Any]:
    """Return tokenizer_config.json: special tokens, context length and the chat template."""
    tokens = _strings(file, "tokenizer.ggml.tokens")
    config: dict[str, Any] = {
        "add_bos_token": file.value("tokenizer.ggml.add_bos_token", bool, False),
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": context,
        "tokenizer_class": "GPT2Tokenizer",
    }
    names = {"bos": "bos", "eos": "eos", "unknown": "unk", "padding": "pad"}
    for theirs, ours in names.items():
        index = file.optional(f"tokenizer.ggml.{theirs}_token_id")
        if index is not None and 0 <= index < len(tokens):
            config[f"{ours}_token"] = tokens[index]
    template = chat_template(file)
    if template is not None:
        config["chat_template"] = template
    return config


def chat_template(file: GgufFile) -> str | None:
    """Return the Jinja source that turns messages into a prompt, or None."""
    template = file.optional("tokenizer.chat_template")
    return template if isinstance(template, str) and template else None


def _cutter(name: str) -> pre_tokenizers.PreTokenizer:
    """Return what cuts text into pieces before merging, by the name llama.cpp gives it."""
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if name in ("default", "gpt-2"):
        return plain
    if name == "smollm":
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), plain])
    if name in ("llama-bpe", "llama3", "llama-v3"):
        cut = pre_tokenizers.Split(Regex(_LLAMA3), behavior="isolated")
        return pre_tokenizers.Sequence(
            [cut, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        )
    raise ImportRefused(f"the tokenizer cuts text the way of {name}; supported: gpt-2, smollm, llama-bpe")


def _add_markers(tokenizer: Tokenizer, tokens: list[str], types: list[int]) -> None:
    added = [
        AddedToken(token, normalized=False, special=kind == _CONTROL)
        for token, kind in zip(tokens, types, strict=False)
        if kind in (_CONTROL, _USER_DEFINED)
    ]
    tokenizer.add_special_tokens([token for token in added if token.special])
    tokenizer.add_tokens([token for token in added if not token.special])


def _add_begin(tokenizer: Tokenizer, file: GgufFile, tokens: list[str]) -> None:
    """Let the tokenizer begin every plain prompt with the begin marker, when the model wants that."""
    index = file.optional("tokenizer.ggml.bos_token_id")
    if index is not None and file.value("tokenizer.ggml.add_bos_token", bool, False):
        marker = tokens[index]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{marker} $A", special_tokens=[(marker, index)]
        )


def _strings(file: GgufFile, key: str) -> list[str]:
    values = file.optional(key)
    if not isinstance(values, list) or not values or not isinstance(values[0], str):
        raise ImportRefused(f"{file.path.name} has no list {key}")
    return values


def _pair(merge: str) -> tuple[str, str]:
    left, _, right = merge.partition(" ")
    return left, right
