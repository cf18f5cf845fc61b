import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from inference.generate.detokenize import StreamingDetokenizer
from tests.reference.tiny_llama import byte_alphabet


def byte_tokenizer() -> Tokenizer:
    """One token per byte: every character of several bytes is cut."""
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(byte_alphabet())}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<end>"])
    return tokenizer


TOKENIZER = byte_tokenizer()


def pieces(tokens: list[int]) -> list[str]:
    detokenizer = StreamingDetokenizer(TOKENIZER)
    return [*map(detokenizer.feed, tokens), detokenizer.flush()]


def test_a_character_of_four_bytes_appears_with_its_last() -> None:
    assert pieces(list("a🙂b".encode())) == ["a", "", "", "", "🙂", "b", ""]


def test_bytes_of_a_character_that_is_never_finished_are_dropped() -> None:
    assert "".join(pieces([*b"ok", *"🙂".encode()[:3]])) == "ok"


def test_bytes_that_cannot_be_utf8_become_one_sign_once_something_follows() -> None:
    assert "".join(pieces([*b"a", 0xFF, *b"b"])) == "a\ufffdb"


def test_special_tokens_have_no_text() -> None:
    end = 256
    assert "".join(pieces([*b"a", end, *b"b", end])) == "ab"


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd"), max_size=40))
def test_the_pieces_of_any_text_are_the_text(text: str) -> None:
    assert "".join(pieces(list(text.encode()))) == text


@given(st.lists(st.integers(0, 255), max_size=40))
def test_no_piece_ends_in_half_a_character_whatever_the_bytes(tokens: list[int]) -> None:
    shown = pieces(tokens)
    assert not any(piece.endswith("\ufffd") for piece in shown)
    assert "".join(shown) == TOKENIZER.decode(tokens).rstrip("\ufffd")


@pytest.mark.parametrize("count", [1, 2, 500])
def test_the_window_stays_short_however_long_the_answer(count: int) -> None:
    detokenizer = StreamingDetokenizer(TOKENIZER)
    for _ in range(count):
        detokenizer.feed(65)
    assert len(detokenizer._window) <= 2
