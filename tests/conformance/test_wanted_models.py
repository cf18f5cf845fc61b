"""What every WantedModels must do."""

import asyncio

from scheduler.ports.wanted_models import WantedModel
from tests.conformance.stores import Store


async def test_before_anything_was_said_nothing_is_wanted(store: Store) -> None:
    assert list(await store.wanted_models.wanted()) == []


async def test_the_last_word_on_each_model_is_kept_oldest_first(store: Store) -> None:
    words = store.wanted_models
    first = await words.want("a", loaded=True)
    second = await words.want("b", loaded=False)
    third = await words.want("a", loaded=False)
    assert list(await words.wanted()) == [WantedModel(second, "b", False), WantedModel(third, "a", False)]
    assert first < second < third


async def test_a_word_that_says_the_same_again_is_a_new_one(store: Store) -> None:
    words = store.wanted_models
    numbers = [await words.want("a", loaded=True) for _ in range(5)]
    assert numbers == sorted(set(numbers))
    assert list(await words.wanted()) == [WantedModel(numbers[-1], "a", True)]


async def test_numbers_are_not_below_the_stores_time_so_that_one_without_memory_makes_higher_ones(
    store: Store,
) -> None:
    before = await store.now_ms()
    assert await store.wanted_models.want("a", loaded=True) >= before


async def test_words_that_are_said_at_once_get_different_numbers(store: Store) -> None:
    words = store.wanted_models
    numbers = await asyncio.gather(*(words.want(f"m{n}", loaded=n % 2 == 0) for n in range(20)))
    assert len(set(numbers)) == 20
    assert {word.model for word in await words.wanted()} == {f"m{n}" for n in range(20)}


async def test_a_word_is_forgotten_unless_something_else_was_said_since(store: Store) -> None:
    words = store.wanted_models
    old = await words.want("a", loaded=True)
    new = await words.want("a", loaded=False)
    await words.forget("a", old)
    await words.forget("b", old)
    assert list(await words.wanted()) == [WantedModel(new, "a", False)]
    await words.forget("a", new)
    await words.forget("a", new)
    assert list(await words.wanted()) == []
    assert await words.want("a", loaded=True) > new
