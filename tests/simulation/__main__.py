"""Runs simulated worlds: many by `--seeds`, or one by `--seed`, which `--trace` shows."""

import argparse
import gc
import os
import sys
from collections.abc import Mapping, Sequence
from itertools import chain

from tests.simulation.campaign import campaign, replaying
from tests.simulation.determinism import hashes_are_fixed, undisturbed
from tests.simulation.noticed_before import NOTICED_BEFORE
from tests.simulation.run import Outcome, run_seed
from tests.simulation.sabotage import SABOTAGES


def main() -> int:
    """Read the command line; 0 when every world kept every promise."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="the world to run")
    parser.add_argument("--trace", action="store_true", help="print what happened in it")
    parser.add_argument("--calls", action="store_true", help="and every call of a server")
    parser.add_argument("--logs", action="store_true", help="and what the processes log")
    parser.add_argument("--sabotage", choices=sorted(SABOTAGES), nargs="+", help="break this in it")
    parser.add_argument(
        "--afresh", action="store_true", help="do not try first the worlds that noticed it before"
    )
    parser.add_argument("--seeds", type=int, default=10_000, help="how many worlds to run")
    parser.add_argument("--first", type=int, default=0, help="the seed of the first of them")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--digests", action="store_true", help="only print a digest of each world's trace")
    parser.add_argument("--step", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.digests:
        return _digest(range(options.first, options.first + options.seeds))
    if options.worker:
        return _work(range(options.first, options.first + options.seeds * options.step, options.step))
    if options.seed is None and options.sabotage:
        seeds = range(options.first, options.first + options.seeds)
        return _notice(options.sabotage, seeds, {} if options.afresh else NOTICED_BEFORE)
    if options.seed is None:
        return bool(campaign(options.first, options.seeds, options.jobs, sys.stdout).bad)
    sabotage = SABOTAGES[options.sabotage[0]] if options.sabotage else None
    with undisturbed(options.logs):
        outcome = run_seed(options.seed, sabotage, calls=options.calls)
    _show(outcome, options.trace or options.calls)
    return bool(outcome.faults)


def _work(seeds: range) -> int:
    """Run seeds, a line of tab-separated figures and faults for each."""
    with undisturbed(False):
        for seed in seeds:
            outcome = run_seed(seed)
            gc.collect()
            faults = [fault.replace("\t", " ").replace("\n", " ") for fault in outcome.faults[:8]]
            sys.stdout.write(
                "\t".join([str(seed), str(outcome.tasks), str(outcome.virtual_s), *faults]) + "\n"
            )
            sys.stdout.flush()
    return 0


def _digest(seeds: range) -> int:
    with undisturbed(False):
        for seed in seeds:
            sys.stdout.write(f"{seed} {run_seed(seed).digest()}\n")
            gc.collect()
    return 0


def _notice(names: Sequence[str], seeds: range, before: Mapping[str, int]) -> int:
    """Run worlds with each of these sabotages until one breaks a promise; a tab-separated line for each that did.

    The world that noticed a sabotage before comes first, then all from the beginning: only the order differs.
    """
    noticed = 0
    with undisturbed(False):
        for name in names:
            known = [before[name]] if name in before and before[name] in seeds else []
            for seed in chain(known, seeds):
                outcome = run_seed(seed, SABOTAGES[name])
                gc.collect()
                if outcome.faults:
                    sys.stdout.write(f"{name}\t{seed}\t{outcome.faults[0]}\n")
                    sys.stdout.flush()
                    noticed += 1
                    break
    return noticed < len(names)


def _show(outcome: Outcome, trace: bool) -> None:
    if trace:
        for at_s, *what in outcome.trace:
            sys.stdout.write(f"{at_s:9.4f}  " + " ".join(map(str, what)) + "\n")
    sys.stdout.write(
        f"seed {outcome.seed}: {outcome.tasks} tasks, {outcome.virtual_s:.1f} virtual seconds, "
        f"{outcome.steps} callbacks, trace {outcome.digest()}\n"
    )
    sys.stdout.writelines(f"  {fault}\n" for fault in outcome.faults)


if __name__ == "__main__":
    if not hashes_are_fixed():
        command, environment = replaying(*sys.argv[1:])
        os.execve(command[0], command, environment)
    sys.exit(main())
