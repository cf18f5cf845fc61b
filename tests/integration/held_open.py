"""An asynchronous block for tests that Hypothesis runs: those are no coroutines, and share what was started for all of
their examples.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, Generic, TypeVar

_Held = TypeVar("_Held")
_Found = TypeVar("_Found")


class HeldOpen(Generic[_Held]):
    """What the block gave, and its event loop."""

    def __init__(self, loop: asyncio.Runner, value: _Held) -> None:
        self._loop = loop
        self.value = value

    def run(self, example: Coroutine[Any, Any, _Found]) -> _Found:
        """Run a coroutine beside what the block has running."""
        return self._loop.run(example)


@contextmanager
def held_open(block: AbstractAsyncContextManager[_Held]) -> Iterator[HeldOpen[_Held]]:
    """Enter a block; it is left with this one."""
    with asyncio.Runner() as loop:
        value = loop.run(_entered(block))
        try:
            yield HeldOpen(loop, value)
        finally:
            loop.run(_left(block))


async def _entered(block: AbstractAsyncContextManager[_Held]) -> _Held:
    return await block.__aenter__()


async def _left(block: AbstractAsyncContextManager[Any]) -> None:
    await block.__aexit__(None, None, None)
