"""A gateway as a process of its own, which a test may kill."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc.aio

from scheduler.adapters.redis import RedisMembership, connect
from scheduler.ports.membership import RUNNER_ROLE
from services.lifecycle import CHANNEL_OPTIONS
from tests.direct_runners import FakeRunner


@dataclass(frozen=True, slots=True)
class GatewayProcess:
    """One that runs, and a channel to it."""

    process: Process
    channel: grpc.aio.Channel

    async def kill(self) -> None:
        """SIGKILL it."""
        os.kill(self.process.pid, signal.SIGKILL)
        await self.process.wait()


@asynccontextmanager
async def gateway_process(
    records_url: str, cache_url: str, *runners: FakeRunner
) -> AsyncIterator[GatewayProcess]:
    """Run a gateway with a cache in front of runners that are served already. Its log is nowhere: it takes no tasks."""
    client = connect(records_url, timeout_s=5.0)
    membership = RedisMembership(client)
    for runner in runners:
        await membership.announce(RUNNER_ROLE, runner.id, runner.status().SerializeToString(), 60_000)
    await client.aclose()
    environment = {
        "FOREBAY_REDIS_URL": records_url,
        "FOREBAY_BROKER_URL": "pulsar://127.0.0.1:1",
        "FOREBAY_BROKER_ADMIN_URL": "",
        "FOREBAY_CACHE_ENABLED": "true",
        "FOREBAY_CACHE_REDIS_URL": cache_url,
        # On a machine with much else to do a server may take longer than the default, and then each computes alone.
        "FOREBAY_CACHE_REDIS_TIMEOUT_S": "5.0",
        "FOREBAY_GATEWAY_SECRET": "s" * 32,
        "FOREBAY_GATEWAY_LISTEN": "127.0.0.1:0",
        "FOREBAY_GATEWAY_HTTP_LISTEN": "127.0.0.1:0",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.gateway"),
        env={**os.environ, **environment},
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=PIPE,
    )
    try:
        assert process.stderr is not None
        said = []
        async for line in process.stderr:
            said.append(line.decode())
            if '"gateway serves"' in said[-1]:
                break
        else:
            raise AssertionError("it ended at its start:\n" + "".join(said))
        address = json.loads(said[-1])["grpc"]
        async with (
            asyncio.TaskGroup() as group,
            grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS) as channel,
        ):
            # Its pipe must not fill up.
            reading = group.create_task(process.stderr.read())
            yield GatewayProcess(process, channel)
            reading.cancel()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
