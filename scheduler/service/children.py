"""What the end of a task means for those that depend on it: they begin, get its output, or end with it.

Every step is idempotent, so it can be done by several schedulers and as often as anybody likes.
"""

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple, TypeVar

from google.protobuf.message import DecodeError

from forebay.tasks.v1.envelope_pb2 import Envelope
from scheduler.errors import ParentOutputUnusable
from scheduler.policies.parents import OnParentFailure
from scheduler.ports.follow_ups import ChildVerdict, FollowUpStore, Release, Released
from scheduler.ports.records import QueryStore, Record, Republication
from scheduler.replacing import envelope_digest
from scheduler.service.outgoing import Outgoing
from scheduler.service.parent_outputs import wanted_parents, with_outputs
from scheduler.states import TaskState
from services.parting import release_of
from services.status import to_status

log = logging.getLogger(__name__)

T = TypeVar("T")

BATCH = 128
"""Children that are released in one step."""
MOST_RESULTS = 64
"""Results of parents held in memory at a time; one task takes no more of them."""


class Parting(NamedTuple):
    """A child, and the end of one of its parents."""

    child: str
    parent: str
    state: TaskState | None
    """How the parent ended; None when there is no such task any more."""


class Blocked(NamedTuple):
    """A task that waits for others, as it was read."""

    envelope: Envelope
    raw: bytes


class Children:
    """Deals with tasks that wait for others."""

    def __init__(self, store: FollowUpStore, queries: QueryStore, outgoing: Outgoing) -> None:
        self._store = store
        self._queries = queries
        self._outgoing = outgoing

    async def parents_ended(self, ended: Mapping[str, TaskState]) -> None:
        """Release the children of tasks that reached these terminal states. Raises RecordsUnavailable."""
        families = await self._store.children(list(ended))
        await self._part(
            Parting(child, parent, state)
            for (parent, state), children in zip(ended.items(), families, strict=True)
            for child in children
        )

    async def link(self, tasks: Sequence[Republication]) -> None:
        """Make BLOCKED tasks known to their parents, and release them from those that have ended: what a gateway does
        that does not die before. Raises RecordsUnavailable.
        """
        if not tasks:
            return
        pairs: dict[str, list[tuple[str, str]]] = {}
        blocked = await self._blocked([task.id for task in tasks])
        for child, (envelope, _) in blocked.items():
            pairs.setdefault(envelope.tenant, []).extend((parent, child) for parent in envelope.parents)
        for tenant, theirs in pairs.items():
            states = await self._store.link(theirs, tenant)
            await self._part(
                Parting(child, parent, state)
                for (parent, child), state in zip(theirs, states, strict=True)
                if state is None or state.terminal
            )

    async def _part(self, partings: Iterable[Parting]) -> None:
        for batch in _batches(partings, BATCH):
            ids = list(dict.fromkeys(parting.child for parting in batch))
            blocked = await self._blocked(ids)
            releases = [
                _release(parting, blocked[parting.child].envelope)
                for parting in batch
                if parting.child in blocked
            ]
            ready = await self._release(releases)
            if ready:
                await self._put_in_outputs(ready)

    async def _release(self, releases: Sequence[Release]) -> list[str]:
        """Release, and let go out what begins; returns those that are held for outputs."""
        if not releases:
            return []
        outcomes, tasks, tickets = await self._store.release(releases)
        self._outgoing.offer(tasks, tickets)
        return list(
            dict.fromkeys(
                release.child
                for release, outcome in zip(releases, outcomes, strict=True)
                if outcome is Released.READY
            )
        )

    async def _put_in_outputs(self, ready: Sequence[str]) -> None:
        # Read anew: what was read before may have been changed by its owner since.
        waiting = deque((await self._blocked(ready)).values())
        while waiting:
            results: dict[str, bytes] = {}
            wanted: dict[str, None] = {}
            now: list[Blocked] = []
            while waiting and (not now or len(wanted) < MOST_RESULTS):
                child = waiting.popleft()
                now.append(child)
                try:
                    wanted.update(dict.fromkeys(wanted_parents(child.envelope)))
                except ParentOutputUnusable:
                    # Putting them in fails for the same reason, and says so.
                    continue
            for parent in await self._queries.get(list(wanted), True):
                if parent is not None:
                    results[parent.id] = parent.result
            changed = await self._release([_fill(child, results) for child in now])
            # Their owner changed them in this very moment.
            waiting.extend((await self._blocked(changed)).values())

    async def _blocked(self, ids: Sequence[str]) -> dict[str, Blocked]:
        """Read those tasks that are BLOCKED."""
        if not ids:
            return {}
        records = await self._queries.get(ids, False)
        return dict(filter(None, map(_blocked, records)))


def _blocked(record: Record | None) -> tuple[str, Blocked] | None:
    if record is None or record.state is not TaskState.BLOCKED:
        return None
    try:
        return record.id, Blocked(Envelope.FromString(record.envelope), record.envelope)
    except DecodeError:
        # A record that something else has written into.
        log.error("a record has an envelope that cannot be read", extra={"task_id": record.id})
        return None


def _release(parting: Parting, child: Envelope) -> Release:
    choice = OnParentFailure.of(child.on_parent_failure)
    return release_of(parting.child, parting.parent, parting.state, choice, takes_outputs=child.takes_outputs)


def _fill(blocked: Blocked, results: Mapping[str, bytes]) -> Release:
    """Return the release of a child whose parents have all ended, with their outputs in its input."""
    child = blocked.envelope
    parent = child.parents[-1] if child.parents else ""
    replaces = envelope_digest(blocked.raw)
    try:
        filled = with_outputs(child, results)
        return Release(child.id, parent, ChildVerdict.RUN, envelope=filled, replaces=replaces)
    except ParentOutputUnusable as error:
        log.info("outputs of parents cannot be used", extra={"task_id": child.id})
        return Release(
            child.id,
            parent,
            ChildVerdict.FAIL,
            error=to_status(error).SerializeToString(),
            reason=error.reason,
        )


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    left = iter(items)
    while batch := list(islice(left, size)):
        yield batch
