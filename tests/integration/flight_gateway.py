"""A process that asks the same question many times at once, as a gateway does; a test steers it by lines.

In: `ask <question> <how many>`, `go <question>`. Out: `ready`, `computing <question>`, `answered <question> <answers>`
with what each of its requests got, together.
"""

import asyncio
import hashlib
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence

from redis.asyncio import Redis

from cache.adapters.redis import carrying
from cache.adapters.redis.flights import RedisFlights, RedisRelay
from cache.adapters.redis.news import News
from cache.flights import Lead, Sharing, SingleFlight, single_flight
from cache.ports import Key
from scheduler.adapters.clock import SystemClock
from scheduler.adapters.redis import connect

LEASE_MS = 3_000
NORMAL = 3


class Question:
    """The call of each request: a computation that waits until it is let go."""

    def __init__(self, text: str, client: Redis, go: asyncio.Event) -> None:
        self.text, self._client, self._go = text, client, go

    @property
    def shares(self) -> bool:
        return True

    @property
    def trace(self) -> bytes:
        return b""

    reads = True

    def followed(self, trace: bytes) -> None:
        assert not trace, "nobody says anything of its computation"

    def accepts(self, began_ms: int) -> bool:
        return True

    async def find(self) -> str | None:
        answer = await self._client.get(f"answer:{self.text}")
        return answer.decode() if isinstance(answer, bytes) else None

    async def compute(self, lead: Lead) -> str:
        say(f"computing {self.text}")
        await self._go.wait()
        return f"answer-to-{self.text}"

    async def keep(self, answer: str) -> None:
        await self._client.set(f"answer:{self.text}", answer)

    def status_of(self, failure: Exception) -> bytes:
        return repr(failure).encode()

    def chunks_of(self, answer: str) -> Sequence[bytes]:
        return []

    def content_of(self, chunk: bytes) -> bytes:
        return chunk


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def ask(flights: SingleFlight[str], question: Question, count: int) -> None:
    key = Key(b"n" * 16, hashlib.sha256(question.text.encode()).digest())
    answers = Counter(await asyncio.gather(*(flights.do(key, NORMAL, question) for _ in range(count))))
    say(f"answered {question.text} {dict(answers)}")


async def main(url: str, name: str) -> None:
    client = connect(url, timeout_s=2.0)
    news = News(client)
    sharing = Sharing(
        RedisFlights(client, news), RedisRelay(client, news), SystemClock(), name, LEASE_MS, renew_s=0.2
    )
    gates: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
    async with carrying(client), asyncio.TaskGroup() as group:
        listening = group.create_task(news.run())
        async with single_flight(sharing, str) as flights:
            say("ready")
            while line := await asyncio.to_thread(sys.stdin.readline):
                match line.split():
                    case ["ask", text, count]:
                        question = Question(text, client, gates[text])
                        group.create_task(ask(flights, question, int(count)))
                    case ["go", text]:
                        gates[text].set()
        listening.cancel()
    await client.aclose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
