"""Decoding one row through the whole platform, and by the bare engine beside it.

Rounds alternate: the bare engine in this process, called step by step, then the same request as a durable task
(SubmitTasks, then StreamOutput to its last chunk) through gateway, log, scheduler, runner and record store. Speed is
tokens a second from the first token to the last, as the one who reads sees them.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import uvloop

from benchmarks import machine
from forebay.client import AsyncClient
from inference.engine import Done, GenerateRequest
from inference.generate import GenerateEngine
from inference.settings import EngineSettings
from services.cli.demo_model import CACHE, MODEL, bring_model
from services.settings import load
from tests.system import System, forebay_up

BARE_BAR = 200.0
SHARE_BAR = 0.90
LIMIT_S = 120.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One generation, timed by the one who reads it."""

    tokens: int
    first_s: float
    """From the request to its first token."""
    whole_s: float
    """From the request to its end."""
    rate: float
    """Tokens a second after those that came first."""


def timed(arrivals: Sequence[tuple[float, int]], began_s: float, ended_s: float) -> Answer:
    """Make an answer of its arrivals: when, and how many tokens then."""
    tokens = sum(count for _, count in arrivals)
    (first_at, first_tokens), last_at = arrivals[0], arrivals[-1][0]
    return Answer(
        tokens, first_at - began_s, ended_s - began_s, (tokens - first_tokens) / (last_at - first_at)
    )


def bare(engine: GenerateEngine, prompt: str, max_tokens: int) -> Answer:
    """Generate by the engine alone."""
    arrivals: list[tuple[float, int]] = []
    began_s = time.perf_counter()
    engine.admit("bare", GenerateRequest(prompt=prompt, max_tokens=max_tokens, ignore_eos=True))
    while engine.active:
        for update in engine.step():
            assert not hasattr(update, "error"), update
            tokens = update.tail_token_ids if isinstance(update, Done) else update.token_ids
            arrivals.append((time.perf_counter(), len(tokens)))
    return timed(arrivals, began_s, time.perf_counter())


async def durable(client: AsyncClient, prompt: str, max_tokens: int) -> Answer:
    """Generate by a task of the platform, and read its stream."""
    began_s = time.perf_counter()
    task = await client.submit(MODEL, prompt=prompt, max_tokens=max_tokens, ignore_eos=True)
    chunks = client.stream(task, timeout_s=LIMIT_S)
    arrivals = [(time.perf_counter(), len(chunk.token_ids)) async for chunk in chunks if chunk.token_ids]
    return timed(arrivals, began_s, time.perf_counter())


async def compare(
    system: System, engine: GenerateEngine, prompt: str, max_tokens: int, rounds: int
) -> tuple[list[Answer], list[Answer]]:
    """Alternate for some rounds after one of each that does not count; prints each round."""
    alone, through = [], []
    processes = system.children()
    async with AsyncClient(system.grpc) as client:
        for number in range(rounds + 1):
            one = await asyncio.to_thread(bare, engine, prompt, max_tokens)
            before = _cpu_seconds(processes)
            other = await durable(client, prompt, max_tokens)
            after = _cpu_seconds(processes)
            assert one.tokens == other.tokens == max_tokens, (one.tokens, other.tokens)
            if not number:
                continue
            alone.append(one)
            through.append(other)
            used = ", ".join(
                f"{name} {(after[name] - before[name]) / other.whole_s:.0%}" for name in sorted(after)
            )
            print(
                f"round {number}: bare {one.rate:6.1f} tok/s, platform {other.rate:6.1f} tok/s "
                f"({other.rate / one.rate:.1%}); CPU in % of one core: {used}"
            )
    return alone, through


def show(alone: Sequence[Answer], through: Sequence[Answer]) -> None:
    """Print medians, and how they stand to the bars."""
    for name, answers in (("bare engine", alone), ("platform", through)):
        print(
            f"{name:12s} {_median(a.rate for a in answers):6.1f} tok/s, "
            f"first token after {_median(a.first_s for a in answers) * 1000:5.1f} ms, "
            f"whole answer in {_median(a.whole_s for a in answers):.3f} s"
        )
    pairs = list(zip(alone, through, strict=True))
    share = _median(b.rate / a.rate for a, b in pairs)
    print(f"platform / bare, decoding:     {share:.1%} (median of {len(pairs)} rounds; bar {SHARE_BAR:.0%})")
    print(f"platform / bare, whole answer: {_median(a.whole_s / b.whole_s for a, b in pairs):.1%}")
    print(f"bar of the bare engine on 2 AVX-512 cores: {BARE_BAR:.0f} tok/s")


def main() -> None:
    """Measure and print."""
    machine.restart_with_huge_pages()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", type=Path, help="a model folder instead of SmolLM2's")
    parser.add_argument("--prompt-tokens", type=int, default=16)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    machine.print_header("one row decoded: bare engine and whole platform")
    folder = options.model or bring_model(
        CACHE.expanduser(), lambda subject, sentence: print(f"{subject}: {sentence}")
    )
    prompt = " water" * options.prompt_tokens
    settings = load(EngineSettings, section="engine", file=None, environ=os.environ)
    engine = GenerateEngine.open(folder, settings, print)
    engine.warm_up()
    print(
        f"provider {engine.card.provider}, about {options.prompt_tokens} prompt tokens, {options.max_tokens} generated"
    )
    quiet = [bare(engine, prompt, options.max_tokens) for _ in range(3)]
    print(
        f"bare, before the platform is up: {_median(answer.rate for answer in quiet):.1f} tok/s (median of 3)"
    )
    with (
        tempfile.TemporaryDirectory(prefix="forebay-bench-") as data,
        forebay_up(Path(data), {MODEL: folder}) as system,
    ):
        alone, through = uvloop.run(compare(system, engine, prompt, options.max_tokens, options.rounds))
    engine.close()
    show(alone, through)


def _cpu_seconds(system: Sequence[psutil.Process]) -> dict[str, float]:
    """Return CPU seconds by process; the client is in this one, whose engine sleeps meanwhile."""
    client = machine.cpu_seconds([psutil.Process()])
    return {**machine.cpu_seconds(system), "client": sum(client.values())}


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)


if __name__ == "__main__":
    main()
