"""The measurements of waiting clients and of embeddings, each in its shortest form: that they run, and what they print.

What they find here is nobody's bar: a figure needs a quiet machine and the long form.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]


def measured(name: str, *arguments: str) -> str:
    """Run a benchmark and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *arguments],
        capture_output=True,
        text=True,
        timeout=250,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_requests_over_kserve_are_measured_at_both_doors() -> None:
    found = measured("bench_kserve", "--peers", "", "--rounds", "1", "--seconds", "0.5", "--in-flight", "1,8")
    rates = dict(re.findall(r"^\| (\w+, \d+) \| ([\d,]+) \(.* ms \|$", found, re.MULTILINE))
    assert list(rates) == ["grpc, 1", "grpc, 8", "http, 1", "http, 8"], found
    assert "0" not in rates.values()
    assert re.search(r"^one request alone: p50 [\d.]+ ms, bar 0.9 ms: (met|MISSED)", found, re.MULTILINE), (
        found
    )


def test_what_a_call_costs_the_gateway_and_its_runner_is_measured() -> None:
    found = measured("bench_gateway_direct", "--in-flight", "1,8", "--calls", "200")
    assert re.findall(r"^(\d+) in flight: [1-9][\d,]* calls/s", found, re.MULTILINE) == ["1", "8"], found
    found = measured("bench_runner_direct", "--batches", "1,8", "--seconds", "0.5")
    assert re.findall(r"^batches of (\d+): [1-9][\d,]* calls/s", found, re.MULTILINE) == ["1", "8"], found


def test_embeddings_are_measured_bare_and_through_the_platform(minilm_folder: Path) -> None:
    found = measured("bench_embeddings", "--rounds", "1", "--texts", "64")
    (cosine,) = re.findall(r"lowest cosine between the two: ([\d.]+)", found)
    assert float(cosine) > 0.999, found
    found = measured(
        *("bench_embed", "--model", str(minilm_folder), "--rounds", "1", "--sentences", "64"),
        *("--in-flight", "8"),
    )
    assert re.search(r"^\| 8 \| [1-9][\d,]* \(", found, re.MULTILINE), found
