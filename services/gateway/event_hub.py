"""What changes in the record store, once for everybody who watches: one reader, one fetcher, many watchers.

The reader follows the store's events and notes which tasks somebody cares for. The fetcher reads their records, a batch
at a time, builds each update once, and offers it to the watchers. All reads of records go through the fetcher, one
after the other, so no watcher is ever shown an older state after a newer one. While nobody watches nothing is read.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, Final, cast

from forebay.tasks.v1 import task_pb2
from scheduler.errors import RecordsUnavailable, ServerUnavailable, ShuttingDown
from scheduler.ports.clock import Clock
from scheduler.ports.events import EventFeed, TaskChange
from scheduler.ports.records import QueryStore, Record
from services.gateway import convert
from services.gateway.watcher import Watcher

_LINGER_S: Final = 5.0
_START_S: Final = 5.0
_RETRY_S: Final = 0.25
_SETTLE_S: Final = 0.02
_FETCH: Final = 128
_MAX_NOTED: Final = 50_000
_LOST: Final = "the record store was away; watch again"

_LOG: Final = logging.getLogger(__name__)


class EventHub:
    """Joins the event feed and the watchers. Use it through `event_hub`, which owns its tasks."""

    def __init__(self, feed: EventFeed, store: QueryStore, clock: Clock, group: asyncio.TaskGroup) -> None:
        self._feed = feed
        self._store = store
        self._clock = clock
        self._group = group
        self._by_id: dict[str, set[Watcher]] = {}
        self._broad: set[Watcher] = set()
        self._bells: dict[str, set[asyncio.Event]] = {}
        self._with_result = 0
        self._members = 0
        self._ready = asyncio.Event()
        self._closed = False
        self._tasks: list[asyncio.Task[None]] = []
        self._linger: asyncio.TimerHandle | None = None
        # Tasks to read, each with whether watchers that name none shall hear of it too.
        self._urgent: dict[str, bool] = {}
        self._later: dict[str, bool] = {}
        self._noted = asyncio.Event()
        self._hurry = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    @asynccontextmanager
    async def watching(self, watcher: Watcher) -> AsyncIterator[None]:
        """Keep a watcher informed while the block lasts; what it names is offered to it as it is now.

        Raises RecordsUnavailable when the store does not answer, ShuttingDown after `close`.
        """
        self._with_result += watcher.include_result
        if watcher.ids is None:
            self._broad.add(watcher)
        for task_id in watcher.ids or ():
            self._by_id.setdefault(task_id, set()).add(watcher)
        try:
            async with self._joined():
                self._note(watcher.ids or ())
                yield
        finally:
            self._with_result -= watcher.include_result
            self._broad.discard(watcher)
            for task_id in watcher.ids or ():
                _discard(self._by_id, task_id, watcher)

    @asynccontextmanager
    async def listening(self, task_id: str) -> AsyncIterator[asyncio.Event]:
        """Yield an event that is set whenever the task changes or its output grows. Raises like `watching`."""
        bell = asyncio.Event()
        self._bells.setdefault(task_id, set()).add(bell)
        try:
            async with self._joined():
                yield bell
        finally:
            _discard(self._bells, task_id, bell)

    def reread(self, watcher: Watcher) -> None:
        """Read again what the watcher had no room for."""
        self._note(watcher.to_reread(), broad=watcher.ids is None)

    def check_open(self) -> None:
        """Raise ShuttingDown after `close`."""
        if self._closed:
            raise ShuttingDown("this gateway is going away; watch again", 0.5)

    def close(self) -> None:
        """End all watches with ShuttingDown, so that a server can stop."""
        self._closed = True
        for watcher in self._watchers():
            watcher.fail(ShuttingDown("this gateway is going away; watch again", 0.5))
        self._ring_all()

    @asynccontextmanager
    async def _joined(self) -> AsyncIterator[None]:
        self.check_open()
        self._members += 1
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        if not self._tasks:
            self._tasks = [self._group.create_task(self._read()), self._group.create_task(self._fetch())]
        try:
            try:
                async with asyncio.timeout(_START_S):
                    await self._ready.wait()
            except TimeoutError:
                raise RecordsUnavailable("the record store's events cannot be read") from None
            yield
        finally:
            self._members -= 1
            if not self._members:
                loop = asyncio.get_running_loop()
                self._linger = loop.call_later(0 if self._closed else _LINGER_S, self.rest)

    def rest(self) -> None:
        """Stop reading. The next watcher starts it again."""
        for task in self._tasks:
            task.cancel()
        self._tasks = []
        self._ready.clear()
        self._urgent.clear()
        self._later.clear()

    async def _read(self) -> None:
        while True:
            try:
                # The port's iterators can be closed.
                async with aclosing(cast(Any, self._feed.changes())) as batches:
                    async for batch in batches:
                        if batch:
                            self._take_in(batch)
                        else:
                            self._resume()
                        await self._room.wait()
            except ServerUnavailable as error:
                _LOG.warning("events interrupted", extra={"reason": error.reason})
            await self._clock.sleep(_RETRY_S)

    def _take_in(self, batch: Iterable[TaskChange]) -> None:
        for change in batch:
            for bell in self._bells.get(change.id, ()):
                bell.set()
            if change.output or not (self._broad or change.id in self._by_id):
                continue
            if change.state.terminal:
                self._later.pop(change.id, None)
                self._urgent[change.id] = True
            elif change.id not in self._urgent:
                self._later[change.id] = True
        if self._urgent:
            self._hurry.set()
        if self._urgent or self._later:
            self._noted.set()
        if len(self._urgent) + len(self._later) > _MAX_NOTED:
            self._room.clear()

    def _resume(self) -> None:
        """Begin, or go on after a gap: named tasks are read again, other watches cannot know what they missed."""
        if self._ready.is_set():
            self._lose()
        self._ready.set()

    def _lose(self) -> None:
        for watcher in list(self._broad):
            watcher.fail(RecordsUnavailable(_LOST))
        self._note(self._by_id)
        self._ring_all()

    def _note(self, ids: Iterable[str], *, broad: bool = False) -> None:
        for task_id in ids:
            self._urgent[task_id] = self._urgent.get(task_id, False) or broad
        if self._urgent:
            self._noted.set()
            self._hurry.set()

    async def _fetch(self) -> None:
        while True:
            await self._noted.wait()
            if not self._urgent:
                # States on the way are not urgent: most are passed before anybody could read of them.
                with suppress(TimeoutError):
                    async with asyncio.timeout(_SETTLE_S):
                        await self._hurry.wait()
            self._hurry.clear()
            source = self._urgent or self._later
            wanted = {task_id: source.pop(task_id) for task_id in list(source)[:_FETCH]}
            if not (self._urgent or self._later):
                self._noted.clear()
            if len(self._urgent) + len(self._later) < _MAX_NOTED:
                self._room.set()
            with_result = self._with_result > 0
            try:
                records = await self._store.get(list(wanted), with_result)
            except ServerUnavailable:
                await self._clock.sleep(_RETRY_S)
                self._lose()
                continue
            if self._with_result and not with_result:
                # Somebody who wants results came meanwhile, and must not be told of an end without its result.
                for task_id, broad in wanted.items():
                    self._note((task_id,), broad=broad)
                continue
            for (task_id, broad), record in zip(wanted.items(), records, strict=True):
                try:
                    self._distribute(task_id, record, broad)
                except Exception as error:
                    _LOG.error("update failed", exc_info=error, extra={"task_id": task_id})

    def _distribute(self, task_id: str, record: Record | None, broad: bool) -> None:
        named = self._by_id.get(task_id, ())
        if record is None:
            for watcher in named:
                watcher.missing(task_id)
            return
        updates: dict[bool, task_pb2.Task] = {}
        labels: dict[str, str] | None = None
        for watcher in (*named, *self._broad) if broad else named:
            if watcher.tenant != record.tenant:
                watcher.missing(task_id)
                continue
            if watcher.labels:
                labels = dict(convert.spec_of(record).labels) if labels is None else labels
                if not watcher.matches(labels):
                    continue
            update = updates.get(watcher.include_result)
            if update is None:
                update = convert.update_of(record, include_result=watcher.include_result)
                updates[watcher.include_result] = update
            watcher.offer(record, update)

    def _watchers(self) -> set[Watcher]:
        return self._broad.union(*self._by_id.values())

    def _ring_all(self) -> None:
        for bells in self._bells.values():
            for bell in bells:
                bell.set()


def _discard(table: dict[str, set[Any]], key: str, member: object) -> None:
    members = table.get(key)
    if members is not None:
        members.discard(member)
        if not members:
            del table[key]


@asynccontextmanager
async def event_hub(feed: EventFeed, store: QueryStore, clock: Clock) -> AsyncIterator[EventHub]:
    """Run a hub while the block lasts."""
    async with asyncio.TaskGroup() as group:
        hub = EventHub(feed, store, clock, group)
        try:
            yield hub
        finally:
            hub.close()
            hub.rest()
