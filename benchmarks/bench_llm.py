"""Decoding through the whole platform, and by the bare engine beside it: a full batch of 16 rows, and one row alone.

Rounds alternate: the bare engine in this process, called step by step, then the same requests as durable tasks
(SubmitTasks, then StreamOutput to the last chunk of each) through gateway, log, scheduler, runner and record store.
Speed is tokens a second as those who read see them: of a batch while every row of it generates, of a single row from
its first token to its last. No prompt comes twice, so no cache knows any.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import uvloop

from benchmarks import bars, machine
from benchmarks.bare_engine import Prompts
from forebay.client import AsyncClient, task_spec
from inference.engine import Done, Failed, GenerateRequest
from inference.generate import GenerateEngine
from inference.settings import EngineSettings
from services.cli.demo_model import CACHE, MODEL, bring_model
from services.settings import load
from tests.system import System, forebay_up

BATCH = 16
SHARE_BAR = 0.90
LIMIT_S = 120.0

Arrivals = list[tuple[float, int]]
"""When tokens came, and how many."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Generations that began together, timed by the one who reads them."""

    tokens: int
    first_s: float
    """From the request to the first token: of several rows, the median."""
    whole_s: float
    """From the request to the end of the last row."""
    rate: float
    """Tokens a second while all rows generate: from when each has its first until one has its last."""


def timed(rows: Sequence[Arrivals], began_s: float, ended_s: float) -> Answer:
    """Make an answer of the arrivals of each row."""
    from_s = max(arrivals[0][0] for arrivals in rows)
    to_s = min(arrivals[-1][0] for arrivals in rows)
    between = sum(count for arrivals in rows for at_s, count in arrivals if from_s < at_s <= to_s)
    return Answer(
        tokens=sum(count for arrivals in rows for _, count in arrivals),
        first_s=_median(arrivals[0][0] - began_s for arrivals in rows),
        whole_s=ended_s - began_s,
        rate=between / (to_s - from_s),
    )


def bare(engine: GenerateEngine, prompts: Sequence[str], max_tokens: int) -> Answer:
    """Generate by the engine alone."""
    rows: dict[str, Arrivals] = {str(number): [] for number in range(len(prompts))}
    began_s = time.perf_counter()
    for key, prompt in zip(rows, prompts, strict=True):
        engine.admit(key, GenerateRequest(prompt=prompt, max_tokens=max_tokens, ignore_eos=True))
    while engine.active:
        updates = engine.step()
        now_s = time.perf_counter()
        for update in updates:
            assert not isinstance(update, Failed), update
            chunk = update.tail if isinstance(update, Done) else update
            if chunk is not None and chunk.token_ids:
                rows[chunk.key].append((now_s, len(chunk.token_ids)))
    return timed(list(rows.values()), began_s, time.perf_counter())


async def durable(client: AsyncClient, prompts: Sequence[str], max_tokens: int) -> Answer:
    """Generate by tasks of the platform, and read the stream of each."""
    began_s = time.perf_counter()
    tasks = await client.submit_many(
        [task_spec(MODEL, prompt=prompt, max_tokens=max_tokens, ignore_eos=True) for prompt in prompts]
    )

    async def read(task: str) -> Arrivals:
        chunks = client.stream(task, timeout_s=LIMIT_S)
        return [(time.perf_counter(), len(chunk.token_ids)) async for chunk in chunks if chunk.token_ids]

    async with asyncio.TaskGroup() as group:
        reading = [group.create_task(read(task.id)) for task in tasks]
    return timed([task.result() for task in reading], began_s, time.perf_counter())


@dataclass(frozen=True, slots=True)
class Case:
    """What is compared in alternating rounds."""

    rows: int
    prompt_tokens: int
    max_tokens: int
    rounds: int


async def compare(
    system: System, engine: GenerateEngine, made: Prompts, case: Case
) -> tuple[list[Answer], list[Answer]]:
    """Alternate for some rounds after one of each that does not count; prints each round."""
    alone, through = [], []
    processes = system.children()
    async with AsyncClient(system.grpc) as client:
        for number in range(case.rounds + 1):
            prompts = [made.make(case.prompt_tokens) for _ in range(2 * case.rows)]
            one = await asyncio.to_thread(bare, engine, prompts[: case.rows], case.max_tokens)
            before = _cpu_seconds(processes)
            other = await durable(client, prompts[case.rows :], case.max_tokens)
            after = _cpu_seconds(processes)
            assert one.tokens == other.tokens == case.rows * case.max_tokens, (one.tokens, other.tokens)
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


def show(case: Case, alone: Sequence[Answer], through: Sequence[Answer]) -> None:
    """Print medians, and how they stand to the bar."""
    for name, answers in (("bare engine", alone), ("platform", through)):
        print(
            f"{name:12s} {_median(a.rate for a in answers):6.1f} tok/s, "
            f"first token after {_median(a.first_s for a in answers) * 1000:5.1f} ms, "
            f"whole answer in {_median(a.whole_s for a in answers):.3f} s"
        )
    pairs = list(zip(alone, through, strict=True))
    share = _median(b.rate / a.rate for a, b in pairs)
    print(
        f"platform / bare, {case.rows} row{'s' if case.rows > 1 else ''} decoding: {share:.1%} "
        f"(median of {len(pairs)} rounds; bar {SHARE_BAR:.0%}: {bars.at_least(share, SHARE_BAR)})"
    )
    print(f"platform / bare, from request to end: {_median(a.whole_s / b.whole_s for a, b in pairs):.1%}")


def main() -> None:
    """Measure and print."""
    machine.restart_with_huge_pages()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", type=Path, help="a model folder instead of SmolLM2's")
    parser.add_argument("--prompt-tokens", type=int, default=16)
    parser.add_argument("--max-tokens", type=int, default=192)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    machine.print_header(f"{BATCH} rows and one row decoded: bare engine and whole platform")
    folder = options.model or bring_model(
        CACHE.expanduser(), lambda subject, sentence: print(f"{subject}: {sentence}")
    )
    settings = load(EngineSettings, section="engine", file=None, environ=os.environ)
    # The platform's side is as the environment says, too: both have as many slots.
    settings = replace(settings, slots=max(settings.slots, BATCH))
    engine = GenerateEngine.open(folder, settings, print)
    engine.warm_up()
    made = Prompts(folder)
    print(
        f"provider {engine.card.provider}, {options.prompt_tokens} prompt tokens, {options.max_tokens} generated"
    )
    with (
        tempfile.TemporaryDirectory(prefix="forebay-bench-") as data,
        forebay_up(
            Path(data), {MODEL: folder}, environment={"FOREBAY_ENGINE_SLOTS": str(settings.slots)}
        ) as system,
    ):
        for rows in (BATCH, 1):
            case = Case(rows, options.prompt_tokens, options.max_tokens, options.rounds)
            print(f"\n{rows} row{'s' if rows > 1 else ''}")
            show(case, *uvloop.run(compare(system, engine, made, case)))
    engine.close()


def _cpu_seconds(system: Sequence[psutil.Process]) -> dict[str, float]:
    """Return CPU seconds by process; the client is in this one, whose engine sleeps meanwhile."""
    client = machine.cpu_seconds([psutil.Process()])
    return {**machine.cpu_seconds(system), "client": sum(client.values())}


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)


if __name__ == "__main__":
    main()
