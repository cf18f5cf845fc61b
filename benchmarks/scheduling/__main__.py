"""Runs every policy over every scenario, prints a table for each and whether what is claimed holds.

`python -m benchmarks.scheduling` for the long form, `--short` for a quick look, `--trace FILE` for your own
arrivals, `--markdown` for what docs/scheduling.md has. Virtual time: what it prints is the same on every machine.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.scheduling import claims, tables
from benchmarks.scheduling.contenders import everyone
from benchmarks.scheduling.fleet import RunnerSpec
from benchmarks.scheduling.scenario import Scenario
from benchmarks.scheduling.traces import TraceFault, read_trace

SHORT: float = 0.1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print; returns 1 when a bar was missed."""
    parser = argparse.ArgumentParser(prog="benchmarks.scheduling", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--short", action="store_true", help="a tenth of everything")
    parser.add_argument(
        "--markdown", action="store_true", help="headings, and nothing that depends on the machine"
    )
    names = [one.__name__ for one in claims.CLAIMS]
    parser.add_argument("--only", choices=names, default="", help="one of the claims")
    parser.add_argument("--trace", type=Path, help="arrivals, see benchmarks/scheduling/traces.py")
    parser.add_argument("--runners", type=int, default=4, help="runners of each model of the trace")
    parser.add_argument("--slots", type=int, default=1, help="tasks that each of them executes at once")
    options = parser.parse_args(arguments)
    if options.trace:
        return _trace(options)
    bars: list[claims.Bar] = []
    began = time.perf_counter()
    heading = "###" if options.markdown else "#"
    for claim in claims.CLAIMS:
        if options.only not in ("", claim.__name__):
            continue
        for finding in claim(options.seed, SHORT if options.short else 1.0):
            scenario = finding.scenario
            print(f"{heading} {scenario.name}\n")
            print(f"{len(scenario.arrivals):,} tasks: {scenario.what}.\n")
            print(tables.without_empty_columns(finding.head, finding.rows), "\n", flush=True)
            for note in finding.notes:
                print(note, "\n")
            bars += finding.bars
    print(f"{heading} what is claimed\n")
    rows = [(bar.claim, bar.found, bar.wanted, "met" if bar.met else "MISSED") for bar in bars]
    print(tables.table(("claim", "found", "bar", ""), rows))
    if not options.markdown:
        print(f"\n{time.perf_counter() - began:.0f} s")
    return int(any(not bar.met for bar in bars))


def _trace(options: argparse.Namespace) -> int:
    try:
        arrivals = read_trace(options.trace)
    except (OSError, TraceFault) as fault:
        print(f"{options.trace}: {fault}", file=sys.stderr)
        return 2
    fleet = tuple(
        RunnerSpec(f"{model}-{number}", model, options.slots)
        for model in sorted({row.model for row in arrivals})
        for number in range(options.runners)
    )
    scenario = Scenario(options.trace.name, "as recorded", arrivals, fleet)
    contenders = everyone(options.seed)
    rows = [tables.row_of(name, contender.over(scenario)) for name, contender in contenders.items()]
    print(tables.without_empty_columns(tables.HEAD, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
