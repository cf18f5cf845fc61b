"""SentencePiece's byte-pair merging in plain Python, straight from a GGUF file.

Independent of the `tokenizers` library: neighbouring pieces are joined one pair at a time, the pair whose joint piece
scores best first and of equal ones the leftmost; what has no piece is written in bytes.
"""

import itertools
import re
from pathlib import Path

import gguf


class SentencePieceBpe:
    """One vocabulary."""

    def __init__(self, path: Path) -> None:
        fields = gguf.GGUFReader(path).fields

        def values(name: str) -> list[str]:
            return list(fields[f"tokenizer.ggml.{name}"].contents())

        tokens, scores, types = values("tokens"), values("scores"), values("token_type")
        self._ids = {token: index for index, token in enumerate(tokens)}
        self._scores = {token: float(scores[i]) for i, token in enumerate(tokens) if int(types[i]) == 1}
        whole = [re.escape(token) for token, kind in zip(tokens, types, strict=True) if int(kind) in (3, 4)]
        self._whole = re.compile("(" + "|".join(sorted(whole, key=len, reverse=True)) + ")")
        self._prefix = bool(fields["tokenizer.ggml.add_space_prefix"].contents())

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, without a begin marker."""
        ids: list[int] = []
        for index, part in enumerate(self._whole.split(text)):
            if index % 2:
                ids.append(self._ids[part])
            elif part:
                ids += self._merge((" " if self._prefix else "") + part)
        return ids

    def _merge(self, text: str) -> list[int]:
        parts = list(text.replace(" ", "\u2581"))
        while True:
            joined = [left + right for left, right in itertools.pairwise(parts)]
            known = [(-self._scores[piece], at) for at, piece in enumerate(joined) if piece in self._scores]
            if not known:
                break
            _, at = min(known)
            parts[at : at + 2] = [joined[at]]
        ids: list[int] = []
        for part in parts:
            if part in self._scores:
                ids.append(self._ids[part])
            else:
                ids += [self._ids[f"<0x{byte:02X}>"] for byte in part.encode()]
        return ids
