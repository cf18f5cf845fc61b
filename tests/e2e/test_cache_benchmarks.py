"""The measurements of the result cache, each in its shortest form: that they run, and what they find that is no speed.

Speeds that are found here are nobody's bar: a figure needs a quiet machine and the long form.
"""

import re
from pathlib import Path

import pytest

from tests.e2e.test_benchmarks import measured

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_hits_in_each_tier_are_measured_beside_an_empty_call() -> None:
    found = measured("bench_cache", "--calls", "60", "--turns", "1", "--seconds", "0.3")
    hits = re.findall(r"^(\w+): (native|KServe) hit \d+ us, .*: (?:met|MISSED)$", found, re.MULTILINE)
    assert hits == [(tier, door) for tier in ("memory", "redis", "disk") for door in ("native", "KServe")], (
        found
    )
    rates = re.findall(r"^64 in flight: (.*) ([1-9][\d,]*)/s, ", found, re.MULTILINE)
    assert [name for name, _ in rates] == ["empty call", "native hit", "KServe hit"], found


def test_keys_and_look_ups_are_measured() -> None:
    found = measured("bench_cache_key", "--seconds", "0.1")
    assert len(re.findall(r"^(?:prompt|chat).* us at the median", found, re.MULTILINE)) == 3, found
    assert len(re.findall(r"^tensor of .* GB/s", found, re.MULTILINE)) == 9, found
    found = measured("bench_cache_tiers", "--seconds", "0.3")
    assert len(re.findall(r"^memory find", found, re.MULTILINE)) == 6, found
    assert re.search(r"^redis get: [\d.]+ ms", found, re.MULTILINE), found
    assert re.search(r"^disk get: [\d.]+ ms", found, re.MULTILINE), found


def test_what_a_miss_costs_is_measured_on_the_direct_way() -> None:
    found = measured("bench_cache_miss", "--turns", "1", "--seconds", "0.3", "--tasks", "0")
    rates = re.findall(r"^direct, (.*): [1-9][\d,]* calls/s", found, re.MULTILINE)
    assert rates == [
        "without a cache",
        "with a cache in memory",
        "with a cache in memory and Redis",
    ], found


def test_a_cold_tier_comes_back_in_bounded_memory_and_gives_back_what_expired() -> None:
    found = measured("bench_cache_restart", "--mib", "24")
    assert "6,144 entries" in found, found
    assert re.search(r"^memory: .*: met$", found, re.MULTILINE), found
    assert re.search(r"^half of it expired: 3,072 entries removed .*: met$", found, re.MULTILINE), found


def test_generated_tokens_fall_by_the_share_of_repeats(smollm2_folder: Path) -> None:
    found = measured(
        *("bench_cache_zipf", "--model", str(smollm2_folder), "--requests", "40", "--max-tokens", "4")
    )
    assert re.search(r"^repeats have .*: met$", found, re.MULTILINE), found
