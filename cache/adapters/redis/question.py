"""Something that is asked of a server: commands whose replies one caller waits for."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from scheduler.adapters.redis.connection import Argument, Command
from scheduler.adapters.redis.scripts import Script
from scheduler.errors import RecordsUnavailable

Replies = list[Any]


class Question:
    """Commands, and who waits for the replies."""

    __slots__ = ("asked_s", "commands", "script", "size", "told", "whose")

    def __init__(self, script: Script | None, commands: Sequence[Command], key: Argument, size: int) -> None:
        """`script` is what the commands run, if they do; `key` the first that they are about; `size` about how many
        bytes they carry or bring.
        """
        self.script, self.commands, self.size = script, commands, size
        self.whose: Final = _whose(key)
        """The namespace that it is of; empty for what is of none."""
        loop = asyncio.get_running_loop()
        self.asked_s = loop.time()
        self.told: asyncio.Future[Replies] = loop.create_future()
        """The replies, refusals among them; RecordsUnavailable when there are none. Cancelled with who waits."""

    def tell(self, replies: Replies) -> None:
        """Give the replies, if somebody still waits."""
        if not self.told.done():
            self.told.set_result(replies)

    def fail(self, why: str) -> None:
        """Say that there will be none, unless there were."""
        if not self.told.done():
            self.told.set_exception(RecordsUnavailable(why))


def _whose(key: Argument) -> str:
    """Return the part of a key that all of its namespace have; see names.py."""
    if isinstance(key, bytes):
        key = key.decode("latin-1")
    return key[: key.find("}") + 1] if isinstance(key, str) else ""
