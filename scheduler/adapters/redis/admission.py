"""Accepts tasks: records, idempotency keys, listing index and the reminder to publish, in one script."""

from collections.abc import Sequence
from itertools import groupby

from redis.asyncio import Redis

from scheduler.adapters.redis.connection import Argument, Command
from scheduler.adapters.redis.partitions import PREFIXES, by_partition, index_name, key_digest
from scheduler.adapters.redis.scripts import load_script, run_commands, run_script
from scheduler.adapters.retention import DEFAULT_RETENTION, Retention
from scheduler.ports.records import Admission, Admitted, NewTask, PublishTicket
from scheduler.states import TaskState

CREATED, QUEUED = Admitted.CREATED, TaskState.QUEUED


class RedisAdmission:
    """AdmissionStore on Redis. Does not own the client."""

    def __init__(self, client: Redis, retention: Retention = DEFAULT_RETENTION) -> None:
        self._client = client
        self._script = load_script("create")
        self._header: list[Argument] = [
            retention.retention_s * 1000,
            retention.key_s * 1000,
        ]

    async def create(self, tasks: Sequence[NewTask]) -> tuple[list[Admission], list[PublishTicket]]:
        """Record tasks; see AdmissionStore."""
        if not tasks:
            return [], []
        split = by_partition(tasks, lambda task: task.id)
        batches = [[tasks[place] for place in places] for places in split.values()]
        calls = [
            (PREFIXES[partition], self._arguments(batch))
            for partition, batch in zip(split, batches, strict=True)
        ]
        replies = await run_script(self._client, self._script, calls)
        tickets: list[PublishTicket] = []
        found: dict[int, Admission] = {}
        for (partition, places), batch, (now, member, odd) in zip(
            split.items(), batches, replies, strict=True
        ):
            if member:
                tickets.append(PublishTicket(partition, member.decode()))
            for place, task in zip(places, batch, strict=True):
                found[place] = Admission(CREATED, task.id, QUEUED, 1, now)
            for position, verdict, task_id, packed in odd:
                found[places[position - 1]] = _admission(verdict, task_id, packed)
        return [found[place] for place in range(len(tasks))], tickets

    async def mark_published(self, tickets: Sequence[PublishTicket]) -> None:
        """Forget tickets; see AdmissionStore."""
        commands: list[Command] = [
            ("ZREM", f"{PREFIXES[ticket.partition]}unpublished", ticket.member) for ticket in tickets
        ]
        if commands:
            await run_commands(self._client, commands)

    def _arguments(self, batch: Sequence[NewTask]) -> list[Argument]:
        runs = [(tenant, list(run)) for tenant, run in groupby(batch, lambda task: task.tenant)]
        arguments = [*self._header, len(runs)]
        for tenant, run in runs:
            keyed = any(task.idempotency_key for task in run)
            arguments += (tenant, index_name(tenant), len(run), int(keyed))
            for task in run:
                meta = f"{task.max_attempts},{task.deadline_ms},{task.pool}.{int(task.level)}"
                arguments += (task.id, meta, task.envelope)
                if keyed:
                    key = task.idempotency_key
                    arguments.append(key_digest(tenant, key) + task.fingerprint if key else "")
        return arguments


def _admission(verdict: int, task_id: bytes, packed: bytes) -> Admission:
    fields, first = packed.split(b";", 2)[:2]
    state, _, publication = fields.split(b",", 3)[:3]
    return Admission(
        Admitted(verdict), task_id.decode(), TaskState(int(state)), int(publication), int(first[1:14])
    )
