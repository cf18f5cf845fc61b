"""Writes what executions bring: endings with results, and output as it comes."""

from collections.abc import Sequence

from redis.asyncio import Redis

from scheduler.adapters.redis.connection import Argument
from scheduler.adapters.redis.keeping import retention_argument
from scheduler.adapters.redis.partitions import PREFIXES, by_partition
from scheduler.adapters.redis.scripts import load_script, run_script
from scheduler.adapters.retention import DEFAULT_RETENTION, Retention
from scheduler.ports.records import Ending, OutputChunk, Written
from scheduler.states import TaskState

WRITTEN = (None, Written.WRITTEN, Written.ALREADY, Written.FENCED)


class RedisOutcomes:
    """OutcomeStore on Redis. Does not own the client."""

    def __init__(self, client: Redis, retention: Retention = DEFAULT_RETENTION) -> None:
        self._client = client
        self._finish = load_script("finish", "keeping", "letters")
        self._append = load_script("append", "keeping")
        self._header: list[Argument] = [
            retention_argument(retention),
            retention.stream_chunks,
        ]
        self._dead_letter_ms = retention.dead_letter_s * 1000

    async def finish(self, endings: Sequence[Ending]) -> list[Written]:
        """Write terminal states, or plan the next attempt; see OutcomeStore."""
        if not endings:
            return []
        split = by_partition(endings, lambda ending: ending.id)
        calls = []
        for partition, places in split.items():
            arguments = [*self._header, self._dead_letter_ms]
            for place in places:
                ending = endings[place]
                succeeded = ending.state is TaskState.SUCCEEDED
                if succeeded and not ending.last_output and not ending.reason:
                    arguments += (ending.id, ending.attempt, ending.result)
                else:
                    arguments += (
                        ending.id,
                        f"!{int(ending.state)},{ending.attempt},{_retry_in_ms(ending)},{ending.reason}",
                        ending.result if succeeded else ending.error,
                        ending.last_output,
                    )
            calls.append((PREFIXES[partition], arguments))
        replies = await run_script(self._client, self._finish, calls)
        answers = [Written.FENCED] * len(endings)
        for places, codes in zip(split.values(), replies, strict=True):
            for place, code in zip(places, codes, strict=True):
                answers[place] = WRITTEN[code] or Written.FENCED
        return answers

    async def append_output(self, chunks: Sequence[OutputChunk]) -> list[int]:
        """Append to token streams; see OutcomeStore."""
        if not chunks:
            return []
        split = by_partition(chunks, lambda chunk: chunk.id)
        calls = []
        for partition, places in split.items():
            arguments = list(self._header)
            for place in places:
                chunk = chunks[place]
                arguments += (chunk.id, chunk.attempt, chunk.after, chunk.payload)
            calls.append((PREFIXES[partition], arguments))
        replies = await run_script(self._client, self._append, calls)
        numbers = [0] * len(chunks)
        for places, sequence in zip(split.values(), replies, strict=True):
            for place, number in zip(places, sequence, strict=True):
                numbers[place] = number
        return numbers


def _retry_in_ms(ending: Ending) -> int:
    return ending.retry_in_ms if ending.state is TaskState.FAILED else -1
