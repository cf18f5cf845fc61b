"""Runs every policy over every scenario, prints a table for each and whether what is claimed holds.

`python -m benchmarks.scheduling` for the long form, `--short` for a quick look, `--trace FILE` for your own
arrivals, `--markdown` for what docs/scheduling.md has. Virtual time: what it prints is the same on every machine.
"""

import argparse
import sys
import time
from pathlib import Path

from benchmarks.scheduling import claims, tables
from benchmarks.scheduling.baselines import BASELINES
from benchmarks.scheduling.fleet import RunnerSpec
from benchmarks.scheduling.scheduled import scheduled
from benchmarks.scheduling.simulator import Make, simulate
from benchmarks.scheduling.traces import TraceFault, read_trace
from scheduler.policies.policy import DEFAULT_POLICY, Policy

SHORT: float = 0.1


def main() -> int:
    """Run and print; returns 1 when a bar was missed."""
    parser = argparse.ArgumentParser(prog="benchmarks.scheduling", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--short", action="store_true", help="a tenth of everything")
    parser.add_argument(
        "--markdown", action="store_true", help="headings, and nothing that depends on the machine"
    )
    parser.add_argument(
        "--only", default="", help="one of: " + ", ".join(one.__name__ for one in claims.CLAIMS)
    )
    parser.add_argument("--trace", type=Path, help="arrivals, see benchmarks/scheduling/traces.py")
    parser.add_argument("--runners", type=int, default=4, help="runners of each model of the trace")
    parser.add_argument("--slots", type=int, default=1, help="tasks that each of them executes at once")
    options = parser.parse_args()
    if options.trace:
        return _trace(options)
    missed = 0
    bars: list[claims.Bar] = []
    began = time.perf_counter()
    for claim in claims.CLAIMS:
        if options.only not in ("", claim.__name__):
            continue
        for finding in claim(options.seed, SHORT if options.short else 1.0):
            scenario = finding.scenario
            print(f"{'###' if options.markdown else '#'} {scenario.name}\n")
            print(f"{len(scenario.arrivals):,} tasks: {scenario.what}.\n")
            print(tables.without_empty_columns(tables.HEAD, finding.rows), "\n", flush=True)
            bars += finding.bars
    missed = sum(not bar.met for bar in bars)
    print(f"{'###' if options.markdown else '#'} what is claimed\n")
    rows = [(bar.claim, bar.found, bar.wanted, "met" if bar.met else "MISSED") for bar in bars]
    print(tables.table(("claim", "found", "bar", ""), rows))
    if not options.markdown:
        print(f"\n{time.perf_counter() - began:.0f} s")
    return min(1, missed)


def _trace(options: argparse.Namespace) -> int:
    try:
        arrivals = read_trace(options.trace)
    except (OSError, TraceFault) as fault:
        print(f"{options.trace}: {fault}", file=sys.stderr)
        return 2
    fleet = [
        RunnerSpec(f"{model}-{number}", model, options.slots)
        for model in sorted({row.model for row in arrivals})
        for number in range(options.runners)
    ]
    policies: dict[str, Policy] = {
        "weighted, balanced": DEFAULT_POLICY,
        "strict, balanced": claims.STRICT,
        "weighted, shortest": claims.SHORTEST,
        "weighted, deadline": claims.DEADLINE,
        "weighted, fifo": claims.FIRST,
    }
    contenders: dict[str, Make] = {
        **BASELINES,
        **{name: scheduled(policy, seed=options.seed) for name, policy in policies.items()},
    }
    rows = [tables.row_of(name, simulate(arrivals, fleet, make)) for name, make in contenders.items()]
    print(tables.without_empty_columns(tables.HEAD, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
