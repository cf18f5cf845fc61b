"""The bare engine against llama.cpp and onnxruntime-genai, on the same weights, by turns in the same run.

llama.cpp runs the GGUF file that the model folder was made from, onnxruntime-genai runs the folder. Each system is in
a process of its own, which sleeps while another is measured. A figure is the median of the rounds, a ratio the median
of each round's own ratio. The peers live in an environment of their own, made in the model cache the first time; a
Python that has them already can be named in FOREBAY_BENCH_PEERS_PYTHON.
"""

import argparse
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import bars, machine
from benchmarks.peers.environment import peers_python
from benchmarks.peers.worker import Worker, WorkerFailed
from inference.huge_pages import with_huge_pages
from inference.importers import fetch_smollm2
from services.cli.demo_model import CACHE, bring_model

PROMPT_TOKENS = 64
PREFILL_TOKENS = 512
LLAMA_CPP = "llama.cpp"
ENGINE = "forebay"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    name: str
    measure: str
    arguments: Mapping[str, float]
    bar: float
    """Least ratio to llama.cpp."""


def rows(seconds: float) -> list[Row]:
    """Return what is measured; each decoding for so many seconds."""
    bars_by_rows = {1: 1.3, 8: 1.6, 16: 2.0, 32: 2.0}
    decoding = [
        Row(
            f"decode, {count} row{'s' if count > 1 else ''}",
            "decode",
            {"rows": count, "seconds": seconds, "prompt_tokens": PROMPT_TOKENS},
            bar,
        )
        for count, bar in bars_by_rows.items()
    ]
    reading = {"tokens": PREFILL_TOKENS, "times": 2}
    return [*decoding, Row(f"prefill of {PREFILL_TOKENS}", "prefill", reading, 3.0)]


Figures = dict[str, dict[str, list[float]]]
"""Tokens a second of each round, by row and by system."""


def measure(workers: Sequence[Worker], table: Sequence[Row], rounds: int) -> Figures:
    """Measure row by row, the systems by turns, after one round that does not count. Prints each round."""
    figures: Figures = {row.name: {worker.name: [] for worker in workers} for row in table}
    for number in range(rounds + 1):
        print(f"round {number}:" if number else "warming up:", end="", flush=True)
        for row in table:
            arguments = dict(row.arguments)
            if not number and row.measure == "decode":
                arguments["seconds"] = 0.2
            # Each round begins with another system, so none is always the one that follows the same.
            order = [*workers[number % len(workers) :], *workers[: number % len(workers)]]
            found = {worker.name: float(worker.ask(row.measure, **arguments)) for worker in order}
            print(
                f" {row.name} {' '.join(f'{found[worker.name]:.0f}' for worker in workers)};",
                end="",
                flush=True,
            )
            if number:
                for name, rate in found.items():
                    figures[row.name][name].append(rate)
        print()
    return figures


def show(figures: Figures, table: Sequence[Row], names: Sequence[str]) -> None:
    """Print the table in Markdown, with each ratio beside its bar."""
    peers = [name for name in names if name != ENGINE]
    print("\ntok/s, medians (lowest to highest):\n")
    print(
        "| | "
        + " | ".join(names)
        + " | "
        + " | ".join(f"against {peer}" for peer in peers)
        + " | bar, against llama.cpp |"
    )
    print("|---" * (2 + len(names) + len(peers)) + "|")
    for row in table:
        rates = figures[row.name]
        cells = [
            f"{statistics.median(rates[name]):,.0f} ({min(rates[name]):,.0f} to {max(rates[name]):,.0f})"
            for name in names
        ]
        ratios = {peer: _ratio(rates[ENGINE], rates[peer]) for peer in peers}
        cells += [f"{ratio:.2f}" for ratio in ratios.values()]
        judged = f": {bars.at_least(ratios[LLAMA_CPP], row.bar)}" if LLAMA_CPP in ratios else ""
        print(f"| {row.name} | {' | '.join(cells)} | {row.bar}{judged} |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", type=Path, help="a model folder instead of SmolLM2's")
    parser.add_argument("--gguf", type=Path, help="the GGUF file of the same model, for llama.cpp")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="length of one measurement of decoding")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of each system")
    options = parser.parse_args()
    if (options.model is None) != (options.gguf is None):
        parser.error("--model and --gguf go together")
    machine.print_header("bare engine and peers, the same weights")
    cache = CACHE.expanduser()
    folder = options.model or bring_model(cache, lambda subject, sentence: print(f"{subject}: {sentence}"))
    file = options.gguf or fetch_smollm2(cache, print)
    python = peers_python(cache, print)
    table = rows(options.seconds)
    most = max(int(row.arguments["rows"]) for row in table if row.measure == "decode")
    environ = {**with_huge_pages(os.environ), "FOREBAY_ENGINE_THREADS": str(options.threads)}
    threads = str(options.threads)
    with ExitStack() as stack:
        workers = []
        for name, module, arguments, its_python in (
            (ENGINE, "engine_run", [str(folder), str(most)], Path(sys.executable)),
            (LLAMA_CPP, "llama_cpp_run", [str(file), threads], python),
            ("onnxruntime-genai", "genai_run", [str(folder), threads], python),
        ):
            try:
                worker = Worker(
                    name, f"benchmarks.peers.{module}", arguments, python=its_python, environ=environ
                )
            except WorkerFailed as error:
                if name == ENGINE:
                    raise
                print(f"LEFT OUT: {error}")
                continue
            workers.append(stack.enter_context(worker))
            print(f"{name}: {worker.description}")
        figures = measure(workers, table, options.rounds)
        for worker in workers:
            if worker.name == LLAMA_CPP:
                print("\nbest way of llama.cpp, by what is measured:")
                for what, way in worker.ask("ways").items():
                    print(f"  {what}: {way}")
    show(figures, table, [worker.name for worker in workers])


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))


if __name__ == "__main__":
    main()
