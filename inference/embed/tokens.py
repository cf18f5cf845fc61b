"""From texts to tokens, cut at the model's length. Texts never go into an error."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from scheduler.errors import ModelUnusable

TOKENIZER: Final = "tokenizer.json"
_CHARACTERS_A_TOKEN: Final = 64
"""A beginning of so many characters for each token that is read has enough of them, but for odd texts."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """One text as the model reads it."""

    ids: NDArray[np.int64]
    """(tokens,), those that mark its beginning and end included."""
    truncated: bool
    """Whether there was more."""


class Tokenizing:
    """Reads texts for one model."""

    def __init__(self, folder: Path, max_length: int, *, lowercase: bool = False) -> None:
        """Open the tokenizer of a model folder. Raises ModelUnusable."""
        path = folder / TOKENIZER
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
            self._tokenizer.no_padding()
            self._tokenizer.enable_truncation(max_length)
        except Exception as error:  # tokenizers raises bare Exception
            raise ModelUnusable(f"{path} cannot be used: {error}")
        self._lowercase = lowercase
        # Where words are told apart before anything else, the tokens of a beginning are the beginning of the tokens.
        words_first = isinstance(self._tokenizer.pre_tokenizer, BertPreTokenizer)
        self._beginning = max_length * _CHARACTERS_A_TOKEN if words_first else 0
        markers = len(self._encode(""))
        if markers >= max_length:
            raise ModelUnusable(
                f"{path} marks a text with {markers} tokens, and the model reads {max_length}"
            )

    def read(self, text: str) -> Tokens:
        """Return the tokens of a text. Of a long one only as much is tokenised as the model reads."""
        if self._lowercase:
            text = text.lower()
        if 0 < self._beginning < len(text):
            end = text.rfind(" ", 0, self._beginning)
            if end > 0:
                beginning = self._tokens(text[:end])
                if beginning.truncated:
                    return beginning
        return self._tokens(text)

    def _tokens(self, text: str) -> Tokens:
        encoding = self._encode(text)
        return Tokens(np.array(encoding.ids, np.int64), bool(encoding.overflowing))

    def _encode(self, text: str) -> Encoding:
        # The form for several texts keeps no places of tokens in the text, which takes a fifth of the time.
        [encoding] = self._tokenizer.encode_batch_fast([text])
        return encoding
