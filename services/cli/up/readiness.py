"""Waits until a process answers the way that its plan names."""

import asyncio
from typing import Final
from urllib.parse import unquote, urlsplit

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.cli.up.plan import BrokerAnswers, GrpcAnswers, GrpcServing, Readiness, RedisAnswers

FIRST_PAUSE_S: Final = 0.02
LONGEST_PAUSE_S: Final = 0.25
SERVING: Final[int] = health_pb2.HealthCheckResponse.SERVING
ASK_S: Final = 1.0
"""Longest wait for one answer."""


async def wait_ready(what: Readiness) -> None:
    """Ask again and again until the answer is yes. Endless: the caller bounds it and may cancel at any time."""
    pause = FIRST_PAUSE_S
    while not await answers(what):
        await asyncio.sleep(pause)
        pause = min(LONGEST_PAUSE_S, pause * 1.5)


async def answers(what: Readiness) -> bool:
    """Ask once; False when the answer is no, or does not come within a second."""
    match what:
        case GrpcServing(address):
            return await health(address) == SERVING
        case GrpcAnswers(address):
            return await health(address) is not None
        case RedisAnswers(url):
            return await _redis_answers(url)
        case BrokerAnswers(url):
            return await _broker_answers(url)


async def health(address: str, service: str = "") -> int | None:
    """Return what a gRPC server says of a service ("" for the whole server); None when it does not answer."""
    async with grpc.aio.insecure_channel(address) as channel:
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=service), timeout=ASK_S
            )
        except grpc.aio.AioRpcError:
            return None
        return int(answer.status)


async def _redis_answers(url: str) -> bool:
    if url.startswith("unix://"):
        return await _socket_answers(unquote(urlsplit(url).path))
    # Only a server of somebody else may want passwords or TLS; the import takes half a second.
    import redis.asyncio
    import redis.exceptions
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    client = redis.asyncio.Redis.from_url(
        url, socket_timeout=ASK_S, socket_connect_timeout=ASK_S, retry=Retry(NoBackoff(), 0)
    )
    try:
        return bool(await client.ping())
    except (redis.exceptions.RedisError, OSError):
        return False
    finally:
        await client.aclose()


async def _socket_answers(path: str) -> bool:
    """Send PING to a server on a unix socket; while it loads its files it answers something else than PONG."""
    try:
        async with asyncio.timeout(ASK_S):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                writer.write(b"PING\r\n")
                return (await reader.readline()).startswith(b"+PONG")
            finally:
                writer.close()
    except OSError:
        return False


async def _broker_answers(url: str) -> bool:
    """Send a CONNECT frame of the Pulsar binary protocol and see whether CONNECTED comes back.

    Frame: total size, command size (4 bytes each, big-endian), BaseCommand. BaseCommand{type=CONNECT(2),
    connect{client_version="forebay", protocol_version=19}}; the answer's type is CONNECTED (3).
    """
    host, _, port = url.split(",")[0].removeprefix("pulsar://").rstrip("/").rpartition(":")
    connect = b"\x0a\x07forebay" + b"\x20\x13"
    command = b"\x08\x02\x12" + bytes([len(connect)]) + connect
    frame = (len(command) + 4).to_bytes(4) + len(command).to_bytes(4) + command
    try:
        async with asyncio.timeout(ASK_S):
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                writer.write(frame)
                await writer.drain()
                head = await reader.readexactly(10)
                return head[8:10] == b"\x08\x03"
            finally:
                writer.close()
    except (OSError, asyncio.IncompleteReadError, ValueError):
        return False
