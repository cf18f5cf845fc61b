"""Trying grammars in a process of their own, with limits of time, memory and stack."""

import json
import logging
import os
import selectors
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from inference.generate.constraints import trial
from inference.generate.constraints.limits import (
    PARSER_LIMITS,
    TRIAL_CPU_S,
    TRIAL_MEMORY_BYTES,
    TRIAL_STACK_BYTES,
    TRIAL_WALL_S,
)
from scheduler.errors import ModelFailed

START_S = 30.0
"""Longest time until the process is ready. It takes 0.1."""

_log = logging.getLogger(__name__)

_BY_ITSELF = {-signal.SIGPROF, -signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS}
"""Exit codes of a trial that the grammar ended, and not something else on the machine."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a trial found."""

    fault: str | None
    """The library's message; None when the grammar can be compiled. May hold text of the client."""
    held_bytes: int = 0
    """Memory that the compiled grammar takes, roughly."""
    final: bool = True
    """Whether another trial would find the same."""


class Sandbox:
    """One process, started at the first trial and again after a grammar has ended it. For one thread at a time."""

    def __init__(self, *, cpu_s: float = TRIAL_CPU_S, wall_s: float = TRIAL_WALL_S) -> None:
        """Take the limits of a trial: processor time and time by the clock, in seconds."""
        self._cpu_s = cpu_s
        self._wall_s = wall_s
        self._process: subprocess.Popen[bytes] | None = None
        self._aborted = False

    def start(self) -> None:
        """Start the process unless it runs. Raises ModelFailed when that is impossible."""
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        # Run by its path, so that it starts without importing what stands around it.
        command = [sys.executable, "-P", str(Path(trial.__file__).resolve())]
        try:
            self._process = subprocess.Popen(
                [*command, str(TRIAL_MEMORY_BYTES), str(TRIAL_STACK_BYTES)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # the library's last words may hold the client's text
            )
        except OSError as error:
            raise ModelFailed(f"the process that tries grammars cannot be started: {error.strerror}")
        if self._aborted or not self._line(self._process, START_S):
            self.close()
            raise ModelFailed("the process that tries grammars does not come up")

    def run(self, grammar: str) -> Verdict:
        """Try a grammar. Takes `wall_s` at most. Raises ModelFailed when no process can be started."""
        self.start()
        process = self._process
        assert process is not None and process.stdin is not None
        order = {"grammar": grammar, "limits": PARSER_LIMITS, "cpu_s": self._cpu_s}
        try:
            process.stdin.write(json.dumps(order).encode() + b"\n")
            process.stdin.flush()
            answer = self._line(process, self._wall_s)
        except BrokenPipeError:
            answer = b""
        if answer:
            content = json.loads(answer)
            return Verdict(content["fault"], content["held_bytes"])
        process.kill()
        code = process.wait()
        self.close()
        _log.info("a grammar ended its trial", extra={"exit_code": code})
        return Verdict("too complex: the trial was ended", final=code in _BY_ITSELF)

    def abort(self) -> None:
        """End the trial that runs, from any thread; what it found is of no use then, and there are no others."""
        self._aborted = True
        if (process := self._process) is not None:
            process.kill()

    def close(self) -> None:
        """End the process. Idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):  # what it did not read any more
                    pipe.close()

    def _line(self, process: subprocess.Popen[bytes], wall_s: float) -> bytes:
        """Return the next line that the process writes; nothing when it ended or the time is over."""
        assert process.stdout is not None
        until = time.monotonic() + wall_s
        answer = b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not answer.endswith(b"\n"):
                if not selector.select(max(0.0, until - time.monotonic())):
                    return b""
                piece = os.read(process.stdout.fileno(), 1 << 16)
                if not piece:
                    return b""
                answer += piece
        return answer
