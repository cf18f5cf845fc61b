"""Runs many seeds in several processes, each started so that its worlds replay exactly."""

import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import IO, Final, TextIO

from tests.simulation.determinism import HASH_SEED

REPLAY: Final = ".venv/bin/python -m tests.simulation --seed {seed} --trace"
SAY_EVERY_S: Final = 10.0
MOST_BAD: Final = 10
"""Bad seeds after which a campaign has said enough."""


@dataclass(slots=True)
class Tally:
    """What a campaign came to."""

    seeds: int = 0
    tasks: int = 0
    virtual_s: float = 0.0
    bad: dict[int, list[str]] = field(default_factory=dict)
    """Faults by seed."""


def replaying(*arguments: str) -> tuple[list[str], dict[str, str]]:
    """Return command and environment of a process whose worlds replay exactly."""
    command = [sys.executable, "-m", "tests.simulation", *arguments]
    return command, {**os.environ, "PYTHONHASHSEED": HASH_SEED}


def campaign(first: int, seeds: int, jobs: int, out: TextIO | None = None) -> Tally:
    """Run that many seeds from the first one on; says to `out` how far it is."""
    tally, began_s = Tally(), time.monotonic()
    said_s = began_s
    with ExitStack() as stack:
        workers = [stack.enter_context(_worker(first + job, seeds, jobs)) for job in range(jobs)]
        for line in _lines([worker.stdout for worker in workers if worker.stdout is not None]):
            _count(tally, line, out)
            now_s = time.monotonic()
            if out is not None and (now_s - said_s > SAY_EVERY_S or tally.seeds == seeds):
                said_s = now_s
                _say(out, tally, seeds, now_s - began_s)
            if len(tally.bad) >= MOST_BAD:
                break
        for worker in workers:
            worker.terminate() if len(tally.bad) >= MOST_BAD else worker.wait()
    return tally


def _worker(first: int, seeds: int, jobs: int) -> "subprocess.Popen[str]":
    mine = len(range(first % jobs, seeds, jobs)) if jobs > 1 else seeds
    command, environment = replaying(
        "--worker", "--first", str(first), "--seeds", str(mine), "--step", str(jobs)
    )
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def _lines(pipes: Sequence[IO[str]]) -> Iterator[str]:
    """Yield the lines of all pipes as they come; each ends when its process does."""
    with selectors.DefaultSelector() as selector:
        for pipe in pipes:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                line = key.fileobj.readline()  # type: ignore[union-attr]  # a pipe was registered
                if line:
                    yield line
                else:
                    selector.unregister(key.fileobj)


def _count(tally: Tally, line: str, out: TextIO | None) -> None:
    seed, tasks, virtual_s, *faults = line.rstrip("\n").split("\t")
    tally.seeds += 1
    tally.tasks += int(tasks)
    tally.virtual_s += float(virtual_s)
    if faults:
        tally.bad[int(seed)] = faults
        if out is not None:
            out.write(f"seed {seed} broke a promise:\n" + "".join(f"  {fault}\n" for fault in faults))
            out.write(f"  replay: {REPLAY.format(seed=seed)}\n")
            out.flush()


def _say(out: TextIO, tally: Tally, seeds: int, took_s: float) -> None:
    out.write(
        f"{tally.seeds} of {seeds} seeds, {tally.seeds / took_s:.1f}/s; "
        f"{tally.tasks} tasks in {tally.virtual_s / 3600:.1f} virtual hours; {len(tally.bad)} bad\n"
    )
    out.flush()
