"""Dead letters: pages of them, one with all that is kept of it, and taking them off the list.

Whoever operates the platform also sees the messages that nobody could read, which belong to no tenant.
Called by `task_service.py` and `replay.py`.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Final, NamedTuple

from forebay.tasks.v1 import task_service_pb2
from scheduler.errors import DeadLetterNotFound
from scheduler.ports.dead_letters import UNREADABLE_TENANT, DeadLetterStore
from scheduler.ports.records import QueryStore, Record
from services.gateway import convert
from services.gateway.caller import Caller
from services.gateway.filtering import Filter
from services.gateway.page_token import PageTokens
from services.gateway.request_validation import DEFAULT_PAGE, check_id, check_list, check_target

_SCAN_LIMIT: Final = 5_000
"""Most letters that one page looks at."""
_STEP: Final = 250


class Letter(NamedTuple):
    """A dead letter and its record."""

    id: str
    record: Record

    @property
    def unreadable(self) -> bool:
        """Whether it is a message that nobody could read."""
        return self.record.tenant == UNREADABLE_TENANT


class DeadLetters:
    """The use cases."""

    def __init__(self, store: DeadLetterStore, reader: QueryStore, tokens: PageTokens) -> None:
        self._store = store
        self._reader = reader
        self._tokens = tokens

    async def page(
        self, caller: Caller, request: task_service_pb2.ListDeadLettersRequest
    ) -> task_service_pb2.ListDeadLettersResponse:
        """Return one page. Raises InvalidInput and RecordsUnavailable."""
        check_list(request)
        size = request.page_size or DEFAULT_PAGE
        before = self._tokens.read(caller.tenant, request.filter, request.page_token)
        response = task_service_pb2.ListDeadLettersResponse()
        found: list[Letter] = []
        seen, last_id = 0, ""
        async for letter in self.newest_first(caller, before, _SCAN_LIMIT):
            seen, last_id = seen + 1, letter.id
            if matches(letter, request.filter):
                found.append(letter)
                if len(found) == size:
                    break
        if len(found) == size or seen == _SCAN_LIMIT:
            response.next_page_token = self._tokens.make(caller.tenant, request.filter, last_id)
        raws = await self._raws(found)
        for letter in found:
            _fill(response.dead_letters.add(), letter, *raws.get(letter.id, (b"", "")), include_input=False)
        return response

    async def one(
        self, caller: Caller, request: task_service_pb2.GetDeadLetterRequest
    ) -> task_service_pb2.GetDeadLetterResponse:
        """Return one letter. Raises InvalidInput, DeadLetterNotFound and RecordsUnavailable."""
        check_id(request.id)
        letter = (await self.named(caller, [request.id])).get(request.id)
        if letter is None:
            raise DeadLetterNotFound(request.id)
        raw, topic = (await self._raws([letter])).get(letter.id, (b"", ""))
        response = task_service_pb2.GetDeadLetterResponse(raw=raw)
        _fill(response.dead_letter, letter, raw, topic, include_input=True)
        return response

    async def purge(
        self, caller: Caller, request: task_service_pb2.PurgeDeadLettersRequest
    ) -> task_service_pb2.PurgeDeadLettersResponse:
        """Take letters off the list. Raises InvalidInput, and RecordsUnavailable, which leaves open how many."""
        check_target(request)
        if request.WhichOneof("target") == "tasks":
            purged = await self.remove(caller, list(dict.fromkeys(request.tasks.ids)))
            return task_service_pb2.PurgeDeadLettersResponse(purged=purged)
        purged, batch = 0, list[str]()
        async for letter in self.newest_first(caller, "", None):
            if matches(letter, request.filter):
                batch.append(letter.id)
            if len(batch) == _STEP:
                purged += await self.remove(caller, batch)
                batch.clear()
        purged += await self.remove(caller, batch)
        return task_service_pb2.PurgeDeadLettersResponse(purged=purged)

    async def remove(self, caller: Caller, ids: Sequence[str]) -> int:
        """Take letters off the caller's lists; returns how many were on one. Raises RecordsUnavailable."""
        removed = 0
        for tenant in _tenants(caller):
            for start in range(0, len(ids), _STEP):
                removed += sum(await self._store.remove(ids[start : start + _STEP], tenant))
        return removed

    async def named(self, caller: Caller, ids: Collection[str]) -> dict[str, Letter]:
        """Return those of these that are the caller's dead letters. Raises RecordsUnavailable."""
        wanted = sorted(set(ids), key=_age, reverse=True)
        found: dict[str, Letter] = {}
        while wanted:
            # A cursor just behind an id gives that id first, and with it as many others as a step holds.
            page = await self._step(caller, f"{wanted[0]}0", _STEP)
            asked = set(wanted)
            found.update((letter.id, letter) for letter in page if letter.id in asked)
            if not page:
                break
            oldest = _age(page[-1].id)
            wanted = [letter_id for letter_id in wanted if _age(letter_id) < oldest]
        return found

    async def newest_first(self, caller: Caller, before: str, limit: int | None) -> AsyncIterator[Letter]:
        """Yield up to `limit` of the caller's letters, newest first. Raises RecordsUnavailable."""
        left = limit
        while left is None or left > 0:
            page = await self._step(caller, before, _STEP if left is None else min(left, _STEP))
            for letter in page:
                yield letter
            if not page:
                return
            before = page[-1].id
            left = None if left is None else left - len(page)

    async def _step(self, caller: Caller, before: str, limit: int) -> list[Letter]:
        ids: list[str] = []
        for tenant in _tenants(caller):
            ids += await self._store.dead_letters(tenant, before, limit)
        ids = sorted(ids, key=_age, reverse=True)[:limit]
        records = await self._reader.get(ids, False) if ids else []
        tenants = _tenants(caller)
        return [
            Letter(letter_id, record)
            for letter_id, record in zip(ids, records, strict=True)
            if record is not None and record.tenant in tenants
        ]

    async def _raws(self, letters: Sequence[Letter]) -> dict[str, tuple[bytes, str]]:
        ids = [letter.id for letter in letters if letter.unreadable]
        return dict(zip(ids, await self._store.raw(ids), strict=True)) if ids else {}


def matches(letter: Letter, wanted: task_service_pb2.TaskFilter) -> bool:
    """Whether a filter means a letter: states are ignored, an unreadable message matches only an empty filter."""
    asked = task_service_pb2.TaskFilter()
    asked.CopyFrom(wanted)
    asked.ClearField("states")
    if letter.unreadable:
        return not asked.ByteSize()
    return Filter(asked).matches(letter.record)


def _fill(
    target: task_service_pb2.DeadLetter, letter: Letter, raw: bytes, topic: str, *, include_input: bool
) -> None:
    record = letter.record
    if letter.unreadable:
        target.task.CopyFrom(convert.update_of(record, include_result=False))
        target.raw_bytes, target.topic = len(raw), topic
    else:
        target.task.CopyFrom(convert.task_of(record, include_input=include_input, include_result=False))
    convert.stamp(target.time, record.end_time_ms)


def _tenants(caller: Caller) -> tuple[str, ...]:
    return (caller.tenant, UNREADABLE_TENANT) if caller.operator else (caller.tenant,)


def _age(letter_id: str) -> str:
    return letter_id[3:]
