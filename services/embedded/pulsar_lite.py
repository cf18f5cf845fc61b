"""The embedded broker: how to start the binary that the `pulsar-lite` wheel brings, and when it is ready.

The wheel's own helper is not used: it listens on fixed ports and logs to a fixed temporary file. Nothing here
imports it; `forebay up` starts the command like any other of its children.
"""

import asyncio
import importlib.util
import sys
from pathlib import Path
from typing import Final

from scheduler.errors import LogUnavailable, StartupRefused

PACKAGE: Final = "pulsar_lite"
RETRY_S: Final = 0.05
CONFIG: Final = """\
# The metrics endpoint would listen on all addresses of the host.
[metrics]
enabled = false
"""


def binary() -> Path:
    """Return the path of the broker's executable. Raises StartupRefused when the wheel is not installed."""
    package = importlib.util.find_spec(PACKAGE)
    name = "pulsar-lite.exe" if sys.platform == "win32" else "pulsar-lite"
    for folder in (package.submodule_search_locations or []) if package else []:
        path = Path(folder) / "bin" / name
        if path.is_file():
            return path
    raise StartupRefused(
        "the embedded broker is not installed (the package pulsar-lite has none for this machine): "
        "start Pulsar elsewhere and give its address with --broker pulsar://HOST:6650"
    )


def command(data: Path, port: int, *, host: str = "127.0.0.1") -> list[str]:
    """Return the command line of a broker that keeps its data under `data` and listens on one address only.

    Writes the configuration file that it names into `data`, which is made when it is not there.
    """
    executable = binary()
    data.mkdir(parents=True, exist_ok=True)
    config = data / "pulsar-lite.toml"
    config.write_text(CONFIG)
    return [
        str(executable),
        *("--config", str(config)),
        *("--addr", f"{host}:{port}"),
        *("--db-path", str(data / "log")),
        *("--log-level", "warn"),
    ]


def url(port: int, *, host: str = "127.0.0.1") -> str:
    """Return the address for clients."""
    return f"pulsar://{host}:{port}"


async def wait_ready(port: int, *, host: str = "127.0.0.1", timeout_s: float = 20.0) -> None:
    """Return when the broker accepts connections. Raises LogUnavailable when it does not in time."""
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                if await _accepts(host, port):
                    return
                await asyncio.sleep(RETRY_S)
    except TimeoutError:
        raise LogUnavailable(
            f"the embedded broker does not answer on {host}:{port} after {timeout_s:g} s"
        ) from None


async def _accepts(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True
