"""A system that is measured, in a process of its own, which does nothing between two measurements.

Asker and asked talk in lines of JSON: `{"measure": NAME, ...arguments}` one way, `{"result": ...}` or
`{"error": SENTENCE}` the other. Needs nothing but the standard library, for it runs in the environment of each peer.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
END_S: Final = 10.0

Measure = Callable[..., Any]

CELLS_A_ROW = 256
"""Tokens of a row, prompt included, at the end of a measurement of decoding: the same for all, because attention takes
its time for every token before. Also the size of a row's cache at llama.cpp, whose flash attention wants multiples of
256."""


class WorkerFailed(Exception):
    """A worker could not start, or not measure; the text says why."""


class Worker:
    """The asker's end. A context manager; leaving it ends the process."""

    def __init__(
        self, name: str, module: str, arguments: Sequence[str], *, python: Path, environ: Mapping[str, str]
    ) -> None:
        """Start `python -m module arguments` and wait until it is ready. Raises WorkerFailed."""
        self.name = name
        try:
            self._process = subprocess.Popen(
                [str(python), "-m", module, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
                env=dict(environ),
            )
        except OSError as error:
            raise WorkerFailed(f"{python} cannot be started: {error.strerror}")
        try:
            self.description = str(self._answer())
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def ask(self, measure: str, **arguments: Any) -> Any:
        """Have something measured and return what came of it. Raises WorkerFailed."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"measure": measure, **arguments}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise WorkerFailed(f"{self.name} has ended")
        return self._answer()

    def close(self) -> None:
        """End the process. Idempotent."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise WorkerFailed(f"{self.name} ended with status {self._process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerFailed(f"{self.name}: {answer['error']}")
        return answer["result"]


def serve(prepare: Callable[[], tuple[str, Mapping[str, Measure]]]) -> None:
    """Be the asked end, until nobody asks any more. `prepare` returns a description and what can be measured.

    Libraries that print to standard output are led to standard error.
    """
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as out:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

        def answer(content: Mapping[str, Any]) -> None:
            out.write(json.dumps(content) + "\n")
            out.flush()

        try:
            description, measures = prepare()
        except Exception as error:  # whatever it is, the asker prints it and goes on without this one
            answer({"error": f"{type(error).__name__}: {error}"})
            return
        answer({"result": description})
        for line in sys.stdin:
            arguments = json.loads(line)
            try:
                answer({"result": measures[arguments.pop("measure")](**arguments)})
            except Exception as error:  # as above
                answer({"error": f"{type(error).__name__}: {error}"})


def rate_of(step: Callable[[], int], *, seconds: float, most_steps: int) -> float:
    """Return tokens a second of steps that return how many each brought, for some seconds and at least one step."""
    tokens, steps = 0, 0
    began_s = now_s = time.perf_counter()
    while steps < most_steps and (not steps or now_s - began_s < seconds):
        tokens += step()
        steps += 1
        now_s = time.perf_counter()
    return tokens / (now_s - began_s)
