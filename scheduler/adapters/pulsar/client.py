"""The Pulsar client as this project uses it: quiet, bounded in time, safe to close. Called by publisher and consumer.

The client does its work in threads of its own and answers through callbacks in those threads. Two facts shape
what is here. A callback that meets a closed event loop aborts the process, so every answer goes through
`answer_on`, which does not mind; and the coroutines of `pulsar.asyncio` lose a message when they are cancelled
between its arrival and their waking, so messages are asked for and sent with the calls below those coroutines.
"""

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from typing import Any, Final

import pulsar
import pulsar.asyncio

from scheduler.errors import LogUnavailable, StartupRefused

OK: Final = pulsar.Result.Ok
CLOSE_TIMEOUT_S: Final = 1.5
FORCE_TIMEOUT_S: Final = 0.5

logger = logging.getLogger(__name__)


def open_client(url: str, timeout_s: float) -> pulsar.asyncio.Client:
    """Make a client for a broker. Connects to nothing yet.

    `timeout_s` bounds each attempt to find a topic, to open a producer and to subscribe. The client's own log is
    thrown away: written to by its threads, it would otherwise go to stdout; what matters comes back as results.

    Raises StartupRefused when the URL is not one of a Pulsar broker.
    """
    if not url.startswith(("pulsar://", "pulsar+ssl://")):
        raise StartupRefused(f"the broker's URL is {url!r}; it must look like pulsar://127.0.0.1:6650")
    try:
        return pulsar.asyncio.Client(
            url,
            operation_timeout_seconds=max(1, round(timeout_s)),
            connection_timeout_ms=max(1, round(timeout_s * 1000)),
            stats_interval_in_seconds=0,
            logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, os.devnull),
        )
    except (ValueError, RuntimeError, pulsar.PulsarException) as error:
        raise StartupRefused(f"the broker's URL {url!r} is not usable: {error}") from error


async def close_client(client: pulsar.asyncio.Client) -> None:
    """Close a client and all that was opened with it; by force when it does not answer in time.

    `client.close()` would answer through a callback in a thread that ends some time later; when that thread lets go
    of the callback while Python ends, it aborts the process (7 of 30 ends, measured). The blocking call has none.
    """
    cause = await _in_thread(client._client.close, CLOSE_TIMEOUT_S)
    if cause is not None:
        logger.info("closing the log client by force", extra={"cause": repr(cause)})
        # It waits for the client's threads, which may be where the first call is stuck.
        if isinstance(await _in_thread(client._client.shutdown, FORCE_TIMEOUT_S), TimeoutError):
            logger.warning("log client not closed")


async def _in_thread(call: Callable[[], None], timeout_s: float) -> Exception | None:
    """Run a blocking call away from the loop and return how it failed. One that takes too long is left alone.

    Not in a thread of the loop's pool: the loop would wait for one that never comes back.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Exception | None] = loop.create_future()

    def settle(cause: Exception | None) -> None:
        if not answer.done():
            answer.set_result(cause)

    settled = answer_on(loop, settle)

    def run() -> None:
        try:
            call()
        except Exception as error:
            settled(error)
        else:
            settled(None)

    threading.Thread(target=run, daemon=True, name="close-log-client").start()
    try:
        async with asyncio.timeout(timeout_s):
            return await answer
    except TimeoutError as error:
        return error


def answer_on(loop: asyncio.AbstractEventLoop, answered: Callable[..., None]) -> Callable[..., None]:
    """Make a callback for the client's threads that calls `answered` on the loop, or nothing when it is closed."""

    def from_thread(*answer: Any) -> None:
        # A loop that is gone has nobody left to tell.
        try:
            loop.call_soon_threadsafe(answered, *answer)
        except RuntimeError:
            return

    return from_thread


def unavailable(what: str, cause: object) -> LogUnavailable:
    """Describe a result of the client as the domain's error."""
    name = getattr(cause, "name", None) or str(cause)
    return LogUnavailable(f"{what}: {name}")
