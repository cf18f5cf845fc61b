"""What the two kinds of GGUF tokenizers have in common: the list of tokens, their types, and the special ones.

Token types are those of the GGUF specification.
"""

from collections.abc import Sequence
from typing import Any, Final

from tokenizers import AddedToken, Tokenizer, processors

from inference.importers.gguf import GgufFile
from scheduler.errors import ImportRefused

NORMAL: Final = 1
CONTROL: Final = 3
"""A marker that is never shown."""
USER_DEFINED: Final = 4
"""A word added by hand, found in text before anything else."""
BYTE: Final = 6

_END_MARKERS: Final = (
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|end_of_text|>",
    "<end_of_turn>",
    "</s>",
)


def token_list(file: GgufFile, key: str = "tokenizer.ggml.tokens") -> list[str]:
    """Return a list of strings. Raises ImportRefused when it is missing, or tokens repeat."""
    values = file.optional(key)
    if not isinstance(values, list) or not values or not isinstance(values[0], str):
        raise ImportRefused(f"{file.path.name} has no list {key}")
    return values


def token_types(file: GgufFile) -> list[int]:
    """Return the type of each token, or nothing where the file does not tell."""
    types = file.optional("tokenizer.ggml.token_type")
    return types if isinstance(types, list) else []


def add_markers(tokenizer: Tokenizer, tokens: Sequence[str], types: Sequence[int]) -> None:
    """Let the tokenizer find control tokens and user-defined ones in text before it cuts the rest."""
    added = [
        AddedToken(token, normalized=False, special=kind == CONTROL)
        for token, kind in zip(tokens, types, strict=False)
        if kind in (CONTROL, USER_DEFINED)
    ]
    tokenizer.add_special_tokens([token for token in added if token.special])
    tokenizer.add_tokens([token for token in added if not token.special])


def add_begin(tokenizer: Tokenizer, file: GgufFile, tokens: Sequence[str], *, by_default: bool) -> None:
    """Let the tokenizer begin every plain prompt with the begin marker, when the model wants that."""
    index = file.optional("tokenizer.ggml.bos_token_id")
    if index is not None and file.value("tokenizer.ggml.add_bos_token", bool, by_default):
        if not 0 <= index < len(tokens):
            raise ImportRefused(f"{file.path.name}: the begin token {index} is not in the vocabulary")
        marker = tokens[index]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{marker} $A", special_tokens=[(marker, index)]
        )


def end_tokens(file: GgufFile) -> tuple[int, ...]:
    """Return the ids that end an answer: the declared one first, then the usual markers the vocabulary has."""
    tokens, types = token_list(file), token_types(file)
    known = {token: index for index, token in enumerate(tokens)}
    ends = [file.value("tokenizer.ggml.eos_token_id", int), file.optional("tokenizer.ggml.eot_token_id")]
    found = [known[marker] for marker in _END_MARKERS if marker in known]
    # A vocabulary can hold such words as text, as Gemma's holds those of HTML.
    ends += [index for index in found if index >= len(types) or types[index] == CONTROL]
    return tuple(dict.fromkeys(index for index in ends if index is not None))


def special_names(file: GgufFile) -> dict[str, Any]:
    """Return the special tokens under the names that tokenizer_config.json has for them."""
    tokens = token_list(file)
    names = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}
    found = {ours: file.optional(f"tokenizer.ggml.{theirs}_token_id") for theirs, ours in names.items()}
    return {name: tokens[i] for name, i in found.items() if i is not None and 0 <= i < len(tokens)}
