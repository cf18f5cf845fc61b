"""Makes the topics of the queues on an Apache Pulsar cluster. Called once by each process that starts there.

The embedded broker has no admin API and needs none: a lane is made when it is first used. On Apache Pulsar a lane
is a partition of a topic that must exist, and the subscription must exist before anything is published, because a
broker deletes what nobody is subscribed to. What is on the topics beside the lanes, and what is acknowledged on the
lanes, is kept for the retention of the namespace: as far back as that recovery can look.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote

import aiohttp

from scheduler.adapters.pulsar.names import parked_topic, results_topic, unreadable_topic
from scheduler.errors import LogUnavailable, StartupRefused
from scheduler.lanes import queue_topic
from scheduler.states import Level

MISSING: Final = 404
CONFLICT: Final = 409
REFUSED: Final = 412
BUSY: Final = "Subscription Busy"
"""What a broker refuses with while somebody else makes or changes the same subscription."""
BUSY_PAUSE_S: Final = 0.1
GROWTH_TRIES: Final = 30
"""How often it is tried to make a topic larger while brokers refuse and nobody else does it."""
NAMESPACE_TRIES: Final = 100
"""How often a namespace is looked for: a broker that has just started answers before it has made its own."""
SERVER_FAULT: Final = 500
RETENTION_MINUTES: Final = 7 * 24 * 60
RETENTION_MB: Final = 50 * 1024


async def ensure_topics(
    admin_url: str,
    namespace: str,
    queues: Iterable[tuple[str, Level]],
    lanes: int,
    *,
    subscription: str = "scheduler",
    retention_minutes: int = RETENTION_MINUTES,
    retention_mb: int = RETENTION_MB,
    timeout_s: float = 30.0,
) -> None:
    """Make sure that each queue's topic has a partition for each of its `lanes` and one for its express lane, with the
    schedulers' subscription, and retention.

    Idempotent, and harmless when several processes do it at once: what is there stays as it is, except that the
    namespace's retention is set, and that a topic with fewer partitions gets what it lacks: every lane is read, so a
    task may be on any of them. `admin_url` is the cluster's web service, such as `http://127.0.0.1:8080`. `timeout_s`
    bounds the whole; what was made until then stays, and the next call goes on from there.

    Raises LogUnavailable when the cluster does not answer in time, StartupRefused when it refuses, or when a topic
    exists with more partitions (nobody would read the tasks on the others).
    """
    queues = list(queues)
    try:
        async with (
            asyncio.timeout(timeout_s),
            aiohttp.ClientSession(f"{admin_url.rstrip('/')}/admin/v2/") as session,
        ):
            admin = _Admin(session)
            await admin.set_retention(namespace, retention_minutes, retention_mb)
            for pool, level in queues:
                path = _path(queue_topic(namespace, pool, level))
                await admin.ensure_partitions(path, lanes + 1)
                await admin.ensure_subscription(path, subscription)
            plain = [results_topic(namespace)]
            for pool in sorted({pool for pool, _ in queues}):
                plain += [unreadable_topic(namespace, pool), parked_topic(namespace, pool)]
            for topic in plain:
                await admin.call("PUT", _path(topic), {}, exists_is_fine=True)
    except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
        why = str(error) or type(error).__name__
        raise LogUnavailable(f"the broker's admin API at {admin_url} does not answer: {why}") from error
    except TimeoutError as error:
        raise LogUnavailable(
            f"the broker's admin API at {admin_url} did not make the topics within {timeout_s:g} s"
        ) from error


def _path(topic: str) -> str:
    """Return a topic's path in the admin API: `persistent://a/b/c` becomes `persistent/a/b/c`."""
    return quote(topic.replace("://", "/"))


class _Busy(LogUnavailable):
    """Somebody else makes the same thing in this moment."""


class _Missing(StartupRefused):
    """There is no such thing."""


class _Admin:
    """The few calls that are needed."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def set_retention(self, namespace: str, minutes: int, mb: int) -> None:
        """Say how much a namespace keeps, once it is there."""
        kept = {"retentionTimeInMinutes": minutes, "retentionSizeInMB": mb}
        for left in range(NAMESPACE_TRIES, 0, -1):
            try:
                await self.call("POST", f"namespaces/{namespace}/retention", kept)
            except _Missing:
                if left == 1:
                    raise
                await asyncio.sleep(BUSY_PAUSE_S)
            else:
                return

    async def ensure_partitions(self, path: str, wanted: int) -> None:
        """Make the partitioned topic, or see that it has as many partitions, and add those that it lacks."""
        partitions = f"{path}/partitions"
        await self.call("PUT", partitions, wanted, exists_is_fine=True)
        found = await self._partitions(partitions)
        if found < wanted:
            await self._add_partitions(partitions, wanted)
        elif found > wanted:
            raise StartupRefused(
                f"the topic {path} has {found} partitions and the setting says {wanted - 1} lanes, with one more for "
                f"what is urgent: set lanes to {found - 1}, or use another namespace"
            )

    async def _add_partitions(self, path: str, wanted: int) -> None:
        for left in range(GROWTH_TRIES, 0, -1):
            try:
                await self.call("POST", path, wanted)
            except (StartupRefused, _Busy):
                # Somebody else may be adding them in this moment; brokers have several words for that.
                if left == 1:
                    raise
            if await self._partitions(path) >= wanted:
                return
            await asyncio.sleep(BUSY_PAUSE_S)
        raise LogUnavailable(f"the broker makes no more than {await self._partitions(path)} of {path}")

    async def _partitions(self, path: str) -> int:
        return int((await self.call("GET", path))["partitions"])

    async def ensure_subscription(self, path: str, subscription: str) -> None:
        """Make the subscription on every partition, from the first message kept."""
        earliest = {"ledgerId": -1, "entryId": -1, "partitionIndex": -1}
        while True:
            try:
                await self.call(
                    "PUT", f"{path}/subscription/{quote(subscription)}", earliest, exists_is_fine=True
                )
            except _Busy:
                await asyncio.sleep(BUSY_PAUSE_S)
            else:
                return

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, int] | int | None = None,
        *,
        exists_is_fine: bool = False,
    ) -> Any:
        """Call the admin API and return what it answered, if anything."""
        async with self._session.request(method, path, json=body) as response:
            if response.ok:
                return await response.json() if method == "GET" else None
            if response.status == CONFLICT and exists_is_fine:
                return None
            fault = (await response.text())[:300]
            if response.status == REFUSED and BUSY in fault:
                raise _Busy(f"the broker is busy with {path}")
            if response.status >= SERVER_FAULT:
                raise LogUnavailable(f"the broker failed {method} {path}: {response.status} {fault}")
            refused = _Missing if response.status == MISSING else StartupRefused
            raise refused(f"the broker refused {method} {path}: {response.status} {fault}")
