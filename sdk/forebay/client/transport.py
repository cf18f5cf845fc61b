"""How requests reach the server: over grpc.aio, or by blocking the thread.

All that the client decides (retries, resuming, splitting into batches) is written once, as coroutines over the
Transport below. Over the blocking transport such a coroutine never suspends, so `complete` can run it to its end on
the calling thread: there is no event loop in the background, and Ctrl-C arrives where the call was made.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Coroutine, Iterator, Sequence
from typing import Any, Final, Protocol, TypeVar

import grpc

from forebay.client.errors import from_rpc
from forebay.client.methods import Method, Q, R

T = TypeVar("T")
Metadata = Sequence[tuple[str, str]]

OPTIONS: Final = (
    ("grpc.max_send_message_length", 64 << 20),
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # The defaults wait a second after the first failure and two minutes in the end.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Retries are ours: they know what is safe.
    ("grpc.enable_retries", 0),
)


class Transport(Protocol):
    """Sends requests. Every method raises errors of `forebay.client.errors`."""

    async def unary(self, method: Method[Q, R], request: Q, timeout_s: float, metadata: Metadata) -> R:
        """Make one call. Cancelling it cancels the call."""
        ...

    def stream(
        self, method: Method[Q, R], request: Q, timeout_s: float, metadata: Metadata
    ) -> AsyncGenerator[R, None]:
        """Make one call that answers with many messages. Closing the iterator cancels the call."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...

    async def gather(self, work: Sequence[Coroutine[Any, Any, T]], limit: int) -> list[T]:
        """Run all, `limit` at a time where that is possible; return results in order, raise the first error."""
        ...

    async def close(self) -> None:
        """Let go of the connection; calls in progress end with CallCancelled. Idempotent."""
        ...


class AsyncTransport:
    """Over grpc.aio. Belongs to the event loop that it was made in."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._channel = grpc.aio.insecure_channel(address, options=OPTIONS)

    async def unary(self, method: Method[Q, R], request: Q, timeout_s: float, metadata: Metadata) -> R:
        """Make one call."""
        call = self._channel.unary_unary(
            method.path, method.request.SerializeToString, method.response.FromString
        )
        try:
            answer: R = await call(request, timeout=timeout_s, metadata=tuple(metadata))
        except grpc.RpcError as error:
            raise from_rpc(error, self._address) from None
        return answer

    async def stream(
        self, method: Method[Q, R], request: Q, timeout_s: float, metadata: Metadata
    ) -> AsyncGenerator[R, None]:
        """Make one call that answers with many messages."""
        call = self._channel.unary_stream(
            method.path, method.request.SerializeToString, method.response.FromString
        )(request, timeout=timeout_s, metadata=tuple(metadata))
        try:
            async for answer in call:
                yield answer
        except grpc.RpcError as error:
            raise from_rpc(error, self._address) from None
        finally:
            call.cancel()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    async def gather(self, work: Sequence[Coroutine[Any, Any, T]], limit: int) -> list[T]:
        """Run all, `limit` at a time."""
        if len(work) == 1:
            return [await work[0]]
        free = asyncio.Semaphore(limit)

        async def run(one: Awaitable[T]) -> T:
            async with free:
                return await one

        try:
            async with asyncio.TaskGroup() as group:
                running = [group.create_task(run(one)) for one in work]
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
        finally:
            for one in work:
                one.close()
        return [task.result() for task in running]

    async def close(self) -> None:
        """Let go of the connection."""
        await self._channel.close()


class BlockingTransport:
    """By blocking the calling thread. May be shared by threads."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._channel = grpc.insecure_channel(address, options=OPTIONS)

    async def unary(self, method: Method[Q, R], request: Q, timeout_s: float, metadata: Metadata) -> R:
        """Make one call."""
        call = self._channel.unary_unary(
            method.path, method.request.SerializeToString, method.response.FromString
        )
        try:
            answer: R = call(request, timeout=timeout_s, metadata=tuple(metadata))
        except grpc.RpcError as error:
            raise from_rpc(error, self._address) from None
        return answer

    async def stream(
        self, method: Method[Q, R], request: Q, timeout_s: float, metadata: Metadata
    ) -> AsyncGenerator[R, None]:
        """Make one call that answers with many messages."""
        call = self._channel.unary_stream(
            method.path, method.request.SerializeToString, method.response.FromString
        )(request, timeout=timeout_s, metadata=tuple(metadata))
        try:
            for answer in call:
                yield answer
        except grpc.RpcError as error:
            raise from_rpc(error, self._address) from None
        finally:
            call.cancel()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)  # noqa: ASYNC251  blocking is this transport's purpose

    async def gather(self, work: Sequence[Coroutine[Any, Any, T]], limit: int) -> list[T]:
        """Run all, one after the other."""
        try:
            return [await one for one in work]
        finally:
            for one in work:
                one.close()

    async def close(self) -> None:
        """Let go of the connection."""
        self._channel.close()


def complete(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine over a blocking transport to its end, on this thread."""
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    work.close()
    raise RuntimeError("a call over the blocking transport tried to suspend")


def iterate(work: AsyncGenerator[T, None]) -> Iterator[T]:
    """Turn an asynchronous generator over a blocking transport into an ordinary one."""
    try:
        while (item := complete(_next(work))) is not None:
            yield item[0]
    finally:
        complete(_close(work))


async def _next(work: AsyncGenerator[T, None]) -> tuple[T] | None:
    try:
        return (await anext(work),)
    except StopAsyncIteration:
        return None


async def _close(work: AsyncGenerator[T, None]) -> None:
    await work.aclose()
