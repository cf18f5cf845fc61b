"""`forebay up` with the result cache on: its own server and folder, and what `forebay cache` does with it."""

import asyncio
import base64
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from forebay.client import Client, task_spec
from forebay.inference.v1 import inference_service_pb2, inference_service_pb2_grpc
from scheduler.adapters.redis import connect
from services.cli.up import ports
from services.embedded import valkey
from tests.system import System, forebay_up, run_cli, run_json

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

CACHE_BYTES = 64 << 20
README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")


@pytest.fixture(scope="module")
def cached_system(tiny_models: dict[str, Path]) -> Iterator[System]:
    variables = {
        "FOREBAY_CACHE_ENABLED": "true",
        "FOREBAY_CACHE_REDIS_BYTES": str(CACHE_BYTES),
        "FOREBAY_CACHE_TRACE_RATE": "1",
        "FOREBAY_CACHE_LEAST_TASK_WORK_MS": "0",
    }
    with (
        tempfile.TemporaryDirectory(prefix="forebay-cached-") as data,
        forebay_up(Path(data), {"add": tiny_models["add"]}, environment=variables) as running,
    ):
        yield running


@pytest.fixture
def asking(cached_system: System) -> Iterator[Client]:
    with Client(cached_system.grpc) as opened:
        yield opened


def is_cached(system: System, number: float) -> bool:
    """Ask for an answer, and return whether it was cached."""
    with grpc.insecure_channel(system.grpc) as channel:
        stub: Any = inference_service_pb2_grpc.InferenceServiceStub(channel)
        tensors = task_spec("add", tensors=row(number)).tensors
        answer = stub.Infer(inference_service_pb2.InferRequest(model="add", tensors=tensors), timeout=30)
    return bool(answer.execution.cached)


def row(number: float) -> dict[str, Any]:
    return {"x": np.array([[number, 2, 3, 4]], np.float32)}


def cache(system: System, *words: str) -> Any:
    return run_json(system.grpc, "cache", *words)


def setting(socket: Path, name: str) -> str:
    async def read() -> str:
        client = connect(valkey.address(socket), timeout_s=5.0)
        try:
            found = await client.config_get(name)
        finally:
            await client.aclose()
        return str(found[name])

    return asyncio.run(read())


def test_the_cache_has_a_server_that_evicts_and_the_records_have_one_that_never_does(
    cached_system: System,
) -> None:
    data = cached_system.data
    assert setting(data / "valkey.sock", "maxmemory-policy") == "noeviction"
    assert setting(data / "valkey.sock", "maxmemory") == "0"
    assert setting(data / "valkey-cache.sock", "maxmemory-policy") == "allkeys-lfu"
    assert int(setting(data / "valkey-cache.sock", "maxmemory")) > CACHE_BYTES
    assert setting(data / "valkey-cache.sock", "appendonly") == "no"
    assert (data / "cache").is_dir()
    cached_system.wait_line(r"^cache +memory, redis \(embedded\), disk \(.*cache\)$")


def test_an_answer_is_found_purged_and_warm_again(
    cached_system: System, asking: Client, tmp_path: Path
) -> None:
    file = tmp_path / "request.json"
    lines = [
        json.dumps({"model": "add", "tensors": {"tensors": [_wire(number)]}}) for number in (100.0, 101.0)
    ]
    file.write_text(lines[0])
    absent = run_cli(cached_system.grpc, "cache", "get", "--request", str(file))
    assert (absent.returncode, absent.stdout) == (1, "")
    assert "is not cached" in absent.stderr
    asking.infer("add", row(100.0))
    found = cache(cached_system, "get", "--request", str(file))
    assert found["kept"][0]["tier"] == "memory" and found["kept"][0]["model"] == "add"
    again = run_cli(cached_system.grpc, "cache", "get", found["key"])
    assert found["key"] in again.stdout

    refused = run_cli(cached_system.grpc, "cache", "purge", "--all")
    assert refused.returncode == 130
    assert cache(cached_system, "get", found["key"])["key"] == found["key"]
    purged = cache(cached_system, "purge", "--key", found["key"])
    assert purged["held"][0] == {"tier": "memory", "entries": 1, "held_bytes": found["kept"][0]["size_bytes"]}
    assert run_cli(cached_system.grpc, "cache", "get", found["key"]).returncode == 1

    requests = tmp_path / "requests.jsonl"
    requests.write_text("\n".join(lines))
    outcome = cache(cached_system, "warm", str(requests))
    assert outcome == {"computed": 2, "present": 0, "uncacheable": 0, "failed": 0, "errors": {}}
    # What is computed before the marker's time is over counts as purged, too.
    while not is_cached(cached_system, 100.0):
        pass
    assert cache(cached_system, "warm", str(requests))["present"] == 2
    assert is_cached(cached_system, 101.0)
    assert cache(cached_system, "get", found["key"])["key"] == found["key"]


