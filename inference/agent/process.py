"""Runner processes, as the agent starts and ends them."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from inference.huge_pages import with_huge_pages
from services.lifecycle import PARENT_VARIABLE


class RunnerProcess(Protocol):
    """A started process; asyncio.subprocess.Process is one."""

    @property
    def pid(self) -> int:
        """Its number."""
        ...

    async def wait(self) -> int:
        """Wait for its end; the exit code, or minus the signal's number."""
        ...

    def terminate(self) -> None:
        """Ask it to end. Raises ProcessLookupError when it has."""
        ...

    def kill(self) -> None:
        """End it at once. Raises ProcessLookupError when it has ended."""
        ...


class Spawn(Protocol):
    """Starts a runner."""

    async def __call__(self, model: str, path: Path, runner_id: str, journal: Path) -> RunnerProcess:
        """Return the process once it is started; it keeps a journal in that file. Raises OSError when it cannot be."""
        ...


class PythonSpawn:
    """Starts `python -m inference.runner` with this process's environment and huge pages; it dies with this process."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = with_huge_pages(environ)

    async def __call__(self, model: str, path: Path, runner_id: str, journal: Path) -> RunnerProcess:
        """Start one runner. Its logs go where ours go."""
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "inference.runner",
            stdin=DEVNULL,
            # A Ctrl-C on the terminal is for the agent alone, which lets its runners drain.
            start_new_session=True,
            env=self._environ
            | {
                "FOREBAY_RUNNER_MODEL": model,
                "FOREBAY_RUNNER_PATH": str(path),
                "FOREBAY_RUNNER_ID": runner_id,
                "FOREBAY_RUNNER_JOURNAL": str(journal),
                PARENT_VARIABLE: str(os.getpid()),
            },
        )


def describe_exit(code: int) -> str:
    """Say how a process ended: `exit code 1`, `signal SIGKILL`."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
