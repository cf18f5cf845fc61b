"""What a running row waits for between two of its tokens: one piece of prompt, whoever arrives."""

import itertools
from contextlib import ExitStack
from pathlib import Path
from typing import Self
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference.engine import Chunk, Done
from inference.generate.kv_cache import KvCache
from inference.generate.plan import COPIED_AS_ONE
from inference.generate.prefix_cache import PrefixCache

from .tiny import answer, drained, free, opened, output_of

PREFILL_TOKENS = 5
BLOCK = 8
"""Tokens of a block of the prefix cache: the tiny model's context has room for many."""
LONG = "what is known of a long prompt " * 3


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = PrefixCache.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "block", BLOCK)


class Copies:
    """Blocks that are copied between the slots and the prefix cache, while it is entered."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._read, self._write = (
                stack.enter_context(patch.object(KvCache, name, autospec=True, side_effect=original))
                for name, original in (("read", KvCache.read), ("write", KvCache.write))
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def take(self) -> tuple[int, int]:
        """Return how many tokens were (stored, loaded) since it was asked."""
        counts = self._read.call_count * BLOCK, self._write.call_count * BLOCK
        self._read.reset_mock()
        self._write.reset_mock()
        return counts


arrivals = st.lists(
    st.tuples(
        st.integers(0, 12),  # the step before which it comes
        st.sampled_from("abc"),  # prompts of one letter have a common beginning
        st.integers(1, 110),  # tokens of the prompt
        st.integers(1, 8),  # tokens of the answer
    ),
    min_size=1,
    max_size=10,
)


@given(arrivals)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_between_two_tokens_of_a_row_at_most_one_piece_of_prompt_is_read(
    folder: Path, requests: list[tuple[int, str, int, int]]
) -> None:
    engine = opened(folder, slots=6, prefill_tokens=PREFILL_TOKENS)
    coming = sorted(enumerate(requests), key=lambda one: one[1][0])
    running: set[str] = set()
    with Copies() as copies:
        for step in itertools.count():
            while coming and coming[0][1][0] <= step:
                key, (_, letter, length, tokens) = coming.pop(0)
                engine.admit(str(key), free(letter * length, tokens))
            updates = engine.step()
            chunks = [update.tail if isinstance(update, Done) else update for update in updates]
            assert all(isinstance(chunk, Chunk) and len(chunk.token_ids) == 1 for chunk in chunks)
            found = [update.key for update in updates]
            assert len(found) == len(set(found))
            assert running <= set(found), "a row that runs gets a token in every step"
            running = {update.key for update in updates if not isinstance(update, Done)}
            read = engine.times.prefill_tokens
            stored, loaded = copies.take()
            # Blocks are copied whole.
            assert read + loaded / COPIED_AS_ONE < PREFILL_TOKENS + BLOCK / COPIED_AS_ONE
            assert read <= PREFILL_TOKENS
            assert stored < PREFILL_TOKENS + BLOCK
            if not (coming or engine.active):
                break


def test_what_is_known_of_a_long_prompt_is_copied_in_pieces(folder: Path) -> None:
    engine = opened(folder, prefill_tokens=PREFILL_TOKENS)
    plain = answer(engine, free(LONG, 4))
    engine.admit("again", free(LONG, 4))
    loaded = []
    with Copies() as copies:
        while not engine.times.prefill_tokens or engine.times.decode_rows:
            engine.step()
            loaded.append(copies.take()[1])
    assert loaded == [40, 40, 8]
    output = output_of(drained(engine)["again"])
    assert output.cached_tokens == 88
    assert output.choices[0].token_ids == plain.token_ids


def test_what_was_read_of_a_prompt_is_known_before_all_of_it_is(folder: Path) -> None:
    plain = answer(opened(folder), free(LONG, 4))
    engine = opened(folder, prefill_tokens=4 * BLOCK)
    engine.admit("gone", free(LONG, 4))
    engine.step()
    engine.cancel("gone")
    engine.admit("next", free(LONG, 4))
    output = output_of(drained(engine)["next"])
    assert output.cached_tokens == 4 * BLOCK
    assert output.choices[0].token_ids == plain.token_ids


def test_a_prompt_whose_known_beginning_is_dropped_while_it_is_copied_is_read(folder: Path) -> None:
    engine = opened(folder, prefill_tokens=PREFILL_TOKENS)
    plain = answer(engine, free(LONG, 4))
    engine.admit("again", free(LONG, 4))
    engine.step()
    with patch.object(PrefixCache, "load", side_effect=ValueError):
        engine.step()
    output = output_of(drained(engine)["again"])
    assert output.cached_tokens == 40
    assert output.choices[0].token_ids == plain.token_ids
