"""Building a Hugging Face tokenizer from a SentencePiece vocabulary in a GGUF file (`tokenizer.ggml.model` = llama).

SentencePiece joins the two neighbouring pieces whose joint piece has the best score, again and again, and writes
bytes for what it has no piece for. The same comes out of byte-pair merging when every way to build a piece from two
others is a merge, ranked by the score of the piece ("SentencePiece", Kudo and Richardson, 2018).
"""

from collections.abc import Sequence
from typing import Final

from tokenizers import Tokenizer, decoders, models, normalizers

from inference.importers.gguf import GgufFile
from inference.importers.token_lists import BYTE, NORMAL, add_begin, add_markers, token_list, token_types
from scheduler.errors import ImportRefused

_SPACE: Final = "\u2581"  # what SentencePiece writes for a space


def build_sentencepiece(file: GgufFile) -> Tokenizer:
    """Build the tokenizer. Raises ImportRefused when scores or types are missing or do not fit."""
    tokens, types = token_list(file), token_types(file)
    scores = file.optional("tokenizer.ggml.scores")
    if not isinstance(scores, list) or len(scores) != len(tokens) or len(types) != len(tokens):
        raise ImportRefused(f"{file.path.name} has not one score and one type for each token")
    vocabulary = {token: index for index, token in enumerate(tokens)}
    unknown = file.value("tokenizer.ggml.unknown_token_id", int, 0)
    if not 0 <= unknown < len(tokens):
        raise ImportRefused(f"{file.path.name}: the unknown token {unknown} is not in the vocabulary")
    model = models.BPE(
        vocab=vocabulary,
        merges=_merges(tokens, scores, types),
        unk_token=tokens[unknown],
        fuse_unk=True,
        byte_fallback=BYTE in types,
    )
    tokenizer = Tokenizer(model)
    prefix = file.value("tokenizer.ggml.add_space_prefix", bool, True)
    spaces = normalizers.Replace(" ", _SPACE)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(_SPACE), spaces]) if prefix else spaces
    steps = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if prefix else steps)
    add_markers(tokenizer, tokens, types)
    add_begin(tokenizer, file, tokens, by_default=True)
    return tokenizer


def _merges(tokens: Sequence[str], scores: Sequence[float], types: Sequence[int]) -> list[tuple[str, str]]:
    """Return every way to build a piece from two, the best piece first and, of one piece, the earliest halves first."""
    pieces = {token: index for index, token in enumerate(tokens) if types[index] == NORMAL}
    merges: list[tuple[str, str]] = []
    for piece, _ in sorted(pieces.items(), key=lambda item: -scores[item[1]]):
        halves = [(piece[:at], piece[at:]) for at in range(1, len(piece))]
        ways = [pair for pair in halves if pair[0] in pieces and pair[1] in pieces]
        merges += sorted(ways, key=lambda pair: (pieces[pair[0]], pieces[pair[1]]))
    return merges
