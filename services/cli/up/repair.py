"""Runs `python -m services.recovery` beside the platform, as a child that dies with us."""

import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Any, Final

from scheduler.errors import StartupRefused
from services.cli.up import spawn
from services.cli.up.plan import BrokerAnswers, ProcessSpec
from services.cli.up.readiness import wait_ready

MODULE: Final = "services.recovery"
STARTS_WITHIN_S: Final = 20.0
QUIET_S: Final = 5.0
"""A broker on this machine that delivers nothing for so long will not deliver any more."""


async def republish(variables: Mapping[str, str], limit_s: float) -> int:
    """Put everything that has not ended on the log; returns how many tasks. Raises StartupRefused with the reason."""
    done = await _run("republish", variables, limit_s)
    return int(done["queued"]) + int(done["parked"])


async def delivers(command: tuple[str, ...], url: str, variables: Mapping[str, str], limit_s: float) -> bool:
    """Start a broker only to see whether it delivers all that it keeps; it is down again afterwards."""
    process = await spawn.start(ProcessSpec("pulsar-lite", command, BrokerAnswers(url)))
    try:
        async with asyncio.TaskGroup() as group:
            draining = group.create_task(_drain(process))
            try:
                async with asyncio.timeout(STARTS_WITHIN_S):
                    await wait_ready(BrokerAnswers(url))
                await _run(
                    "examine",
                    {**variables, "FOREBAY_BROKER_URL": url, "FOREBAY_BROKER_SEND_TIMEOUT_S": f"{QUIET_S:g}"},
                    limit_s,
                )
            except (TimeoutError, StartupRefused):
                return False
            finally:
                draining.cancel()
    finally:
        spawn.kill_group(process.pid)
        await process.wait()
    return True


async def _run(verb: str, variables: Mapping[str, str], limit_s: float) -> dict[str, Any]:
    """Run one repair and return what it says it did."""
    spec = ProcessSpec(
        "recovery",
        (sys.executable, "-m", MODULE, verb),
        BrokerAnswers(""),
        env={**variables, "PYTHONSAFEPATH": "1"},
    )
    process = await spawn.start(spec)
    try:
        async with asyncio.timeout(limit_s):
            written, _ = await process.communicate()
    except TimeoutError:
        raise StartupRefused(f"it took longer than {limit_s:g} s") from None
    finally:
        spawn.kill_group(process.pid)
        await process.wait()
    last = written.decode("utf-8", "replace").strip().rpartition("\n")[2]
    if process.returncode:
        raise StartupRefused(last or f"exit code {process.returncode}")
    found = json.loads(last)
    return found if isinstance(found, dict) else {}


async def _drain(process: asyncio.subprocess.Process) -> None:
    """Read what nobody wants, so that the process does not wait for a reader."""
    while process.stdout and await process.stdout.read(1 << 16):
        pass
