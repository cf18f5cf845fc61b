"""One look-up for all who want the same key at one moment."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from cache.flights import SharedLooks
from cache.ports import Key
from tests.unit.cache.flights.gateways import KEY, settle

OTHER = Key(b"n" * 16, b"e" * 32)


class Tier:
    """Answers when it is let."""

    def __init__(self) -> None:
        self.asked: list[Key] = []
        self.go = asyncio.Event()
        self.failure: Exception | None = None

    async def look(self, key: Key) -> str:
        self.asked.append(key)
        await self.go.wait()
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        return "found"


def asking(
    looks: SharedLooks[str], look: Callable[[Key], Awaitable[str]], count: int, key: Key = KEY
) -> list["asyncio.Task[str]"]:
    return [asyncio.ensure_future(looks.look(key, look)) for _ in range(count)]


async def test_a_hundred_at_once_are_one_look_up_and_the_next_is_another() -> None:
    tier, looks = Tier(), SharedLooks[str]()
    tasks = [*asking(looks, tier.look, 100), *asking(looks, tier.look, 2, OTHER)]
    await settle()
    tier.go.set()
    assert await asyncio.gather(*tasks) == ["found"] * 102
    assert tier.asked == [KEY, OTHER]
    await looks.look(KEY, tier.look)
    assert tier.asked == [KEY, OTHER, KEY]


async def test_one_who_looks_and_is_cancelled_hands_over_and_one_who_waits_leaves_alone() -> None:
    tier, looks = Tier(), SharedLooks[str]()
    tasks = asking(looks, tier.look, 4)
    await settle()
    tasks[0].cancel()
    tasks[2].cancel()
    await settle()
    assert tier.asked == [KEY, KEY]
    tier.go.set()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(end) for end in ends] == [asyncio.CancelledError, str, asyncio.CancelledError, str]
    assert tier.asked == [KEY, KEY]


async def test_a_look_up_that_raises_is_the_failure_of_the_one_who_made_it() -> None:
    tier, looks = Tier(), SharedLooks[str]()
    tier.failure = RuntimeError("a fault")
    first, second = asking(looks, tier.look, 2)
    await settle()
    tier.go.set()
    with pytest.raises(RuntimeError):
        await first
    assert await second == "found"
