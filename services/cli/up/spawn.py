"""Starting one child on the leash, listening to it, and ending its whole group."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Final

from services.cli.up import leash
from services.cli.up.logs import LINE_BYTES, ChildLog
from services.cli.up.plan import ProcessSpec

LEASH: Final = str(Path(leash.__file__).resolve())


async def start(spec: ProcessSpec) -> asyncio.subprocess.Process:
    """Start a process that dies with us, as the leader of a process group of its own.

    Must be called on the main thread: Linux ties the leash to the thread that started the child. Raises OSError.
    """
    resident = sys.platform != "linux"
    return await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", LEASH, str(os.getpid()), *spec.command,
        # The pipe that a resident leash watches; it closes when we end.
        stdin=asyncio.subprocess.PIPE if resident else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=_environment(spec),
        start_new_session=True,
        limit=LINE_BYTES,
    )  # fmt: skip


def _environment(spec: ProcessSpec) -> dict[str, str]:
    """Return what a child finds around it; secrets are read now, and kept nowhere."""
    secrets = {name: file.read_text("ascii").strip() for name, file in spec.secrets.items()}
    ours = {"FOREBAY_PARENT_PID": str(os.getpid()), "FOREBAY_STOP_WITHIN_S": f"{spec.grace_s:g}"}
    return {**os.environ, **ours, **spec.env, **secrets}


async def copy_output(process: asyncio.subprocess.Process, log: ChildLog) -> None:
    """Copy what a child writes to its log until it closes the pipe. A longer line is cut into pieces."""
    reader = process.stdout
    if reader is None:
        return
    while True:
        try:
            line = await reader.readuntil(b"\n")
        except asyncio.LimitOverrunError as error:
            line = await reader.readexactly(max(1, error.consumed))
        except asyncio.IncompleteReadError as error:
            if error.partial:
                log.write(error.partial + b"\n")
            return
        log.write(line)


def kill_group(pid: int) -> None:
    """Send SIGKILL to a child's process group. Harmless when nothing is left of it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
