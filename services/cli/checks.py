"""What `forebay doctor` looks at. Each check is a function from nothing to findings; none changes anything."""

import asyncio
import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import psutil

from scheduler.errors import ForebayError
from services.cli.settings import ServerSettings
from services.cli.version import version

GIB: Final = 1 << 30
LEAST_PYTHON: Final = (3, 11)
LEAST_DISK_BYTES: Final = 1 * GIB
LEAST_MEMORY_BYTES: Final = 2 * GIB
PACKAGES: Final = ("grpcio", "protobuf", "pulsar-client", "redis", "hiredis", "numpy")
"""Without these nothing works."""


class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    """It works, less well than it could."""
    FAULT = "fault"
    """It does not work until somebody does something."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    name: str
    verdict: Verdict
    found: str
    fix: str = ""
    """What to do; empty when there is nothing to do."""


def examine(*, data: Path, address: str, ports: Sequence[int], external: ServerSettings) -> list[Finding]:
    """Run every check, in the order in which one would ask."""
    server = asyncio.run(_serving(address))
    checks: list[Callable[[], Iterator[Finding]]] = [
        _python,
        _packages,
        _runtime,
        lambda: _servers(external),
        lambda: _disk(data),
        _memory,
        lambda: _server(address, server),
        lambda: _ports(ports, running=server is not None),
    ]
    return [finding for check in checks for finding in check()]


def _python() -> Iterator[Finding]:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info < LEAST_PYTHON:
        yield Finding("python", Verdict.FAULT, found, "install Python 3.11 or newer")
    else:
        yield Finding("python", Verdict.OK, found)
    yield Finding("forebay", Verdict.OK, version())


def _packages() -> Iterator[Finding]:
    for name in PACKAGES:
        try:
            yield Finding(name, Verdict.OK, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, Verdict.FAULT, "not installed", f"pip install {name}, or reinstall forebay")


def _runtime() -> Iterator[Finding]:
    from inference.providers import available, installed_runtime

    try:
        yield Finding("onnxruntime", Verdict.OK, installed_runtime())
        yield Finding("providers", Verdict.OK, ", ".join(available()))
    except ForebayError as error:
        yield Finding(
            "onnxruntime", Verdict.FAULT, str(error).partition(":")[0], str(error).partition(": ")[2]
        )


def _servers(external: ServerSettings) -> Iterator[Finding]:
    from services.cli.up.plan import BrokerAnswers, RedisAnswers
    from services.cli.up.readiness import answers
    from services.embedded import pulsar_lite, valkey

    if external.broker_url:
        fits = asyncio.run(answers(BrokerAnswers(external.broker_url)))
        fix = "" if fits else "start it, or correct the address that --broker or FOREBAY_BROKER_URL gives"
        yield Finding("broker", *_answered(external.broker_url, fits), fix)
    else:
        yield _binary("broker", pulsar_lite.binary)
    if external.redis_url:
        fits = asyncio.run(answers(RedisAnswers(external.redis_url)))
        fix = "" if fits else "start it, or correct the address that --redis or FOREBAY_REDIS_URL gives"
        yield Finding("records", *_answered(external.redis_url, fits), fix)
    else:
        yield _binary("records", valkey.binary)


def _answered(url: str, fits: bool) -> tuple[Verdict, str]:
    return (Verdict.OK, f"{url} answers") if fits else (Verdict.FAULT, f"{url} does not answer")


def _binary(name: str, find: Callable[[], Path]) -> Finding:
    """Look for an embedded server."""
    try:
        path = find()
    except ForebayError as error:
        return Finding(
            name, Verdict.FAULT, "the embedded server is not installed", str(error).partition(": ")[2]
        )
    if not os.access(path, os.X_OK):
        return Finding(
            name, Verdict.FAULT, f"{path} may not be executed", f"chmod +x {path}, or reinstall its wheel"
        )
    return Finding(name, Verdict.OK, f"embedded, {path.name}")


def _disk(data: Path) -> Iterator[Finding]:
    there = next(folder for folder in (data, *data.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    found = f"{free / GIB:.1f} GiB free under {data}"
    if not os.access(there, os.W_OK):
        yield Finding("disk", Verdict.FAULT, f"{there} is not writable", "choose another folder with --data")
    elif free < LEAST_DISK_BYTES:
        yield Finding(
            "disk", Verdict.FAULT, found, "make room (1 GiB at least), or choose another folder with --data"
        )
    else:
        yield Finding("disk", Verdict.OK, found)


def _memory() -> Iterator[Finding]:
    memory = psutil.virtual_memory()
    found = f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB available, {os.cpu_count()} cores"
    if memory.available < LEAST_MEMORY_BYTES:
        yield Finding(
            "memory", Verdict.WARNING, found, "end other programs: a small language model takes about 1 GiB"
        )
    else:
        yield Finding("memory", Verdict.OK, found)


def _server(address: str, health: int | None) -> Iterator[Finding]:
    from services.cli.up.readiness import SERVING

    if health is None:
        yield Finding("server", Verdict.OK, f"none runs at {address}; `forebay up` starts one")
    elif health == SERVING:
        yield Finding("server", Verdict.OK, f"{address} is SERVING")
    else:
        fix = "it starts or stops, or misses its log or its records: see the lines of `forebay up` and its logs folder"
        yield Finding("server", Verdict.FAULT, f"{address} is NOT_SERVING", fix)


def _ports(ports: Sequence[int], *, running: bool) -> Iterator[Finding]:
    from services.cli.up.ports import holder, is_free

    for port in ports:
        if is_free("127.0.0.1", port):
            yield Finding(f"port {port}", Verdict.OK, "free")
        elif running:
            yield Finding(
                f"port {port}", Verdict.OK, f"taken by {holder(port) or 'another process'}; a server runs"
            )
        else:
            fix = "end it, or give `forebay up` other ports with --grpc-port and --http-port"
            yield Finding(f"port {port}", Verdict.FAULT, f"taken by {holder(port) or 'another process'}", fix)


async def _serving(address: str) -> int | None:
    from services.cli.up.readiness import health

    return await health(address)
