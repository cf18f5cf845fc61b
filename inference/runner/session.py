"""One stream to a scheduler, from its first message to its end: what goes up, and the account of credits."""

import asyncio

from forebay.dispatch.v1.dispatch_service_pb2 import AttachRequest, Hello
from inference.runner.held import Cost, Fate


class Session:
    """Collects what the scheduler must hear; whoever writes the stream takes it in one message.

    What it collects is bounded by the credit: a task is settled once. After `close` it takes reports and drops them:
    the scheduler learns the ends of tasks from their records then.
    """

    def __init__(self, hello: Hello) -> None:
        self._next = AttachRequest(hello=hello)
        self._dirty = True
        self._ready = asyncio.Event()
        self._share = 0
        self._granted = 0
        """Credit that the scheduler has and has not used, as seen from here; below 0 when it used some that was
        just being taken back."""
        self._held = 0
        self._closed = False
        self._finishing = False
        self._last_came = False
        self.answered = False
        """Whether the scheduler has said anything."""
        self.ended = asyncio.Event()
        """Set once the stream has ended: what was written is read, or never will be."""

    @property
    def held(self) -> int:
        """Tasks of this stream that are not settled."""
        return self._held

    def set_share(self, tasks: int) -> None:
        """Have at most that many tasks at once: assigned ones plus credit that is out."""
        self._share = tasks
        self._ready.set()

    def assigned(self, tasks: int) -> None:
        """Note that the scheduler used credit."""
        self._granted -= tasks
        self._held += tasks

    def settle(
        self, task_id: str, attempt: int, fate: Fate, cost: Cost | None = None, *, failed: bool = False
    ) -> None:
        """Report one assignment; its credit goes back in the same message."""
        if self._closed:
            return
        self._held -= 1
        settled = self._next.settled.add(id=task_id, attempt=attempt, fate=fate.value)
        if cost is not None:
            settled.cost.execute_us = int(cost.execute_s * 1e6)
            settled.cost.work_us = int(cost.work_s * 1e6)
            if cost.output_tokens:
                settled.cost.output_tokens = cost.output_tokens
        if failed:
            settled.failed = True
        if not self._dirty:
            self._dirty = True
            self._ready.set()

    def close(self) -> None:
        """Note that the stream has ended."""
        self._closed = True
        self._next = AttachRequest()
        self.ended.set()

    def finish(self) -> None:
        """Say that the runner goes, settle what was on its way until `last_came`, and then say nothing any more."""
        self._finishing = True
        self._next.leaving = True
        self._dirty = True
        self._ready.set()

    def last_came(self) -> None:
        """Note that the scheduler sends no more tasks."""
        self._last_came = True
        self._ready.set()

    async def next_request(self) -> AttachRequest | None:
        """Wait until there is something to say, and take all of it; None after `finish` when all is said.

        Cancelling it loses nothing.
        """
        while True:
            wanted = max(0, self._share - self._held)
            if self._dirty or wanted != self._granted:
                request, self._next = self._next, AttachRequest()
                request.credits = wanted - self._granted
                self._granted = wanted
                self._dirty = False
                return request
            if self._finishing and self._last_came:
                return None
            self._ready.clear()
            await self._ready.wait()
