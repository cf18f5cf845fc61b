"""The whole system as a child process: `forebay up` on free ports with its own data folder.

Shared by the tests of the whole system and by the benchmarks. Whatever ends the caller's block also ends the system.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from services.cli.up import ports

READY = "forebay is ready"


@dataclass
class System:
    """A running `forebay up`."""

    process: subprocess.Popen[str]
    grpc: str
    http: str
    data: Path
    lines: list[str] = field(default_factory=list)
    """Everything it has printed so far."""
    _grew: threading.Condition = field(default_factory=threading.Condition)
    _silent: bool = False
    """Whether it has closed its output, which it does when it ends."""

    def wait_line(self, pattern: str, timeout_s: float = 60.0, *, after: int = 0) -> str:
        """Return the first printed line that matches, from line number `after` on; waits for it.

        Raises AssertionError with all output when it does not come in time or the process ends first.
        """
        wanted = re.compile(pattern)

        def find() -> str | None:
            return next((line for line in self.lines[after:] if wanted.search(line)), None)

        with self._grew:
            self._grew.wait_for(lambda: find() is not None or self._silent, timeout_s)
            line = find()
        assert line is not None, f"no line matches {pattern!r} in:\n" + "\n".join(self.lines)
        return line

    def pid(self, name: str) -> int:
        """Return the process id of a child of `up` by its name: valkey, pulsar-lite, gateway, scheduler or agent."""
        wanted = re.compile(rf"{re.escape(name)} +starting, pid (\d+)")
        found = [match for line in self.lines if (match := wanted.match(line))]
        assert found, f"{name} was never started:\n" + "\n".join(self.lines)
        return int(found[-1][1])

    def runner(self, model: str) -> psutil.Process:
        """Return the runner that the agent keeps for a model."""
        found = [p for p in self.children() if _variable(p, "FOREBAY_RUNNER_MODEL") == model]
        assert len(found) == 1, f"{len(found)} runners of {model}"
        return found[0]

    def kill(self, name: str) -> int:
        """SIGKILL a child of `up`; returns the number of lines printed before, for `wait_line`'s `after`."""
        printed = len(self.lines)
        os.kill(self.pid(name), signal.SIGKILL)
        return printed

    def child(self, needle: str) -> psutil.Process:
        """Return the one descendant whose command line contains a text."""
        found = [p for p in self.children() if needle in " ".join(_command(p))]
        assert len(found) == 1, f"{len(found)} processes match {needle!r}: {[_command(p) for p in found]}"
        return found[0]

    def children(self) -> list[psutil.Process]:
        """Return all descendants that live."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def follow(self) -> None:
        """Start to collect what it prints."""
        threading.Thread(target=self._collect, daemon=True, name="forebay-output").start()

    def _collect(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._grew:
                self.lines.append(line.rstrip("\n"))
                self._grew.notify_all()
        with self._grew:
            self._silent = True
            self._grew.notify_all()


@contextmanager
def forebay_up(
    data: Path,
    models: Mapping[str, Path],
    *,
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    ready_s: float = 90.0,
) -> Iterator[System]:
    """Run `forebay up` until the block ends; yields when it is ready."""
    grpc_port, http_port = ports.pick("127.0.0.1", 2)
    command = [
        *(sys.executable, "-m", "services.cli", "up", "--data", str(data)),
        *("--grpc-port", str(grpc_port), "--http-port", str(http_port)),
        *(part for name, path in models.items() for part in ("--model", f"{name}={path}")),
        *arguments,
    ]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
    )
    system = System(process, f"127.0.0.1:{grpc_port}", f"127.0.0.1:{http_port}", data)
    system.follow()
    try:
        system.wait_line(READY, ready_s)
        yield system
    finally:
        leftover = system.children() if process.poll() is None else []
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        for child in psutil.wait_procs(leftover, timeout=10)[1]:
            child.kill()
        assert process.stdout is not None
        process.stdout.close()


def run_cli(address: str, *arguments: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run the command line against a system and return what it said."""
    return subprocess.run(
        [sys.executable, "-m", "services.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env={**os.environ, "FOREBAY_ADDRESS": address},
        check=False,
    )


def run_json(address: str, *arguments: str) -> object:
    """Run the command line with `--json` and return the parsed answer."""
    done = run_cli(address, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


def _variable(process: psutil.Process, name: str) -> str:
    try:
        return process.environ().get(name, "")
    except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
        return ""
