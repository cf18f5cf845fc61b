"""Ends tasks whose answer is known, and reads what runs came to."""

from collections.abc import Sequence
from typing import Final

from redis.asyncio import Redis

from scheduler.adapters.redis.connection import Argument
from scheduler.adapters.redis.keeping import retention_argument
from scheduler.adapters.redis.partitions import PREFIXES, by_partition
from scheduler.adapters.redis.scripts import load_script, run_script
from scheduler.adapters.retention import DEFAULT_RETENTION, Retention
from scheduler.ports.answers import Answered, Closed, RunOutcome
from scheduler.ports.records import Hold
from scheduler.states import TaskState

ENOUGH_BYTES: Final = 16 << 20
"""Bytes of results from which on no more is read, in the partitions together; of each partition one task is."""
_CLOSED: Final = (None, Closed.ENDED, Closed.STALE, Closed.HELD, Closed.EXPIRED)


class RedisAnswers:
    """AnswerStore on Redis. Does not own the client."""

    def __init__(self, client: Redis, retention: Retention = DEFAULT_RETENTION) -> None:
        self._client = client
        self._answer = load_script("answer", "lines", "keeping", "endings")
        self._outcomes = load_script("outcomes")
        self._header: list[Argument] = [retention_argument(retention), retention.stream_chunks]

    async def answer(self, answered: Sequence[Answered]) -> list[Closed]:
        """End tasks; see AnswerStore."""
        if not answered:
            return []
        split = by_partition(answered, lambda one: one.id)
        calls = [
            (PREFIXES[partition], self._arguments([answered[place] for place in places]))
            for partition, places in split.items()
        ]
        verdicts = [Closed.STALE] * len(answered)
        replies = await run_script(self._client, self._answer, calls)
        for places, codes in zip(split.values(), replies, strict=True):
            for place, code in zip(places, codes, strict=True):
                verdicts[place] = _CLOSED[code] or Closed.STALE
        return verdicts

    def _arguments(self, batch: Sequence[Answered]) -> list[Argument]:
        numbers: dict[int, int] = {}
        words: list[Argument] = []
        tasks: list[Argument] = []
        for task_id, publication, answer in batch:
            # By identity: comparing results would read them all.
            number = numbers.get(id(answer))
            if number is None:
                number = numbers[id(answer)] = len(numbers) + 1
                words += (int(answer.state), answer.reason, answer.body, answer.void, len(answer.outputs))
                words += answer.outputs
            tasks += (task_id, publication, number)
        return [*self._header, len(numbers), *words, *tasks]

    async def outcomes(self, holds: Sequence[Hold], largest: int) -> list[RunOutcome | None]:
        """Read what attempts came to; see AnswerStore."""
        if not holds:
            return []
        split = by_partition(holds, lambda hold: hold.id)
        calls = []
        for partition, places in split.items():
            arguments: list[Argument] = [largest, max(1, ENOUGH_BYTES // len(split))]
            for place in places:
                arguments += holds[place]
            calls.append((PREFIXES[partition], arguments))
        found: list[RunOutcome | None] = [None] * len(holds)
        replies = await run_script(self._client, self._outcomes, calls)
        for places, answers in zip(split.values(), replies, strict=True):
            for place, answer in zip(places, answers, strict=True):
                if answer:
                    found[place] = RunOutcome(TaskState(int(answer[0])), answer[1], tuple(answer[2:]))
        return found
