"""Envelopes and bundles as the gateway makes them, and a recovery on a log and a store in memory."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from forebay.tasks.v1 import task_pb2
from forebay.tasks.v1.envelope_pb2 import Bundle, Ended, Endings, Envelope, Publication
from scheduler.adapters.clock import FakeClock
from scheduler.adapters.memory import MemoryStore
from scheduler.adapters.memory.log import MemoryLog
from scheduler.ids import new_ids
from scheduler.lanes import Lane, queue_lanes
from scheduler.states import Level, TaskState
from services.bundling import Bundler
from services.recovery.reading import LogContents
from services.recovery.replay import Replay, Replayed

NOW_MS = 1_700_000_000_000
LANES = [lane for level in Level for lane in queue_lanes("default", level, 8)]


def envelope(
    *,
    partition: int = 0,
    key: str = "",
    parents: Sequence[str] = (),
    references: Sequence[int] = (),
    **fields: Any,
) -> Envelope:
    spec = task_pb2.TaskSpec(model="echo", idempotency_key=key)
    for parent in references:
        spec.inputs_from.add(parent=parent, output="text", input="x")
    body = spec.SerializeToString()
    return Envelope(
        id=new_ids(partition, 1, NOW_MS)[0],
        tenant="acme",
        spec=body,
        sha256=sha256(body).digest(),
        model="echo",
        priority=task_pb2.PRIORITY_NORMAL,
        pool="default",
        create_time_ms=NOW_MS,
        max_attempts=3,
        parents=parents,
        takes_outputs=bool(references),
        fingerprint="f" * 64 if key else "",
        **fields,
    )


class World:
    """A log, a store and a clock in memory."""

    def __init__(self) -> None:
        self.clock = FakeClock(NOW_MS)
        self.store = MemoryStore(self.clock)
        self.log = MemoryLog()
        self.publisher = self.log.publisher()

    async def accept(self, *accepted: Envelope, publication: int = 1, lane: Lane = LANES[16]) -> None:
        """Put tasks on a lane without recording them: what is left when the store lost everything."""
        bundle = Bundle(
            publications=[Publication(envelope=each, publication=publication) for each in accepted]
        )
        await self.publisher.publish(lane, bundle.SerializeToString(), {})

    async def park(self, *accepted: Envelope) -> None:
        bundle = Bundle(publications=[Publication(envelope=each) for each in accepted])
        await self.publisher.park("default", bundle.SerializeToString())

    async def end(self, state: TaskState, *ids: str) -> None:
        endings = Endings(ended=[Ended(state=state, ids=ids)])  # type: ignore[arg-type]  # the same numbers
        await self.publisher.journal(endings.SerializeToString())

    async def recover(self, *, dry_run: bool = False) -> Replayed:
        return await Replay(
            LogContents(self.log.reader(), LANES),
            admissions=self.store.records,
            queries=self.store.records,
            follow_ups=self.store.follow_ups,
            bundler=Bundler(self.publisher, 8),
            dry_run=dry_run,
        ).run()

    async def state(self, task_id: str) -> TaskState | None:
        record = (await self.store.records.get([task_id], False))[0]
        return record.state if record else None

    def published(self) -> list[Publication]:
        """Return everything that was ever put on a lane, oldest first."""
        return [
            publication
            for lane in LANES
            for message in self.log.partition(lane).kept
            for publication in Bundle.FromString(message.payload).publications
        ]
