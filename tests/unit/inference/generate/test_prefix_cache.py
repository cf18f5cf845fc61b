"""The prefix cache: what is found of a prompt, whose it is, and what it takes."""

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from numpy.typing import NDArray

from inference.generate.prefix_cache import PrefixCache

from .array_slots import ArraySlots

BLOCK = 4
BLOCK_BYTES = BLOCK * ArraySlots.bytes_per_token


def prompt(*tokens: int) -> NDArray[np.int64]:
    return np.array(tokens, np.int64)


def make(slots: ArraySlots, blocks: int = 8, *, shared: bool = False) -> PrefixCache:
    return PrefixCache(slots, blocks * BLOCK_BYTES, block=BLOCK, shared=shared)


def test_what_is_loaded_is_what_was_stored_bit_for_bit() -> None:
    slots = ArraySlots()
    cache = make(slots)
    values = slots.fill(0, 12)
    cache.store("t", np.arange(12), 0, 12)
    slots.fill(0, 12, seed=1)
    hit = cache.match("t", np.arange(20))
    assert hit.tokens == 12
    cache.load(2, hit)
    assert np.array_equal(slots.beginning(2, 12), values)
    assert not slots.values[2, :, :, 12:].any()


@given(st.integers(0, 20), st.integers(0, 20))
def test_a_match_is_the_longest_one_of_whole_blocks_without_the_last_token(stored: int, asked: int) -> None:
    cache = make(ArraySlots())
    cache.store("t", np.arange(stored), 0, stored)
    hit = cache.match("t", np.arange(asked))
    assert hit.tokens == min(stored // BLOCK, max(0, asked - 1) // BLOCK) * BLOCK
    assert hit.tokens < asked or not asked


@given(st.integers(0, 20), st.integers(1, 20))
def test_a_match_ends_where_prompts_differ(same: int, more: int) -> None:
    cache = make(ArraySlots(), blocks=20)
    first = np.arange(same + more)
    other = first.copy()
    other[same:] += 1000
    cache.store("t", first, 0, len(first))
    assert cache.match("t", other).tokens == min(same, len(other) - 1) // BLOCK * BLOCK


def test_a_beginning_is_not_found_in_the_middle() -> None:
    cache = make(ArraySlots())
    cache.store("t", np.arange(12), 0, 12)
    assert not cache.match("t", np.arange(4, 12)).tokens


def test_tenants_do_not_see_what_others_have_asked() -> None:
    cache = make(ArraySlots())
    cache.store("one", np.arange(8), 0, 8)
    assert cache.match("other", np.arange(9)).tokens == 0
    assert cache.match("", np.arange(9)).tokens == 0
    assert cache.match("one", np.arange(9)).tokens == 8


def test_a_shared_cache_serves_every_tenant() -> None:
    cache = make(ArraySlots(), shared=True)
    cache.store("one", np.arange(8), 0, 8)
    assert cache.match("other", np.arange(9)).tokens == 8
    assert cache.bytes == 2 * BLOCK_BYTES


def test_only_what_the_slot_holds_is_stored() -> None:
    cache = make(ArraySlots())
    cache.store("t", np.arange(12), 0, 7)
    assert cache.match("t", np.arange(12)).tokens == 4
    with pytest.raises(ValueError, match="13 of 12"):
        cache.store("t", np.arange(12), 0, 13)


def test_an_answer_stored_with_its_prompt_is_found_in_the_next_turn() -> None:
    slots = ArraySlots()
    cache = make(slots)
    cache.store("t", np.arange(6), 0, 6)
    # The newest generated token is not in the slot yet.
    cache.store("t", np.arange(13), 0, 12)
    assert cache.match("t", np.arange(30)).tokens == 12
    assert cache.bytes == 3 * BLOCK_BYTES


def test_blocks_that_are_kept_are_not_copied_again() -> None:
    slots = ArraySlots()
    cache = make(slots)
    cache.store("t", np.arange(8), 0, 8)
    with patch.object(slots, "read", wraps=slots.read) as read:
        cache.store("t", np.arange(13), 0, 13)
    assert [call.args[1] for call in read.call_args_list] == [8]


def test_tokens_are_counted_as_they_are_looked_up_and_found() -> None:
    cache = make(ArraySlots())
    cache.store("t", np.arange(8), 0, 8)
    assert (cache.queries, cache.hits) == (0, 0)
    cache.match("t", np.arange(10))
    cache.match("t", prompt(7, 7, 7))
    assert (cache.queries, cache.hits) == (13, 8)
    cache.clear()
    assert (cache.queries, cache.hits) == (13, 8)


@pytest.mark.parametrize("limit", [0, BLOCK_BYTES - 1])
def test_a_cache_without_room_for_a_block_keeps_nothing(limit: int) -> None:
    cache = PrefixCache(ArraySlots(), limit, block=BLOCK)
    cache.store("t", np.arange(12), 0, 12)
    hit = cache.match("t", np.arange(12))
    cache.load(0, hit)
    assert hit.tokens == 0
    assert (cache.queries, cache.hits, cache.bytes) == (0, 0, 0)
    cache.clear()


def test_a_hit_keeps_its_beginning_from_being_dropped() -> None:
    cache = make(ArraySlots(), blocks=4)
    cache.store("t", prompt(*[0] * 8), 0, 8)
    cache.store("t", prompt(*[1] * 8), 1, 8)
    cache.match("t", prompt(*[0] * 9))
    cache.store("t", prompt(*[2] * 8), 2, 8)
    assert cache.match("t", prompt(*[0] * 9)).tokens == 8
    assert cache.match("t", prompt(*[1] * 9)).tokens == 0


def test_a_prompt_longer_than_the_cache_leaves_its_beginning() -> None:
    cache = make(ArraySlots(), blocks=3)
    cache.store("t", np.arange(40), 0, 40)
    assert cache.match("t", np.arange(41)).tokens == 12
    assert cache.bytes == 3 * BLOCK_BYTES


@given(st.lists(st.integers(0, 9), max_size=8))
def test_a_beginning_can_be_loaded_in_parts(parts: list[int]) -> None:
    slots = ArraySlots()
    cache = make(slots)
    values = slots.fill(0, 20)
    cache.store("t", np.arange(20), 0, 20)
    hit = cache.match("t", np.arange(21))
    held = 0
    for most in parts:
        before = held
        held = cache.load(1, hit, before, most)
        assert held == min(20, before + (most + BLOCK - 1) // BLOCK * BLOCK)
        assert np.array_equal(slots.beginning(1, held), values[:, :, :held])
        assert not slots.values[1, :, :, held:].any()
    assert cache.load(1, hit, held) == 20
    assert np.array_equal(slots.beginning(1, 20), values)


@pytest.mark.parametrize("drop", ["evict", "clear"])
def test_what_was_dropped_since_it_was_found_is_not_loaded(drop: str) -> None:
    slots = ArraySlots()
    cache = make(slots, blocks=2)
    cache.store("t", np.arange(8), 0, 8)
    hit = cache.match("t", np.arange(9))
    if drop == "clear":
        cache.clear()
    else:
        cache.store("t", prompt(*[5] * 4), 1, 4)
        # The same blocks once more are other copies of them.
    cache.store("t", np.arange(8), 0, 8)
    with pytest.raises(ValueError, match="no longer there"):
        cache.load(3, hit)
    assert not slots.values[3].any()


def test_a_copy_that_fails_leaves_the_cache_as_it_was() -> None:
    slots = ArraySlots()
    cache = make(slots, blocks=3)
    slots.fill(0, 4)
    cache.store("t", np.arange(4), 0, 4)
    slots.fail = True
    with pytest.raises(RuntimeError):
        cache.store("t", np.arange(12), 0, 12)
    slots.fail = False
    assert cache.match("t", np.arange(12)).tokens == 4
    cache.store("t", np.arange(12), 0, 12)
    assert cache.match("t", np.arange(13)).tokens == 12


def test_a_cleared_cache_can_be_used_again() -> None:
    slots = ArraySlots()
    cache = make(slots)
    cache.store("t", np.arange(8), 0, 8)
    cache.clear()
    assert cache.bytes == 0
    assert cache.match("t", np.arange(9)).tokens == 0
    values = slots.fill(1, 8)
    cache.store("t", np.arange(8), 1, 8)
    cache.load(2, cache.match("t", np.arange(9)))
    assert np.array_equal(slots.beginning(2, 8), values)


def test_a_limit_that_no_address_space_has_is_refused() -> None:
    with pytest.raises(MemoryError, match="no address space"):
        PrefixCache(ArraySlots(), 1 << 60)


def test_a_system_that_knows_no_huge_pages_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmap.MADV_HUGEPAGE", -1)
    monkeypatch.delattr("mmap.MADV_DONTNEED")
    cache = make(ArraySlots())
    cache.store("t", np.arange(8), 0, 8)
    assert cache.match("t", np.arange(9)).tokens == 8
    cache.clear()


class CacheMachine(RuleBasedStateMachine):
    """Rows come, use what is cached, and store what they have: every slot must hold what a model would have left."""

    BLOCKS = 4

    def __init__(self, shared: bool = False) -> None:
        super().__init__()
        self.slots = ArraySlots(slots=1, context=24)
        self.shared = shared
        self.cache = make(self.slots, self.BLOCKS, shared=shared)

    @rule(tenant=st.sampled_from("ab"), tokens=st.lists(st.integers(0, 1), min_size=1, max_size=24))
    def read(self, tenant: str, tokens: list[int]) -> None:
        array, owner = prompt(*tokens), "" if self.shared else tenant
        self.slots.values[...] = np.nan
        hit = self.cache.match(tenant, array)
        assert hit.tokens < len(tokens)
        self.cache.load(0, hit)
        held = self.slots.beginning(0, len(tokens)).copy()
        self.slots.compute(0, array, owner)
        assert np.array_equal(held[:, :, : hit.tokens], self.slots.beginning(0, hit.tokens))
        assert np.isnan(held[:, :, hit.tokens :]).all()
        self.cache.store(tenant, array, 0, len(tokens))
        # As much as there is room for is found by the next one with the same beginning.
        longer = np.append(array, 9)
        assert self.cache.match(tenant, longer).tokens == min(len(tokens) // BLOCK, self.BLOCKS) * BLOCK

    @precondition(lambda self: self.cache.bytes)
    @rule()
    def clear(self) -> None:
        self.cache.clear()

    @invariant()
    def the_limit_is_kept(self) -> None:
        assert 0 <= self.cache.bytes <= self.BLOCKS * BLOCK_BYTES
        assert 0 <= self.cache.hits <= self.cache.queries


class SharedCacheMachine(CacheMachine):
    def __init__(self) -> None:
        super().__init__(shared=True)


TestCache = CacheMachine.TestCase
TestCache.settings = settings(max_examples=50, stateful_step_count=20, deadline=None)
TestSharedCache = SharedCacheMachine.TestCase
TestSharedCache.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
