"""Accepts tasks: records, idempotency keys, listing index and the reminder to publish, in one script."""

from collections.abc import Mapping, Sequence
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
        self._script = load_script("create", "lines")
        self._retention = retention

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
                found[place] = Admission(CREATED, task.id, task.state, _first_publication(task), now)
            for position, verdict, task_id, packed in odd:
                found[places[position - 1]] = _admission(verdict, task_id, packed)
        return [found[place] for place in range(len(tasks))], tickets

    async def known(self, tasks: Sequence[NewTask]) -> list[Admission | None]:
        """Tell which tasks exist under their keys; see AdmissionStore."""
        if not tasks:
            return []
        bases = [PREFIXES[int(task.id[:2])] for task in tasks]
        asked: list[Command] = [
            ("GET", f"{base}k:{key_digest(task.tenant, task.idempotency_key)}")
            for base, task in zip(bases, tasks, strict=True)
        ]
        owners: list[bytes | None] = await run_commands(self._client, asked)
        held = {place: owner.split(b" ", 1) for place, owner in enumerate(owners) if owner is not None}
        answers: list[Admission | None] = [None] * len(tasks)
        if not held:
            return answers
        reads: list[Command] = [
            ("HGET", f"{bases[place]}t:{task_id.decode()}", "v") for place, (task_id, _) in held.items()
        ]
        for (place, (task_id, seen)), packed in zip(
            held.items(), await run_commands(self._client, reads), strict=True
        ):
            if packed is not None:
                same = seen.decode() == tasks[place].fingerprint
                verdict = Admitted.EXISTING if same else Admitted.CONFLICT
                answers[place] = _admission(verdict, task_id, packed)
        return answers

    async def mark_published(self, tickets: Sequence[PublishTicket]) -> None:
        """Forget tickets; see AdmissionStore."""
        commands: list[Command] = [
            ("ZREM", f"{PREFIXES[ticket.partition]}unpublished", ticket.member) for ticket in tickets
        ]
        if commands:
            await run_commands(self._client, commands)

    async def hasten(self, tickets: Sequence[PublishTicket]) -> None:
        """Make tickets due; see AdmissionStore."""
        commands: list[Command] = [
            ("ZADD", f"{PREFIXES[ticket.partition]}unpublished", "XX", 0, ticket.member) for ticket in tickets
        ]
        if commands:
            await run_commands(self._client, commands)

    def _arguments(self, batch: Sequence[NewTask]) -> list[Argument]:
        runs = [(tenant, list(run)) for tenant, run in groupby(batch, lambda task: task.tenant)]
        words, places = _known_answers(batch)
        arguments: list[Argument] = [
            *(self._retention.key_s * 1000, len(runs), self._retention.stream_chunks, len(words)),
            *words,
        ]
        for tenant, run in runs:
            keyed = any(task.idempotency_key for task in run)
            special = any(_is_special(task) for task in run)
            kept_ms = self._retention.record_s(tenant) * 1000
            index = index_name(tenant)
            arguments += (tenant, index, kept_ms, len(run), int(keyed), int(special))
            for task in run:
                queue = f"{task.pool}.{int(task.level)}.{index}.{task.model}"
                meta = f"{task.max_attempts},{task.deadline_ms},{queue}"
                arguments += (task.id, meta, task.envelope)
                if keyed:
                    key = task.idempotency_key
                    arguments.append(key_digest(tenant, key) + task.fingerprint if key else "")
                if special:
                    arguments.append(_birth(task, places) if _is_special(task) else "")
        return arguments


_Known = tuple[bytes, str, tuple[bytes, ...]]


def _known_answers(batch: Sequence[NewTask]) -> tuple[list[Argument], dict[_Known, int]]:
    """Return the words about answers that are known, each once, and where those of each begin."""
    words: list[Argument] = []
    places: dict[_Known, int] = {}
    for task in batch:
        if task.state is TaskState.SUCCEEDED:
            known = task.result, task.reason, task.outputs
            if known not in places:
                places[known] = len(words) + 1
                words += (task.result, task.reason, len(task.outputs), *task.outputs)
    return words, places


def _is_special(task: NewTask) -> bool:
    return task.state is not QUEUED or task.publication != 1


def _first_publication(task: NewTask) -> int:
    """Return the number with which a record begins: one less for what is not QUEUED yet."""
    return task.publication if task.state is QUEUED else task.publication - 1


def _birth(task: NewTask, places: Mapping[_Known, int]) -> str:
    if task.state is TaskState.SUCCEEDED:
        return f"{int(task.state)},{places[task.result, task.reason, task.outputs]},0;"
    parents = ",".join(task.parents)
    return f"{int(task.state)},{_first_publication(task)},{task.not_before_ms};{parents}"


def _admission(verdict: int, task_id: bytes, packed: bytes) -> Admission:
    fields, first = packed.split(b";", 2)[:2]
    state, _, publication = fields.split(b",", 3)[:3]
    return Admission(
        Admitted(verdict), task_id.decode(), TaskState(int(state)), int(publication), int(first[1:14])
    )
