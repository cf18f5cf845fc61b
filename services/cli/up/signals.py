"""What Ctrl-C and its relatives do to a running platform: the first drains, the second kills."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from services.cli.up.supervisor import Say, Supervisor

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def obeyed(supervisor: Supervisor, say: Say) -> Iterator[None]:
    """Let signals end the supervisor's children for as long as the block lasts. Needs a running loop."""
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if supervisor.ending.is_set():
            say("forebay", "killing everything")
            supervisor.kill()
        else:
            say("forebay", "stopping: running work may end first; Ctrl-C again kills")
            supervisor.stop()

    for number in SIGNALS:
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
