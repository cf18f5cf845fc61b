"""The bare generate engine, without the platform around it: speed, where a step's time goes, and who waits for whom."""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks import bars, machine
from benchmarks.bare_engine import CONTEXT, Bench, Prompts, largest_gap, profile
from inference.generate import GenerateEngine
from inference.settings import EngineSettings
from services.cli.demo_model import CACHE, bring_model
from services.settings import load

ROWS = (1, 2, 4, 8, 16, 32)
FULL = 16
"""Rows of a full batch."""
PROMPT_TOKENS = 64
PREFILL_TOKENS = 512
CACHED_TOKENS = 1000
LONG_TOKENS = 1500
PYTHON_BAR = 0.10
FIRST_TOKEN_STEPS_BAR = 3
CACHED_BAR = 10.0


def main() -> None:
    """Measure and print."""
    machine.restart_with_huge_pages()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="a model folder instead of SmolLM2's")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="length of one measurement of decoding")
    options = parser.parse_args()
    machine.print_header("bare generate engine")
    folder = options.folder or bring_model(
        CACHE.expanduser(), lambda subject, sentence: print(f"{subject}: {sentence}")
    )
    show_speed(_opened(folder, slots=max(ROWS), caching=False), options.rounds, options.seconds)
    bench = _opened(folder, slots=FULL)
    show_profile(bench)
    show_late_arrival(bench, options.rounds)
    show_long_prompt(bench, options.rounds)
    show_cached_prompt(bench, options.rounds)
    bench.engine.close()


def show_speed(bench: Bench, rounds: int, seconds: float) -> None:
    """Print decode and prefill rates, and let go of the engine."""
    print(f"\nprovider {bench.engine.card.provider}; median of {rounds} rounds (best)")
    for rows in ROWS:
        decode = partial(bench.decode_rate, rows, seconds, PROMPT_TOKENS)
        _print_rate(f"decode, {rows} row{'s' if rows > 1 else ''}", rounds, decode)
    _print_rate(f"prefill, {PREFILL_TOKENS} tokens", rounds, lambda: bench.prefill_rate(PREFILL_TOKENS, 1))
    bench.engine.close()


def show_profile(bench: Bench) -> None:
    """Print where a step of a full batch spends its time."""
    found = profile(bench, FULL, steps=100)
    outside = 1 - found.run_s / found.whole_s
    print(f"\na step of {FULL} rows, medians of 100")
    for what, value_s in (
        ("whole", found.whole_s),
        ("inside the runtime", found.run_s),
        ("decode, the engine says", found.times.decode_s),
        ("sampling, the engine says", found.times.sample_s),
        ("other, the engine says", found.times.other_s),
    ):
        print(f"  {what:26s} {value_s * 1000:7.2f} ms  {value_s / found.whole_s:6.1%}")
    print(
        f"Python outside the runtime: {outside:.1%} (bar {PYTHON_BAR:.0%}: {bars.at_most(outside, PYTHON_BAR)})"
    )


def show_late_arrival(bench: Bench, rounds: int) -> None:
    """Print the time to first token of a prompt that comes when the batch is full and one row is about to leave."""
    alone_s = statistics.median(
        bench.first_token_s(bench.prompts.make(PROMPT_TOKENS)) for _ in range(rounds + 1)
    )
    steps_s, late_s = [], []
    for _ in range(rounds):
        with bench.generating(FULL - 1, PROMPT_TOKENS):
            bench.admit("leaving", bench.prompts.make(PROMPT_TOKENS), 12)
            bench.step_until_first("leaving")
            began_s = time.perf_counter()
            while len(bench.arrivals["leaving"]) < 11:
                bench.step()
            steps_s.append((time.perf_counter() - began_s) / 10)
            prompt = bench.prompts.make(PROMPT_TOKENS)
            arrived_s = time.perf_counter()
            bench.step()
            assert "leaving" in bench.outputs
            bench.admit("late", prompt, 4)
            bench.step_until_first("late")
            late_s.append(bench.arrivals["late"][0] - arrived_s)
        bench.outputs.clear()
    step_s, first_s = statistics.median(steps_s), statistics.median(late_s)
    bar_s = FIRST_TOKEN_STEPS_BAR * step_s + alone_s
    print(f"\na prompt of {PROMPT_TOKENS} tokens comes before the step in which one row of {FULL} ends")
    print(f"  step {step_s * 1000:.1f} ms, first token on an idle engine after {alone_s * 1000:.1f} ms")
    print(
        f"  first token after {first_s * 1000:.1f} ms (bar, {FIRST_TOKEN_STEPS_BAR} steps and its own prefill: "
        f"{bar_s * 1000:.1f} ms: {bars.at_most(first_s, bar_s)})"
    )


def show_long_prompt(bench: Bench, rounds: int) -> None:
    """Print how long running rows wait for each other's next token while a long prompt is read."""
    gaps_s, usual_s, first_s = [], [], []
    for _ in range(rounds):
        with bench.generating(FULL - 1, PROMPT_TOKENS) as keys:
            began_s = time.perf_counter()
            for _ in range(10):
                bench.step()
            usual_s.append((time.perf_counter() - began_s) / 10)
            prompt = bench.prompts.make(LONG_TOKENS)
            arrived_s = time.perf_counter()
            bench.admit("long", prompt, 4)
            bench.step_until_first("long")
            gaps_s.append(max(largest_gap(bench.arrivals[key], arrived_s) for key in keys))
            first_s.append(bench.arrivals["long"][0] - arrived_s)
    print(f"\na prompt of {LONG_TOKENS} tokens comes while {FULL - 1} rows generate")
    print(
        f"  its first token after {_ms(first_s)}; longest gap between two tokens of a running row {_ms(gaps_s)}, "
        f"usual step {_ms(usual_s)}"
    )


def show_cached_prompt(bench: Bench, rounds: int) -> None:
    """Print how much sooner the first token of a known prompt comes."""
    first_s, again_s, cached = [], [], 0
    for _ in range(rounds):
        prompt = bench.prompts.make(CACHED_TOKENS)
        first_s.append(bench.first_token_s(prompt))
        again_s.append(bench.first_token_s(prompt))
        cached = bench.outputs["first"].cached_tokens
    ratio = statistics.median(one / other for one, other in zip(first_s, again_s, strict=True))
    print(f"\na prompt of {CACHED_TOKENS} tokens, new and again ({cached} tokens cached)")
    print(
        f"  first token after {_ms(first_s)} and {_ms(again_s)}: {ratio:.1f} times sooner "
        f"(bar {CACHED_BAR:.0f}: {bars.at_least(ratio, CACHED_BAR)})"
    )


def _opened(folder: Path, *, slots: int, caching: bool = True) -> Bench:
    """Open an engine as the environment says, with so many slots of a short context."""
    settings = load(EngineSettings, section="engine", file=None, environ=os.environ)
    settings = replace(settings, slots=slots, context_length=CONTEXT)
    if not caching:
        settings = replace(settings, prefix_cache_bytes=0)
    engine = GenerateEngine.open(folder, settings, print)
    engine.warm_up()
    return Bench(engine, Prompts(folder))


def _print_rate(what: str, rounds: int, measure: Callable[[], float]) -> None:
    rates = [measure() for _ in range(rounds)]
    print(f"  {what:26s} {statistics.median(rates):8.1f} tok/s ({max(rates):.1f})")


def _ms(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds) * 1000:.1f} ms"


if __name__ == "__main__":
    main()
