"""The embedded record store without anything around it, for a restore: nothing else may write meanwhile."""

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from services.cli.up import lock
from services.embedded import valkey

STARTS_WITHIN_S: Final = 60.0
ENDS_WITHIN_S: Final = 30.0


@contextmanager
def store_alone(data: Path) -> Iterator[str]:
    """Run the store of a data folder while the block lasts; yields its address. Holds the folder as `forebay up` does.

    Raises StartupRefused when `forebay up` runs on the folder, or the store does not start.
    """
    with lock.hold(data):
        folder, socket = data / "valkey", data / "valkey.sock"
        folder.mkdir(exist_ok=True)
        process = subprocess.Popen(
            valkey.command(folder, socket), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        try:
            asyncio.run(valkey.wait_ready(socket, STARTS_WITHIN_S))
            yield valkey.address(socket)
        finally:
            # It writes out what it has before it ends.
            process.terminate()
            try:
                process.wait(ENDS_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
