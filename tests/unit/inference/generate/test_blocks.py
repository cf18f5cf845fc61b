"""Blocks: their names, their places, and the order in which they are dropped."""

from hashlib import blake2b
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from inference.generate import blocks
from inference.generate.blocks import BlockAllocator, BlockIndex, Entry, Link, links

BLOCK = 2
# Two tokens and short prompts: many of them have a beginning in common.
PROMPTS = st.lists(st.integers(0, 1), max_size=9)
SCOPES = st.sampled_from(["", "a", "b", None])


def chain(scope: str | None, tokens: list[int]) -> list[Link]:
    return list(links(scope, np.array(tokens, np.int64), BLOCK))


def common_blocks(one: list[int], other: list[int]) -> int:
    whole = min(len(one), len(other)) // BLOCK
    return next((n for n in range(whole, 0, -1) if one[: n * BLOCK] == other[: n * BLOCK]), 0)


@given(PROMPTS, PROMPTS, SCOPES)
def test_chains_agree_for_as_many_blocks_as_their_prompts_do(
    one: list[int], other: list[int], scope: str | None
) -> None:
    first, second = chain(scope, one), chain(scope, other)
    assert len(first) == len(one) // BLOCK
    agree = common_blocks(one, other)
    assert first[:agree] == second[:agree]
    # No block after the first difference has a name of the other chain, wherever it stands.
    assert not {link.digest for link in first[agree:]} & {link.digest for link in second}


