"""Backpressure: what becomes of many times as many tasks as the system can do, and how fast it says no.

First the capacity is measured, with tasks of about 50 ms for the one runner, which holds two at a time. Then calls of
one task each, of all four levels alike, begin by the clock at `--times` that rate, whether or not earlier ones were
answered. Empty calls beside them show what any answer takes on this machine meanwhile. At the end, everything that was
accepted must have succeeded.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

import psutil
import uvloop

from benchmarks import machine
from benchmarks.bars import at_most
from forebay.client import AsyncClient, TaskState
from tests.overload import LEVELS, Tally, capacity, flood, percentile_ms
from tests.system import System, forebay_up
from tests.tiny_models import save_countdown

TOO_MUCH_PER_S = 200.0
BAR_MS = 50.0
GROWTH_MB = 20.0


async def measure(system: System, options: argparse.Namespace) -> None:
    """Measure and print."""
    gateway = psutil.Process(system.pid("gateway"))
    done_per_s = await capacity(
        system.grpc, gateway, per_s=TOO_MUCH_PER_S, turns=options.turns, line=options.line
    )
    print(f"capacity {done_per_s:,.0f} tasks/s; offered {options.times:g} times that, in calls of one task")
    tally = await flood(
        system.grpc, gateway, per_s=done_per_s * options.times, seconds=options.seconds, turns=options.turns
    )
    _print(tally, options)
    began = time.perf_counter()
    async with AsyncClient(system.grpc) as client:
        ended = await client.wait_many(tally.ids(), 300, include_result=False)
    good = sum(task.state is TaskState.SUCCEEDED for task in ended)
    print(
        f"{good} of {len(ended)} accepted tasks succeeded, the last one {time.perf_counter() - began:.1f} s later"
    )
    for answer in tally.unforeseen[:5]:
        print(f"unforeseen: {answer}")


def _print(tally: Tally, options: argparse.Namespace) -> None:
    print(f"\n| level | offered | accepted | refused | share refused |\n|{'---|' * 5}")
    for level in LEVELS:
        print(
            f"| {level} | {tally.offered[level]:,} | {len(tally.accepted[level]):,} | "
            f"{tally.refused[level]:,} | {tally.refused_share(level):.1%} |"
        )
    offered = sum(tally.offered.values())
    print(f"\noffered {offered / options.seconds:,.0f} tasks/s, at most {max(tally.depths)} waited")
    p99_ms = percentile_ms(tally.refusals_s, 0.99)
    print(
        f"refusals: p50 {percentile_ms(tally.refusals_s, 0.5):.1f} ms, p99 {p99_ms:.1f} ms "
        f"(bar {BAR_MS:.0f} ms: {at_most(p99_ms, BAR_MS)})"
    )
    print(
        f"empty calls meanwhile: p50 {percentile_ms(tally.empty_s, 0.5):.1f} ms, "
        f"p99 {percentile_ms(tally.empty_s, 0.99):.1f} ms"
    )
    growth_mb = tally.rss_mb[-1] - tally.rss_mb[0]
    print(
        f"memory of the gateway: {tally.rss_mb[0]:.0f} MB before, {max(tally.rss_mb):.0f} MB at most, "
        f"{tally.rss_mb[-1]:.0f} MB after (growth under {GROWTH_MB:.0f} MB: {at_most(growth_mb, GROWTH_MB)})"
    )


def main() -> None:
    """Start a system, measure, stop it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--times", type=float, default=10.0, help="offered load over the capacity")
    parser.add_argument("--turns", type=int, default=75_000, help="work of one task: 1,500 are about 1 ms")
    parser.add_argument("--line", type=int, default=40, help="most tasks that may wait")
    options = parser.parse_args()
    machine.print_header("ten times the capacity")
    with tempfile.TemporaryDirectory(prefix="forebay-bench-") as name:
        folder = Path(name)
        model = save_countdown(folder / "countdown.onnx")
        limits = {"FOREBAY_POLICY_LIMITS": f"queued={options.line}", "FOREBAY_RUNNER_CREDITS": "2"}
        with forebay_up(folder / "data", {"countdown": model}, environment=limits) as system:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(measure(system, options))


if __name__ == "__main__":
    main()
