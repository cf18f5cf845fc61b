"""From token ids to text, piece by piece, without ever showing half a character.

A token can end in the middle of a UTF-8 character, and the text of a token can depend on the one before it (leading
spaces). So a short window of tokens is decoded with and without the newest; their difference is the new text, shown
once it does not end in the replacement character that stands for unfinished bytes.
"""

from tokenizers import Tokenizer

_UNFINISHED = "\ufffd"


class StreamingDetokenizer:
    """Turns the tokens of one answer into text. Special tokens (end markers) have no text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._window: list[int] = []
        self._shown_ids = 0
        self._shown_text = ""

    def feed(self, token: int) -> str:
        """Take the next token; return the text that is now complete, often but not always that of this token."""
        self._window.append(token)
        text = self._decode(self._window)
        if text.endswith(_UNFINISHED) or len(text) <= len(self._shown_text):
            return ""
        return self._advance(text)

    def flush(self) -> str:
        """Return what is left at the end; bytes of a character that was never finished are dropped."""
        text = self._decode(self._window).rstrip(_UNFINISHED)
        return self._advance(text) if len(text) > len(self._shown_text) else ""

    def _advance(self, text: str) -> str:
        """Show `text` beyond what was shown, and keep only the newest tokens as context of the next."""
        new = text[len(self._shown_text) :]
        self._window = self._window[self._shown_ids :]
        self._shown_ids = len(self._window)
        self._shown_text = self._decode(self._window)
        return new

    def _decode(self, tokens: list[int]) -> str:
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=True)
        return text
