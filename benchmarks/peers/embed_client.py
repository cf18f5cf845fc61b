"""The client of measurements of embeddings: one text a call, so many calls in flight, over the direct door.

python -m benchmarks.peers.embed_client ADDRESS MODEL
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from benchmarks.peers.worker import Measure, serve
from forebay.client import AsyncClient

T = TypeVar("T")


def _prepare() -> tuple[str, dict[str, Measure]]:
    address, model = sys.argv[1:3]

    async def with_client(use: Callable[[AsyncClient], Awaitable[T]]) -> T:
        async with AsyncClient(address) as client:
            return await use(client)

    async def drive(client: AsyncClient, texts: list[str], in_flight: int) -> list[list[float]]:
        vectors: list[list[float]] = [[] for _ in texts]
        places = iter(range(len(texts)))

        async def loop() -> None:
            for at in places:
                answer = await client.embed(model, [texts[at]], normalize=True)
                vectors[at] = [float(value) for value in answer.vectors[0]]

        await asyncio.gather(*(loop() for _ in range(in_flight)))
        return vectors

    def rate(texts: list[str], in_flight: int) -> float:
        async def timed(client: AsyncClient) -> float:
            await client.embed(model, texts[:1])  # the connection is there
            began_s = time.perf_counter()
            places = iter(texts)

            async def loop() -> None:
                for text in places:
                    await client.embed(model, [text], normalize=True)

            await asyncio.gather(*(loop() for _ in range(in_flight)))
            return len(texts) / (time.perf_counter() - began_s)

        return asyncio.run(with_client(timed))

    def vectors(texts: list[str]) -> list[list[float]]:
        return asyncio.run(with_client(lambda client: drive(client, texts, 8)))

    return "the SDK's AsyncClient, a text a call", {"rate": rate, "vectors": vectors}


if __name__ == "__main__":
    serve(_prepare)
