"""How long the pieces are in which prompts are read: what running rows wait, against what the long prompt waits.

One engine for each length. While some rows generate, a long prompt is read; then another one on the idle engine. Each
step brings every row one token, so the time of a step is the gap between two of its tokens. Rounds go over all lengths
by turns, and of each step the fastest of all rounds counts: what else the host does is not what is compared. The first
prompts are not counted: they take the memory.

On a host that never rests, --one-thread compares the lengths all the same: runs have one thread, and what counts is the
time that it computes, not the time that passes.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import machine
from benchmarks.bare_engine import CONTEXT, Bench, Prompts
from inference.generate import GenerateEngine
from inference.settings import EngineSettings
from services.cli.demo_model import CACHE, bring_model

LENGTHS = (128, 192, 256, 384, 512)
ROWS = 8
ROW_PROMPT_TOKENS = 64
LONG_TOKENS = 1500
PREFIX_CACHE_BYTES = 64 << 20
"""Small, so that it is full before anything is counted."""


@dataclass(slots=True)
class Measured:
    """Seconds of the steps in which a long prompt was read, of each round."""

    beside_rows: list[list[float]] = field(default_factory=list)
    alone: list[list[float]] = field(default_factory=list)


@dataclass(slots=True)
class TimedBench(Bench):
    """One that measures its steps."""

    clock: Callable[[], float] = time.perf_counter

    def step_s(self) -> float:
        """Step the engine; return how long that took."""
        began_s = self.clock()
        self.step()
        return self.clock() - began_s


def main() -> None:
    """Measure and print."""
    machine.restart_with_huge_pages()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", type=Path, help="a model folder instead of SmolLM2's")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--one-thread", action="store_true", help="computing time of one thread")
    options = parser.parse_args()
    machine.print_header(f"{ROWS} rows generate while a prompt of {LONG_TOKENS} tokens is read")
    folder = options.model or bring_model(
        CACHE.expanduser(), lambda subject, sentence: print(f"{subject}: {sentence}")
    )
    benches = {length: _opened(folder, length, options.one_thread) for length in options.lengths}
    found = {length: Measured() for length in benches}
    usual_s: list[float] = []
    for bench in benches.values():
        read_beside_rows(bench)
        read(bench)
    for number in range(options.rounds):
        order = list(benches)
        for length in order[number % len(order) :] + order[: number % len(order)]:
            usual, steps = read_beside_rows(benches[length])
            usual_s.append(usual)
            found[length].beside_rows.append(steps)
            found[length].alone.append(read(benches[length]))
    print(f"\nusual step of {ROWS} rows {_ms(min(usual_s))}; {options.rounds} rounds\n")
    print(table(found))


def read_beside_rows(bench: TimedBench) -> tuple[float, list[float]]:
    """Read a long prompt while rows generate; return the time of a usual step, and of each step until it is read."""
    with bench.generating(ROWS, ROW_PROMPT_TOKENS) as keys:
        usual_s = statistics.median(bench.step_s() for _ in range(10))
        before = [len(bench.arrivals[key]) for key in keys]
        steps = read(bench)
        assert all(
            len(bench.arrivals[key]) == count + len(steps) for key, count in zip(keys, before, strict=True)
        )
        return usual_s, steps


def read(bench: TimedBench) -> list[float]:
    """Read a long prompt; return the time of each step until its first token."""
    bench.admit("long", bench.prompts.make(LONG_TOKENS), 1)
    steps = []
    while not bench.arrivals["long"]:
        steps.append(bench.step_s())
    return steps


def table(found: dict[int, Measured]) -> str:
    """Return what was measured in Markdown."""
    lines = [
        f"| tokens of a piece | longest gap of a row | first token beside {ROWS} rows | prompt alone "
        "| rows meanwhile | rows and prompt | p99 gap, all rounds |",
        "|---|---|---|---|---|---|---|",
    ]
    for length, one in found.items():
        beside, alone = _fastest(one.beside_rows), _fastest(one.alone)
        every = sorted(gap for steps in one.beside_rows for gap in steps)
        rate = ROWS * len(beside) / sum(beside)
        cells = [
            str(length),
            _ms(max(beside)),
            _ms(sum(beside)),
            f"{LONG_TOKENS / sum(alone):,.0f} tok/s",
            f"{rate:.0f} tok/s",
            f"{rate + LONG_TOKENS / sum(beside):,.0f} tok/s",
            _ms(every[min(len(every) - 1, int(len(every) * 0.99))]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _opened(folder: Path, length: int, one_thread: bool) -> TimedBench:
    settings = EngineSettings(
        prefill_tokens=length,
        context_length=CONTEXT,
        prefix_cache_bytes=PREFIX_CACHE_BYTES,
        threads=1 if one_thread else 0,
    )
    engine = GenerateEngine.open(folder, settings, lambda sentence: None)
    engine.warm_up()
    clock = time.thread_time if one_thread else time.perf_counter
    return TimedBench(engine, Prompts(folder), clock=clock)


def _fastest(rounds: Sequence[Sequence[float]]) -> list[float]:
    """Return of each step the fastest of all rounds."""
    return [min(step) for step in zip(*rounds, strict=True)]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms"


if __name__ == "__main__":
    main()
