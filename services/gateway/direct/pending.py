"""A call under way, from the moment in which it is let in until its end."""

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from forebay.runner.v1.runner_service_pb2 import Answer
from scheduler.admission import Decision
from scheduler.errors import ForebayError
from services.gateway.direct.wanted import DirectCall

if TYPE_CHECKING:
    from services.gateway.direct.connection import Connection
    from services.gateway.direct.group import Group

MOST_CHUNKS: Final = 4096
"""Chunks that wait for a client; one that is further behind is ended."""


class Pending:
    """One call that waits for one answer. Made, moved and ended by `calls.py`; sent by `connection.py`."""

    __slots__ = (
        "began_s",
        "connection",
        "deadline_s",
        "decision",
        "future",
        "group",
        "id",
        "sent",
        "timer",
        "tried",
        "wanted",
    )

    streams = False

    def __init__(
        self, number: int, wanted: DirectCall, group: "Group", began_s: float, deadline_s: float
    ) -> None:
        self.id = number
        self.wanted = wanted
        self.group = group
        self.began_s = began_s
        self.deadline_s = deadline_s
        """Both by a clock that never goes back."""
        self.connection: Connection | None = None
        """That it waits in, or was sent over. None once it has ended."""
        self.sent = False
        """Whether it was handed to the connection's stream: from then on the runner may begin it."""
        self.tried: tuple[str, ...] = ()
        """Runners that it was given to and that did not begin it."""
        self.timer: asyncio.TimerHandle | None = None
        self.decision: Decision | None = None
        """What it counts as in the limits of the policy, while it waits."""
        self.future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def executed_by(self, connection: "Connection") -> None:
        """Write into the call who executes it, and what that runs."""
        wanted = self.wanted
        wanted.runner, wanted.served_version = connection.id, self.group.key[2]
        wanted.answers_digest = connection.answers_digest

    def succeed(self, answer: Answer) -> None:
        """Hand over the answer."""
        if not self.future.done():
            self.future.set_result(answer)

    def fail(self, error: ForebayError) -> None:
        """Hand over an error."""
        if not self.future.done():
            self.future.set_exception(error)


class Streaming(Pending):
    """One call whose output is wanted as it comes."""

    __slots__ = ("_wake", "chunks")

    streams = True

    def __init__(
        self, number: int, wanted: DirectCall, group: "Group", began_s: float, deadline_s: float
    ) -> None:
        super().__init__(number, wanted, group, began_s, deadline_s)
        self.chunks: deque[Answer] = deque()
        """What the client has not taken."""
        self._wake = asyncio.Event()
        self.future.add_done_callback(lambda _: self._wake.set())

    def push(self, chunk: Answer) -> bool:
        """Take in a chunk; False when the client is too far behind."""
        if len(self.chunks) >= MOST_CHUNKS:
            return False
        self.chunks.append(chunk)
        self._wake.set()
        return True

    async def more(self) -> None:
        """Return when there is a chunk, or the end."""
        if not self.chunks and not self.future.done():
            self._wake.clear()
            await self._wake.wait()