@given(PROMPTS, SCOPES, SCOPES)
def test_different_scopes_have_no_block_in_common(
    tokens: list[int], one: str | None, other: str | None
) -> None:
    shared = {link.digest for link in chain(one, tokens)} & {link.digest for link in chain(other, tokens)}
    assert len(shared) == (len(tokens) // BLOCK if one == other else 0)


def test_names_do_not_depend_on_how_the_tokens_lie_in_memory() -> None:
    tokens = np.arange(12, dtype=np.int64)
    spread = np.repeat(tokens, 2)[::2]
    assert not spread.flags.c_contiguous
    assert list(links("a", spread, BLOCK)) == list(links("a", tokens, BLOCK))
    assert list(links("a", tokens.astype(">i8"), BLOCK)) == list(links("a", tokens, BLOCK))


def test_a_name_is_a_hash_over_the_scope_and_everything_up_to_the_end_of_the_block() -> None:
    def digest(data: bytes) -> bytes:
        return blake2b(data, digest_size=32).digest()

    first = np.array([1, 2], "<i8").tobytes()
    second = np.array([3, 4], "<i8").tobytes()
    names = [link.digest for link in chain("tenant", [1, 2, 3, 4, 5])]
    assert names[0] == digest(digest(b"\0tenant") + first)
    assert names[1] == digest(names[0] + second)


@given(st.integers(0, 8), st.lists(st.tuples(st.booleans(), st.integers(0, 7))))
def test_no_place_is_taken_twice(places: int, moves: list[tuple[bool, int]]) -> None:
    allocator = BlockAllocator(places)
    taken: list[int] = []
    for takes, which in moves:
        if takes and allocator.free:
            number = allocator.take()
            assert number not in taken
            assert 0 <= number < places
            taken.append(number)
        elif taken:
            allocator.give_back(taken.pop(which % len(taken)))
        assert allocator.free + len(taken) == places


def test_there_is_an_end_to_places() -> None:
    with pytest.raises(IndexError):
        BlockAllocator(0).take()


def test_a_place_that_was_used_is_used_again_before_a_fresh_one() -> None:
    allocator = BlockAllocator(4)
    assert [allocator.take(), allocator.take()] == [0, 1]
    allocator.give_back(0)
    assert allocator.take() == 0


def put(index: BlockIndex, scope: str | None, tokens: list[int]) -> list[Entry]:
    """Keep what there is room for of a chain, and return what is kept of it."""
    new = chain(scope, tokens)
    found = index.find(scope, new)
    missing = index.missing(found, new)
    index.add(scope, found, missing, index.reserve(found, len(missing)))
    return index.find(scope, new)


def test_the_least_recently_used_chain_makes_room_from_its_end() -> None:
    index = BlockIndex(4)
    put(index, "a", [0, 0, 0, 0])
    put(index, "a", [1, 1, 1, 1])
    index.touch(index.find("a", chain("a", [0, 0, 0, 0])))
    put(index, "a", [2, 2])
    assert len(index.find("a", chain("a", [0, 0, 0, 0]))) == 2
    assert len(index.find("a", chain("a", [1, 1, 1, 1]))) == 1
    put(index, "a", [3, 3])
    assert not index.find("a", chain("a", [1, 1]))


def test_a_chain_does_not_push_out_its_own_beginning() -> None:
    index = BlockIndex(3)
    put(index, "a", [0, 0])
    assert [entry.number for entry in put(index, "a", [0, 0, 1, 1, 2, 2, 3, 3, 4, 4])] == [0, 1, 2]


def test_places_that_were_reserved_for_nothing_are_given_back() -> None:
    index = BlockIndex(2)
    put(index, "a", [0, 0])
    places = index.reserve([], 5)
    assert len(places) == 2
    assert index.free == 0
    index.release(places)
    assert index.free == 2
    assert not len(index)


def test_equal_hashes_are_not_taken_for_equal_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_digest", lambda data: b"same")
    index = BlockIndex(4)
    # Every name is the same: the first block is kept, and nothing else can be.
    assert len(put(index, "a", [0, 0, 1, 1])) == 1
    assert not put(index, "b", [0, 0])
    assert not put(index, "a", [1, 1])
    assert not put(index, "a", [1, 1, 0, 0])
    assert len(index.find("a", chain("a", [0, 0, 0, 0]))) == 1
    assert len(index) == 1


@given(st.lists(st.tuples(SCOPES, PROMPTS), max_size=12), st.integers(1, 6))
def test_weak_hashes_cost_hits_but_never_confuse_prompts(
    prompts: list[tuple[str | None, list[int]]], digests: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        strong = blocks._digest
        patch.setattr(blocks, "_digest", lambda data: bytes([strong(data)[0] % digests]))
        index = BlockIndex(4)
        for scope, tokens in prompts:
            for depth, entry in enumerate(put(index, scope, tokens)):
                assert entry.scope == scope
                own = tokens[depth * BLOCK : (depth + 1) * BLOCK]
                assert entry.link.tokens == np.array(own, "<i8").tobytes()
                assert depth_of(entry) == depth


def depth_of(entry: Entry) -> int:
    return 0 if entry.parent is None else 1 + depth_of(entry.parent)


class IndexMachine(RuleBasedStateMachine):
    """Stores, looks up and drops chains, beside a plain list of what was used last."""

    BLOCKS = 5

    def __init__(self) -> None:
        super().__init__()
        self.index = BlockIndex(self.BLOCKS)
        self.used: list[tuple[str | None, tuple[int, ...]]] = []
        """Beginnings that are kept, the least recently used first."""

    def use(self, scope: str | None, tokens: list[int], depth: int) -> None:
        for n in range(depth, 0, -1):
            name = (scope, tuple(tokens[: n * BLOCK]))
            if name in self.used:
                self.used.remove(name)
            self.used.append(name)

    def known(self, scope: str | None, tokens: list[int]) -> int:
        depth = 0
        while depth < len(tokens) // BLOCK and (scope, tuple(tokens[: (depth + 1) * BLOCK])) in self.used:
            depth += 1
        return depth

    @rule(scope=SCOPES, tokens=PROMPTS)
    def look_up(self, scope: str | None, tokens: list[int]) -> None:
        found = self.index.find(scope, chain(scope, tokens))
        assert len(found) == self.known(scope, tokens)
        self.index.touch(found)
        self.use(scope, tokens, len(found))

    @rule(scope=SCOPES, tokens=PROMPTS)
    def keep(self, scope: str | None, tokens: list[int]) -> None:
        known, whole = self.known(scope, tokens), len(tokens) // BLOCK
        self.use(scope, tokens, known)
        depth = min(whole, self.BLOCKS)
        kept = put(self.index, scope, tokens)
        assert len(kept) == depth
        for _ in range(max(0, len(self.used) + depth - known - self.BLOCKS)):
            self.used.pop(0)
        self.use(scope, tokens, depth)

    @rule(scope=SCOPES, tokens=PROMPTS)
    def fail_to_keep(self, scope: str | None, tokens: list[int]) -> None:
        found = self.index.find(scope, chain(scope, tokens))
        self.use(scope, tokens, len(found))
        places = self.index.reserve(found, len(tokens) // BLOCK - len(found))
        for _ in range(max(0, len(self.used) + len(places) - self.BLOCKS)):
            self.used.pop(0)
        self.index.release(places)

    @rule()
    def clear(self) -> None:
        self.index.clear()
        self.used.clear()

    @invariant()
    def the_same_beginnings_are_kept_in_the_same_order(self) -> None:
        assert [(entry.scope, tokens_of(entry)) for entry in self.index] == self.used

    @invariant()
    def every_place_is_free_or_has_one_block(self) -> None:
        numbers = [entry.number for entry in self.index]
        assert len(set(numbers)) == len(numbers)
        assert self.index.free + len(numbers) == self.BLOCKS

    @invariant()
    def parents_outlive_their_children(self) -> None:
        for entry in self.index:
            assert self.index.holds(entry)
            assert entry.parent is None or self.index.holds(entry.parent)


def tokens_of(entry: Entry | None) -> tuple[int, ...]:
    if entry is None:
        return ()
    own: Any = np.frombuffer(entry.link.tokens, "<i8").tolist()
    return (*tokens_of(entry.parent), *own)


TestIndex = IndexMachine.TestCase
TestIndex.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
