"""Runner processes, as the agent starts and ends them."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

from inference.agent.posts import Post
from inference.huge_pages import with_huge_pages
from services.lifecycle import PARENT_VARIABLE

THREADS: Final = "FOREBAY_ENGINE_THREADS"


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

    async def __call__(self, post: Post, runner_id: str, journal: Path) -> RunnerProcess:
        """Return the process once it is started; it keeps a journal in that file. Raises OSError when it cannot be."""
        ...


class PythonSpawn:
    """Starts `python -m inference.runner` with this process's environment and huge pages; it dies with this process."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = with_huge_pages(environ)

    async def __call__(self, post: Post, runner_id: str, journal: Path) -> RunnerProcess:
        """Start one runner. Its logs go where ours go."""
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "inference.runner",
            stdin=DEVNULL,
            # A Ctrl-C on the terminal is for the agent alone, which lets its runners drain.
            start_new_session=True,
            env=self._environ
            | variables_of(post, self._environ, _cores())
            | {
                "FOREBAY_RUNNER_ID": runner_id,
                "FOREBAY_RUNNER_JOURNAL": str(journal),
                PARENT_VARIABLE: str(os.getpid()),
            },
        )


def variables_of(post: Post, environ: Mapping[str, str], cores: int) -> dict[str, str]:
    """Return what a runner is told of its post, beside the `environ` of all runners of a host with so many cores.

    Runners of one model have work at the same time, so they share the cores, unless a number of threads is set.
    """
    told = {
        "FOREBAY_RUNNER_MODEL": post.model,
        "FOREBAY_RUNNER_PATH": str(post.path),
        "FOREBAY_RUNNER_VERSION": str(post.version),
        "FOREBAY_RUNNER_HIGHEST": str(post.highest).lower(),
        "FOREBAY_RUNNER_GENERATION": str(post.generation),
    }
    if post.seat.providers:
        told["FOREBAY_ENGINE_PROVIDERS"] = ",".join(post.seat.providers)
    if post.seat.gpu_only:
        told["FOREBAY_ENGINE_GPU_ONLY"] = "true"
    if post.seat.device is not None:
        told["FOREBAY_ENGINE_DEVICE"] = str(post.seat.device)
    if post.seats > 1 and environ.get(THREADS, "0") in ("", "0"):
        told[THREADS] = str(max(1, cores // post.seats))
    return told


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # macOS has none
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def describe_exit(code: int) -> str:
    """Say how a process ended: `exit code 1`, `signal SIGKILL`."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
