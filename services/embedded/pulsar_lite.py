"""The embedded broker: how to start the binary that the `pulsar-lite` wheel brings, and when it is ready.

The wheel's own helper is not used: it listens on fixed ports and logs to a fixed temporary file. Nothing here
imports it; `forebay up` starts the command like any other of its children.

Above a high-water mark of bytes that a connection has not taken yet, 64 KiB unless told otherwise, the broker puts a
message aside instead of writing it, and nothing wakes the subscription when the connection has caught up: what was
acknowledged to its publisher comes only behind the next message of its topic, or to the next consumer. All lanes of a
scheduler share a connection, so a burst on many lanes was enough. The mark is therefore set where nobody comes; what
consumers ask for (their receiver queues) bounds what is held for them.
"""

import asyncio
import importlib.util
import sys
from pathlib import Path
from typing import Final

from scheduler.errors import LogUnavailable, StartupRefused

PACKAGE: Final = "pulsar_lite"
RETRY_S: Final = 0.05
UNREACHED_BYTES: Final = 1 << 32
"""The high-water mark, in bytes; nothing is reserved for it. The scheduler asks for two messages of each lane, recovery
for 50 of one topic at a time, and a message has 5 MiB at most: 400 lanes of the largest stay below it. Messages are put
aside as well when a connection has 8,192 of them ahead, which no setting changes: 4,096 lanes."""
CONFIG: Final = f"""\
# Above the first of these the broker would put messages aside and forget them.
pulsar_channel_write_buffer_high_water_mark_bytes = {UNREACHED_BYTES}
pulsar_channel_write_buffer_low_water_mark_bytes = {UNREACHED_BYTES}

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
