"""Miniatures of tiers take seconds of a processor: they run in a process of their own, and this is it.

`python -m services.gateway.cache_control.advice_process` reads jobs from stdin and writes their advice to stdout, both
pickled: it is started by `advised` of this module alone.
"""

import asyncio
import os
import pickle
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cache.advice import Advice, Sample, advise, lru_curve
from cache.advice.advise import FACTORS
from cache.tiers import TierSettings

_NICE: Final = 10
_VARIABLES: Final = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG")
"""All that the process has of the gateway's environment, in which there are secrets."""


class AdviceFailed(Exception):
    """The process ended without an advice. The message is what it said last."""


@dataclass(frozen=True, slots=True)
class Job:
    """One tier to be advised on."""

    tier: str
    settings: TierSettings
    sample: Sample
    measured: float | None
    """See `advise`."""


@dataclass(frozen=True, slots=True)
class Advised:
    """What came of a job."""

    advice: Advice
    knee_bytes: int
    """See `Curve.knee_bytes`, of the namespace that asks most; 0 when nothing is asked twice."""


async def advised(jobs: Sequence[Job]) -> list[Advised]:
    """Return the advice for each job. Cancelling it ends the process. Raises AdviceFailed."""
    process = await asyncio.create_subprocess_exec(
        # Without the folder in which the gateway happens to run, which may be anybody's.
        *(sys.executable, "-P", "-m", __name__),
        env={name: os.environ[name] for name in _VARIABLES if name in os.environ},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, said = await process.communicate(pickle.dumps(list(jobs)))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise AdviceFailed(said.decode(errors="replace").strip().rpartition("\n")[2] or "it was ended")
    found: list[Advised] = pickle.loads(out)
    return found


def work(job: Job) -> Advised:
    """Do one job."""
    advice = advise(job.tier, job.settings, job.sample, measured=job.measured)
    counts: dict[bytes, int] = {}
    for access in job.sample.accesses:
        counts[access.key.namespace] = counts.get(access.key.namespace, 0) + 1
    if not counts:
        return Advised(advice, 0)
    sample = job.sample.of(max(counts, key=lambda tag: counts[tag]))
    sizes = [max(1, round(job.settings.namespace_bytes * factor)) for factor in FACTORS]
    return Advised(advice, lru_curve(sample, sizes).knee_bytes() or 0)


def main() -> None:
    """Do the jobs that stdin brings, behind everything else on this machine."""
    os.nice(_NICE)
    jobs: list[Job] = pickle.load(sys.stdin.buffer)
    sys.stdout.buffer.write(pickle.dumps([work(job) for job in jobs]))


if __name__ == "__main__":
    # Under the name by which the other side knows the classes.
    from services.gateway.cache_control import advice_process

    advice_process.main()
