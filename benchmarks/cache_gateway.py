"""A gateway with a result cache, in a process of its own, for measurements of that."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.gateway.caching import CacheSettings


def run_gateway(pipe: Connection, settings: "CacheSettings", server: Path | None) -> None:
    """Serve a gateway, and a runner that answers at once with what it gets, until the other end of the pipe closes.
    The gateway's address is sent by the pipe. `server`: an empty folder for a server of the tier in Redis, if any.
    """
    from services.grpc_core import read_on_the_polling_thread

    read_on_the_polling_thread()
    import uvloop

    uvloop.run(_serve(pipe, settings, server))


async def _serve(pipe: Connection, settings: "CacheSettings", server: Path | None) -> None:
    from forebay.models.v1 import model_service_pb2
    from scheduler.adapters.clock import SystemClock
    from scheduler.adapters.memory import MemoryStore
    from scheduler.ports.membership import RUNNER_ROLE
    from services.embedded import valkey
    from tests.direct_runners import FakeRunner, served
    from tests.integration.gateway import running

    card = model_service_pb2.Model(name="m", engine=model_service_pb2.ENGINE_KIND_TENSOR)
    card.inputs.add(name="x", datatype="FP32", shape=(-1, -1))
    runner = FakeRunner("r1", card=card, answers_digest="weights")
    store = MemoryStore(SystemClock())
    async with AsyncExitStack() as stack:
        if server is not None:
            socket = server / "v.sock"
            process = await asyncio.create_subprocess_exec(
                *valkey.command(server, socket),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
            )
            stack.push_async_callback(process.wait)
            stack.callback(process.terminate)
            await valkey.wait_ready(socket, 10.0)
            settings = replace(settings, redis_url=valkey.address(socket))
        await stack.enter_async_context(served(runner))
        status = runner.status().SerializeToString()
        await store.membership.announce(RUNNER_ROLE, runner.id, status, 3_600_000)
        system = await stack.enter_async_context(running(store, cache=settings))
        pipe.send(system.gateway.grpc.address)
        loop = asyncio.get_running_loop()
        closed = asyncio.Event()
        loop.add_reader(pipe.fileno(), closed.set)
        await closed.wait()
        loop.remove_reader(pipe.fileno())
