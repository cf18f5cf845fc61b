"""Byte-level BPE in plain Python, the way of SmolLM2, straight from a GGUF file.

Independent of the `tokenizers` library: it cuts text by hand (contractions, letters, single digits, other signs,
spaces; after GPT-2's published pattern) and applies merges one by one in order of rank.
"""

import itertools
import unicodedata
from pathlib import Path

import gguf

from tests.reference.tiny_llama import byte_alphabet

_CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")


class ByteLevelBpe:
    """One vocabulary with its merges. Knows no special tokens."""

    def __init__(self, path: Path) -> None:
        fields = gguf.GGUFReader(path).fields
        self._ids = {token: index for index, token in enumerate(fields["tokenizer.ggml.tokens"].contents())}
        merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()]
        self._ranks = {merge: rank for rank, merge in enumerate(merges)}
        self._alphabet = byte_alphabet()

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text."""
        return [self._ids[part] for piece in _cut(text) for part in self._merge(piece)]

    def _merge(self, piece: str) -> list[str]:
        parts = [self._alphabet[byte] for byte in piece.encode()]
        while len(parts) > 1:
            ranks = [self._ranks.get(pair, len(self._ranks)) for pair in itertools.pairwise(parts)]
            at = ranks.index(min(ranks))
            if ranks[at] == len(self._ranks):
                break
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        return parts


def _kind(character: str) -> str:
    category = unicodedata.category(character)[0]
    if character.isspace():
        return "space"
    return {"L": "letter", "N": "digit"}.get(category, "other")


def _cut(text: str) -> list[str]:
    """Cut a text at digits first, each of which stands alone, and the rest by GPT-2's pattern."""
    pieces: list[str] = []
    run = ""
    for character in text:
        if _kind(character) == "digit":
            pieces += [*_cut_run(run), character]
            run = ""
        else:
            run += character
    return [*pieces, *_cut_run(run)]


def _cut_run(text: str) -> list[str]:
    pieces: list[str] = []
    at = 0
    while at < len(text):
        end = next((at + len(word) for word in _CONTRACTIONS if text.startswith(word, at)), 0)
        if not end:
            start = (
                at + 1 if text[at] == " " and at + 1 < len(text) and _kind(text[at + 1]) != "space" else at
            )
            end = start + 1
            while end < len(text) and _kind(text[end]) == _kind(text[start]):
                end += 1
            # Of several spaces before something else the last one belongs to what follows.
            if _kind(text[start]) == "space" and end < len(text) and end - start > 1:
                end -= 1
        pieces.append(text[at:end])
        at = end
    return pieces
