"""Dead letters: tasks that used up their attempts, and messages that nobody could read."""

from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from forebay.client import methods, reading
from forebay.client.calls import Calls
from forebay.client.errors import ForebayClientError, from_status
from forebay.client.filtering import task_filter
from forebay.client.tasks import Priority, TaskHandle, TaskInfo, TaskRef, task_id
from forebay.client.transport import complete, iterate
from forebay.tasks.v1.task_pb2 import TaskSpec
from forebay.tasks.v1.task_service_pb2 import DeadLetter as WireDeadLetter
from forebay.tasks.v1.task_service_pb2 import (
    GetDeadLetterRequest,
    ListDeadLettersRequest,
    PurgeDeadLettersRequest,
    ReplayTasksRequest,
    TaskIds,
)

_PAGE: Final = 200


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One dead letter."""

    id: str
    """The task's id; an unreadable message has one of its own."""
    task: TaskInfo
    """With its error and history."""
    time: datetime
    """When it became one."""
    raw_bytes: int
    """Size of an unreadable message; 0 for a task."""
    topic: str
    """Where an unreadable message came from; empty for a task."""
    raw: bytes = b""
    """The unreadable message, when it was asked for."""


@dataclass(frozen=True, slots=True)
class ReplaySummary:
    """What became of a request to replay."""

    tasks: Mapping[str, TaskHandle]
    """The new tasks, by the letters that they repeat."""
    errors: Mapping[str, ForebayClientError]
    """Why there is no new task, by letter."""


class AsyncDeadLetters:
    """The caller's dead letters; `AsyncClient.dead_letters` is one."""

    def __init__(self, calls: Calls, timeout_s: float) -> None:
        self._calls = calls
        self._timeout_s = timeout_s

    async def list(
        self,
        *,
        model: str = "",
        labels: Mapping[str, str] | None = None,
        priorities: Iterable[Priority | str] = (),
        pool: str = "",
        limit: int | None = None,
    ) -> AsyncGenerator[DeadLetter, None]:
        """Yield the letters that meet all conditions, newest first, page after page, `limit` at most."""
        wanted = task_filter((), model, labels, priorities, pool)
        token, left = "", limit
        while left is None or left > 0:
            size = _PAGE if left is None else min(left, _PAGE)
            request = ListDeadLettersRequest(filter=wanted, page_size=size, page_token=token)
            page = await self._calls.unary(methods.LIST_DEAD, request, self._timeout_s)
            for letter in page.dead_letters[:left]:
                yield _letter(letter)
            left = None if left is None else left - len(page.dead_letters)
            token = page.next_page_token
            if not token:
                return

    async def get(self, letter: TaskRef) -> DeadLetter:
        """Return one with everything that is kept of it. Raises NotFound."""
        request = GetDeadLetterRequest(id=task_id(letter))
        answer = await self._calls.unary(methods.GET_DEAD, request, self._timeout_s)
        return _letter(answer.dead_letter, answer.raw)

    async def replay(
        self,
        letters: Iterable[TaskRef] | None = None,
        *,
        model: str = "",
        labels: Mapping[str, str] | None = None,
        priorities: Iterable[Priority | str] = (),
        pool: str = "",
        edits: TaskSpec | None = None,
        edit_mask: Sequence[str] = (),
    ) -> ReplaySummary:
        """Submit letters again as new tasks: the named ones, or those that meet all conditions (none: every one).

        Fields of `edits` that `edit_mask` names replace those of the originals. A repeated call makes no second task.
        """
        request = ReplayTasksRequest(edits=edits, edit_mask=edit_mask)
        if letters is None:
            request.filter.CopyFrom(task_filter((), model, labels, priorities, pool))
        else:
            request.tasks.CopyFrom(TaskIds(ids=[task_id(letter) for letter in letters]))
        answer = await self._calls.unary(methods.REPLAY, request, self._timeout_s)
        made = {r.id: reading.handle(r.task) for r in answer.results if r.WhichOneof("result") == "task"}
        faults = {r.id: from_status(r.error) for r in answer.results if r.WhichOneof("result") == "error"}
        return ReplaySummary(made, faults)

    async def purge(
        self,
        letters: Iterable[TaskRef] | None = None,
        *,
        model: str = "",
        labels: Mapping[str, str] | None = None,
        priorities: Iterable[Priority | str] = (),
        pool: str = "",
    ) -> int:
        """Take letters off the list for ever: the named ones, or those that meet all conditions (none: every one).
        Returns how many.
        """
        request = PurgeDeadLettersRequest()
        if letters is None:
            request.filter.CopyFrom(task_filter((), model, labels, priorities, pool))
        else:
            request.tasks.CopyFrom(TaskIds(ids=[task_id(letter) for letter in letters]))
        answer = await self._calls.unary(methods.PURGE, request, self._timeout_s)
        return answer.purged


class DeadLetters:
    """The same without asyncio; `Client.dead_letters` is one."""

    def __init__(self, letters: AsyncDeadLetters) -> None:
        self._letters = letters

    def list(
        self,
        *,
        model: str = "",
        labels: Mapping[str, str] | None = None,
        priorities: Iterable[Priority | str] = (),
        pool: str = "",
        limit: int | None = None,
    ) -> Iterator[DeadLetter]:
        """See AsyncDeadLetters.list."""
        return iterate(
            self._letters.list(model=model, labels=labels, priorities=priorities, pool=pool, limit=limit)
        )

    def get(self, letter: TaskRef) -> DeadLetter:
        """See AsyncDeadLetters.get."""
        return complete(self._letters.get(letter))

    def replay(
        self,
        letters: Iterable[TaskRef] | None = None,
        *,
        model: str = "",
        labels: Mapping[str, str] | None = None,
        priorities: Iterable[Priority | str] = (),
        pool: str = "",
        edits: TaskSpec | None = None,
        edit_mask: Sequence[str] = (),
    ) -> ReplaySummary:
        """See AsyncDeadLetters.replay."""
        return complete(
            self._letters.replay(
                letters,
                model=model,
                labels=labels,
                priorities=priorities,
                pool=pool,
                edits=edits,
                edit_mask=edit_mask,
            )
        )

    def purge(
        self,
        letters: Iterable[TaskRef] | None = None,
        *,
        model: str = "",
        labels: Mapping[str, str] | None = None,
        priorities: Iterable[Priority | str] = (),
        pool: str = "",
    ) -> int:
        """See AsyncDeadLetters.purge."""
        return complete(
            self._letters.purge(letters, model=model, labels=labels, priorities=priorities, pool=pool)
        )


def _letter(letter: WireDeadLetter, raw: bytes = b"") -> DeadLetter:
    return DeadLetter(
        letter.task.id,
        reading.info(letter.task),
        reading.time(letter.time),
        letter.raw_bytes,
        letter.topic,
        raw,
    )
