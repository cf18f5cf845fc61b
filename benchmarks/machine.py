"""What a figure was measured on, and what processes used."""

import os
import platform
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

import psutil

from inference.huge_pages import VARIABLE, with_huge_pages


def describe() -> str:
    """Return one line: processor, cores, memory, system, Python."""
    model = platform.processor() or "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        text = cpuinfo.read_text()
        names = [line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")]
        model = (names or [model])[0] + (" AVX-512" if " avx512f" in text else "")
    memory_gib = psutil.virtual_memory().total / 2**30
    return (
        f"{model}, {os.cpu_count()} cores, {memory_gib:.0f} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def print_header(what: str) -> None:
    """Print what is measured, on what, and by which command."""
    print(f"# {what}")
    print(f"machine: {describe()}")
    print(f"command: python -m {shlex.join([_module(), *sys.argv[1:]])}")


def cpu_seconds(processes: Iterable[psutil.Process]) -> dict[str, float]:
    """Return user and system seconds used so far, by a short name of the process."""
    used: dict[str, float] = {}
    for process in processes:
        try:
            times = process.cpu_times()
            used[short_name(process)] = used.get(short_name(process), 0.0) + times.user + times.system
        except psutil.NoSuchProcess:
            continue
    return used


def memory_mb(processes: Iterable[psutil.Process]) -> dict[str, float]:
    """Return resident megabytes by a short name of the process."""
    used: dict[str, float] = {}
    for process in processes:
        try:
            used[short_name(process)] = used.get(short_name(process), 0.0) + process.memory_info().rss / 1e6
        except psutil.NoSuchProcess:
            continue
    return used


def short_name(process: psutil.Process) -> str:
    """Name a process of the system by what it is: gateway, scheduler, agent, runner, valkey, pulsar-lite, up."""
    command = " ".join(process.cmdline())
    for needle, name in (
        ("services.gateway", "gateway"),
        ("scheduler.service", "scheduler"),
        ("inference.agent", "agent"),
        ("inference.runner", "runner"),
        ("valkey-server", "valkey"),
        ("pulsar-lite", "pulsar-lite"),
        ("services.cli", "up"),
        ("celery", "celery"),
    ):
        if needle in command:
            return name
    return process.name()


def restart_with_huge_pages() -> None:
    """Give this process, and not its children, the memory that runners have: start it again as they are started."""
    environ = with_huge_pages(os.environ)
    if environ != os.environ:
        os.execve(sys.executable, [sys.executable, "-m", _module(), *sys.argv[1:]], environ)
    del os.environ[VARIABLE]  # it was read when the process started


def _module() -> str:
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    return spec.name if spec else Path(sys.argv[0]).stem
