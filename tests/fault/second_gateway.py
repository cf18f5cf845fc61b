"""A gateway beside the one of `up`, which may die as often as a test likes."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from services.cli.up import ports
from services.cli.up.lock import SECRET_FILE
from services.embedded import valkey
from tests.fault.back_door import broker_url
from tests.system import System


@dataclass(frozen=True, slots=True)
class SecondGateway:
    """One that runs."""

    address: str
    """host:port of its gRPC server."""
    process: subprocess.Popen[str]

    def kill(self) -> None:
        """SIGKILL it."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(10)


@asynccontextmanager
async def second_gateway(system: System) -> AsyncIterator[SecondGateway]:
    """Run a gateway of the same system; yields when it serves. Leaving kills it."""
    address = f"127.0.0.1:{ports.pick('127.0.0.1', 1)[0]}"
    environment = {
        "FOREBAY_REDIS_URL": valkey.address(system.data / "valkey.sock"),
        "FOREBAY_BROKER_URL": broker_url(system),
        "FOREBAY_BROKER_ADMIN_URL": "",
        "FOREBAY_BROKER_SUBSCRIPTION": "shared",
        "FOREBAY_GATEWAY_LISTEN": address,
        "FOREBAY_GATEWAY_HTTP_LISTEN": "127.0.0.1:0",
        # Fingerprints are keyed with it: the same task must have the same one everywhere.
        "FOREBAY_GATEWAY_SECRET": (system.data / SECRET_FILE).read_text().strip(),
    }
    with subprocess.Popen(  # noqa: ASYNC220  starting it takes a moment only
        [sys.executable, "-m", "services.gateway"],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            await asyncio.to_thread(_wait_serving, process)
            yield SecondGateway(address, process)
        finally:
            process.kill()


def _wait_serving(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if '"gateway serves"' in line:
            return
    raise AssertionError("it ended at its start:\n" + "".join(said))
