"""Throughput and latency of the bare engine under an open load, from light to more than it can do.

Requests arrive by a Poisson process that does not wait for answers, with prompts and answers of mixed lengths; the
same ones in the same order at every rate, only closer together. The engine is stepped in this process, and takes a
request in as soon as a slot is free; until then the request waits, and its clock runs. First, with all requests there
at once, it is measured how many a second the engine can do; the rates are shares of that.
"""

import argparse
import itertools
import os
import random
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import line_chart, machine
from benchmarks.bare_engine import CONTEXT, Bench, Prompts
from inference.generate import GenerateEngine
from inference.settings import EngineSettings
from services.cli.demo_model import CACHE, bring_model
from services.settings import load

PROMPT_TOKENS = (16, 32, 64, 128, 256, 512)
ANSWER_TOKENS = (16, 32, 64, 128)
SHARES = (0.2, 0.4, 0.6, 0.75, 0.9, 1.0, 1.2)
SATURATING = 64
"""Requests that are there at once to find out what the engine can do."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request of the load."""

    at: float
    """When, counted in mean times between two requests."""
    prompt_tokens: int
    answer_tokens: int


@dataclass(frozen=True, slots=True)
class Point:
    """What was measured at one rate."""

    offered: float
    """Requests a second."""
    first_p50_s: float
    """Time from arrival to the first token."""
    first_p99_s: float
    next_p50_s: float
    """Mean time between two tokens of an answer."""
    next_p99_s: float
    rate: float
    """Tokens a second from the first arrival to the last token."""
    requests: int


def load_of(seed: int) -> Iterator[Arrival]:
    """Yield requests without end, the same ones for the same seed."""
    chance = random.Random(seed)
    at = 0.0
    while True:
        yield Arrival(at, chance.choice(PROMPT_TOKENS), chance.choice(ANSWER_TOKENS))
        at += chance.expovariate(1.0)


def run(bench: Bench, arrivals: Sequence[Arrival], offered: float) -> Point:
    """Let requests arrive at a rate, answer all of them, and say how long they took."""
    coming = deque(
        (str(number), arrival, bench.prompts.make(arrival.prompt_tokens))
        for number, arrival in enumerate(arrivals)
    )
    arrived_s: dict[str, float] = {}
    bench.arrivals.clear()
    tokens = 0
    began_s = time.perf_counter()
    while coming or bench.engine.active:
        while coming and bench.engine.active < bench.engine.capacity:
            key, arrival, prompt = coming[0]
            at_s = began_s + arrival.at / offered
            if at_s > time.perf_counter():
                break
            coming.popleft()
            arrived_s[key] = at_s
            bench.admit(key, prompt, arrival.answer_tokens)
        if bench.engine.active:
            tokens += bench.step()
        elif coming:
            time.sleep(max(0.0, began_s + coming[0][1].at / offered - time.perf_counter()))
    ended_s = time.perf_counter()
    firsts = sorted(bench.arrivals[key][0] - at_s for key, at_s in arrived_s.items())
    nexts = sorted(
        (moments[-1] - moments[0]) / (len(moments) - 1) for moments in bench.arrivals.values() if moments[1:]
    )
    return Point(
        offered,
        _percentile(firsts, 0.5),
        _percentile(firsts, 0.99),
        _percentile(nexts, 0.5),
        _percentile(nexts, 0.99),
        tokens / (ended_s - began_s),
        len(arrivals),
    )


def table(points: Sequence[Point]) -> str:
    """Return the points in Markdown."""
    lines = [
        "| offered, requests/s | requests | first token p50 | p99 | per output token p50 | p99 | tokens/s |",
        "|---|---|---|---|---|---|---|",
    ]
    for p in points:
        cells = [
            f"{p.offered:.2f}",
            str(p.requests),
            *(
                f"{seconds * 1000:,.0f} ms"
                for seconds in (p.first_p50_s, p.first_p99_s, p.next_p50_s, p.next_p99_s)
            ),
            f"{p.rate:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def figure(points: Sequence[Point]) -> str:
    """Return the points as an SVG."""

    def line(name: str, values: Iterator[float]) -> line_chart.Line:
        return line_chart.Line(name, list(values))

    return line_chart.draw(
        "One engine under load",
        "requests offered a second",
        [p.offered for p in points],
        [
            line_chart.Panel(
                "time to first token, ms",
                [
                    line("median", (p.first_p50_s * 1000 for p in points)),
                    line("99th percentile", (p.first_p99_s * 1000 for p in points)),
                ],
                logarithmic=True,
            ),
            line_chart.Panel(
                "time per output token, ms",
                [
                    line("median", (p.next_p50_s * 1000 for p in points)),
                    line("99th percentile", (p.next_p99_s * 1000 for p in points)),
                ],
            ),
            line_chart.Panel("output tokens a second", [line("all rows", (p.rate for p in points))]),
        ],
    )


def main() -> None:
    """Measure and print."""
    machine.restart_with_huge_pages()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", type=Path, help="a model folder instead of SmolLM2's")
    parser.add_argument("--seconds", type=float, default=15.0, help="length of the load at each rate")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--figure", type=Path, help="an SVG file to write, docs/figures/generation_curve.svg")
    options = parser.parse_args()
    machine.print_header("bare engine under an open load")
    print(f"seed: {options.seed}")
    folder = options.model or bring_model(
        CACHE.expanduser(), lambda subject, sentence: print(f"{subject}: {sentence}")
    )
    settings = load(EngineSettings, section="engine", file=None, environ=os.environ)
    engine = GenerateEngine.open(folder, replace(settings, context_length=CONTEXT), print)
    engine.warm_up()
    bench = Bench(engine, Prompts(folder))
    print(
        f"{engine.card.provider}, {engine.capacity} slots, {settings.prefill_tokens} prompt tokens a step; "
        f"prompts of {PROMPT_TOKENS} tokens, answers of {ANSWER_TOKENS}, all as likely"
    )
    began_s = time.perf_counter()
    at_once = [replace(one, at=0.0) for one in itertools.islice(load_of(options.seed), SATURATING)]
    run(bench, at_once, 1.0)
    most = SATURATING / (time.perf_counter() - began_s)
    print(f"all at once: {most:.2f} requests/s\n")
    points = []
    for share in SHARES:
        offered = share * most
        arrivals = []
        for one in load_of(options.seed):
            if one.at >= offered * options.seconds:
                break
            arrivals.append(one)
        points.append(run(bench, arrivals, offered))
        print(f"{share:.0%} of that: {offered:.2f} requests/s done")
    engine.close()
    print()
    print(table(points))
    if options.figure:
        options.figure.parent.mkdir(parents=True, exist_ok=True)
        options.figure.write_text(figure(points))
        print(f"\n{options.figure} written")


def _percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


if __name__ == "__main__":
    main()