def test_what_was_submitted_lately_is_warm_after_one_command(cached_system: System, asking: Client) -> None:
    specs = [
        task_spec("add", tensors=row(number), labels={"run": "warm"}) for number in (200.0, 201.0, 200.0)
    ]
    asking.wait_many(asking.submit_many(specs))
    again = asking.submit("add", tensors=row(200.0))
    assert "none: answered from the result cache" in run_cli(cached_system.grpc, "get", again.id).stdout
    outcome = cache(cached_system, "warm", "--log", "--label", "run=warm", "--since", "1h")
    # Whether tasks fill the cache by themselves or not: two questions, and both are answered from it now.
    assert outcome["computed"] + outcome["present"] == 2
    for number in (200.0, 201.0):
        assert is_cached(cached_system, number)


def test_answers_to_tasks_are_purged_by_their_label(
    cached_system: System, asking: Client, tmp_path: Path
) -> None:
    kept, other = tmp_path / "kept.json", tmp_path / "other.json"
    for file, number, team in ((kept, 500.0, "a"), (other, 501.0, "b")):
        file.write_text(json.dumps({"model": "add", "tensors": {"tensors": [_wire(number)]}}))
        asking.wait(asking.submit("add", tensors=row(number), labels={"team": team}))
        found = cache(cached_system, "get", "--request", str(file))
        assert {one["labels"] for one in found["kept"]} == {1}
    cache(cached_system, "purge", "--label", "team=a")
    assert run_cli(cached_system.grpc, "cache", "get", "--request", str(kept)).returncode == 1
    assert cache(cached_system, "get", "--request", str(other))["kept"]


def test_stats_and_advice_are_of_all_three_tiers(cached_system: System, asking: Client) -> None:
    for number in (300.0, 301.0, 300.0):
        asking.infer("add", row(number))
    found = cache(cached_system, "stats", "--namespaces", "--models")
    assert [tier["name"] for tier in found["tiers"]] == ["memory", "redis", "disk"]
    assert found["tiers"][0]["namespaces"][0]["name"] == "default"
    assert [model["model"] for model in found["models"]] == ["add"]
    assert "memory" in run_cli(cached_system.grpc, "cache", "stats").stdout
    advice = cache(cached_system, "advise")
    assert [one["tier"] for one in advice] == ["memory", "redis", "disk"]
    assert advice[0]["sampled"] == advice[0]["uses"] > 0
    shown = run_cli(cached_system.grpc, "cache", "advise", "--tier", "memory")
    assert shown.returncode == 0 and "too few to rely on" in shown.stdout


def test_the_commands_of_the_readme_work(cached_system: System) -> None:
    usage = README[README.index("## Use it") : README.index("## Read the code")]
    lines = re.findall(r"^\.venv/bin/forebay (cache .*)$", usage, re.MULTILINE)
    assert len(lines) == 2
    for line in lines:
        done = run_cli(cached_system.grpc, *shlex.split(line, comments=True))
        assert done.returncode == 0 and done.stdout.startswith("tier"), line


def test_the_caches_server_is_started_again_when_it_dies_and_calls_go_on(
    cached_system: System, asking: Client
) -> None:
    asking.infer("add", row(400.0))
    printed = cached_system.kill("valkey-cache")
    assert is_cached(cached_system, 400.0)
    asking.infer("add", row(401.0))
    cached_system.wait_line(r"^valkey-cache +ready", after=printed)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:6379", "redis_url is 'http://127.0.0.1:6379'; it must be an address such as"),
        ("redis://127.0.0.1:sixty", "its port must be a number"),
        ("redis://127.0.0.1:6390/1", "is the server of the records"),
    ],
)
def test_an_address_that_cannot_be_meant_is_one_sentence(url: str, said: str) -> None:
    grpc, http = ports.pick("127.0.0.1", 2)
    listen = ("--grpc-port", str(grpc), "--http-port", str(http))
    servers = {"FOREBAY_CACHE_ENABLED": "true", "FOREBAY_CACHE_REDIS_URL": url}
    with tempfile.TemporaryDirectory(prefix="forebay-refused-") as data:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "services.cli", "up", "--data", data, *listen),
                *("--redis", "redis://127.0.0.1:6390/0"),
            ],
            env={**os.environ, **servers},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def _wire(number: float) -> dict[str, Any]:
    raw = row(number)["x"].tobytes()
    return {"name": "x", "datatype": "FP32", "shape": [1, 4], "raw": base64.b64encode(raw).decode()}
