"""What one gateway is to hear: answers collect in a message until its stream takes it, so messages grow with the load
and there are few of them.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from forebay.runner.v1.runner_service_pb2 import Answer, ExecuteResponse, Load
from inference.runner.results import LARGEST_RESULT_BYTES

FULL_BYTES: Final = 8 << 20
"""Bytes of answers from which on a message is closed."""
MOST_BYTES: Final = LARGEST_RESULT_BYTES + (512 << 10)
"""More than so many bytes of answers do not fit into a message, whose limit they share with what surrounds them."""
MOST_PENDING_BYTES: Final = 256 << 20
"""Most bytes of answers that wait for a gateway: one that takes no more is given up."""
ANSWER_BYTES: Final = 64
"""Of an answer beside what it brings."""
ACKNOWLEDGE_AFTER_S: Final = 0.005
"""How long answers may take to come before their arrival is acknowledged without them."""


class Outbox:
    """Collects the messages of one stream. The event loop owns it."""

    def __init__(self, load: Callable[[Load], None], most_bytes: int, answers_digest: str = "") -> None:
        """`load` fills in what the runner has to do; `answers_digest` is of what it runs, told in the first message."""
        self._load = load
        self._answers_digest = answers_digest
        self._most_bytes = most_bytes
        self._filling = ExecuteResponse()
        self._size = 0
        """Bytes in `_filling`, about."""
        self._full: deque[tuple[ExecuteResponse, int]] = deque()
        self._pending_bytes = 0
        self._taken = 0
        """Number of the latest message with calls that was taken in."""
        self._owed = False
        """Whether that was since the last response."""
        self._owed_s = 0.0
        """Monotonic time by which a response must follow."""
        self._reminder: asyncio.TimerHandle | None = None
        self._ready = asyncio.Event()
        self._finishing = False
        self.keys: dict[int, str] = {}
        """The keys of calls that are open, by their numbers."""
        self.given_up = asyncio.Event()
        """Set once more waits than may, or for too long: the stream must end, and what comes now is dropped."""

    def answer(self) -> Answer:
        """Add an answer and return it, to be written before anything else happens; then say `added`."""
        if not self._size:
            self._ready.set()
        return self._filling.answers.add()

    def added(self, size: int) -> None:
        """Note how many bytes the latest answer brings."""
        size += ANSWER_BYTES
        if self._size and self._size + size > MOST_BYTES:
            alone = ExecuteResponse(answers=self._filling.answers[-1:])
            del self._filling.answers[-1]
            self._full.append((self._filling, self._size))
            self._filling, self._size = alone, 0
        self._size += size
        self._pending_bytes += size
        if self._pending_bytes > self._most_bytes:
            self.given_up.set()
        if self.given_up.is_set():
            self._drop()
        elif self._size >= FULL_BYTES:
            self._full.append((self._filling, self._size))
            self._filling, self._size = ExecuteResponse(), 0

    def acknowledge(self, number: int, *, at_once: bool) -> None:
        """Have a response tell that a message was taken in: at once, or when answers come, but soon. 0 is the number of
        one without calls.
        """
        self._taken = number or self._taken
        if at_once:
            self._owed_s = 0.0
            self._owed = True
            self._ready.set()
        elif not self._owed:
            self._owed_s = time.monotonic() + ACKNOWLEDGE_AFTER_S
            self._owed = True
            if self._reminder is None:
                self._remind_in(ACKNOWLEDGE_AFTER_S)

    def finish(self) -> None:
        """Let the stream end once all calls are answered, and the answers taken."""
        self._finishing = True
        self._ready.set()

    def close(self) -> None:
        """Say nothing any more: the stream ends. Its calls are none of it from now on."""
        if self._reminder is not None:
            self._reminder.cancel()
            self._reminder = None
        self._drop()
        self.keys.clear()
        self._owed = False
        self.finish()

    def closed_one(self, number: int) -> None:
        """Note that a call is not open any more."""
        self.keys.pop(number, None)
        if self._finishing and not self.keys:
            self._ready.set()

    async def next_response(self) -> ExecuteResponse | None:
        """Wait until there is something to say, and take it; None after `finish` when all is said."""
        while True:
            if self._full:
                response, size = self._full.popleft()
                break
            if self._size or (self._owed and (not self._owed_s or time.monotonic() >= self._owed_s)):
                response, size = self._filling, self._size
                self._filling, self._size = ExecuteResponse(), 0
                break
            if self._finishing and not self.keys:
                return None
            self._ready.clear()
            await self._ready.wait()
        self._pending_bytes -= size
        self._owed = False
        response.taken = self._taken
        if self._answers_digest:
            response.answers_digest, self._answers_digest = self._answers_digest, ""
        self._load(response.load)
        return response

    def _drop(self) -> None:
        self._full.clear()
        self._filling, self._size = ExecuteResponse(), 0

    def _remind_in(self, seconds: float) -> None:
        self._reminder = asyncio.get_running_loop().call_later(seconds, self._remind)

    def _remind(self) -> None:
        self._reminder = None
        if not self._owed:
            return
        # Of an earlier message: a timer for each of them would cost more than this look.
        if (left_s := self._owed_s - time.monotonic()) > 0:
            self._remind_in(left_s)
        else:
            self._ready.set()
