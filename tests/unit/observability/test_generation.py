"""What the page tells of an engine that generates."""

from dataclasses import dataclass

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from observability import names
from observability.generation import GenerationMetrics
from observability.metrics import RunnerMetrics, page

VLLM = {"model_name": "smollm2", "engine": "0"}
OWN = {"model": "smollm2"}


@dataclass
class Holds:
    running: int = 0
    waiting: int = 0
    preempted: int = 0
    preemptions: int = 0
    kv_tokens: int = 0
    kv_capacity: int = 0
    prefix_queries: int = 0
    prefix_hits: int = 0


@dataclass
class Parts:
    prefill_s: float = 0.0
    decode_s: float = 0.0
    sample_s: float = 0.0
    other_s: float = 0.0
    prefill_tokens: int = 0
    decode_rows: int = 0


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry(auto_describe=True)


@pytest.fixture
def metrics(registry: CollectorRegistry) -> GenerationMetrics:
    return GenerationMetrics(registry, "smollm2", Holds())


def test_the_page_shows_what_the_engine_holds_at_that_moment(
    registry: CollectorRegistry, metrics: GenerationMetrics
) -> None:
    metrics.holds(Holds(3, 1, 2, 9, 50, 200, 640, 64), queued=4)
    value = registry.get_sample_value
    assert value(names.VLLM_RUNNING, VLLM) == 3
    assert value(names.VLLM_WAITING, VLLM) == 7
    assert value(names.VLLM_KV_USAGE, VLLM) == 0.25
    assert value(names.VLLM_PREEMPTIONS, VLLM) == 9
    assert value(names.VLLM_PREFIX_QUERIES, VLLM) == 640
    assert value(names.VLLM_PREFIX_HITS, VLLM) == 64
    rows = {s: value(names.GENERATION_ROWS, {**OWN, "state": s}) for s in ("running", "waiting", "preempted")}
    assert rows == {"running": 3, "waiting": 5, "preempted": 2}
    assert value(names.KV_TOKENS, OWN) == 50
    assert value(names.KV_CAPACITY, OWN) == 200
    assert value(names.PREEMPTIONS, OWN) == 9
    assert value(names.PREFIX_QUERIED, OWN) == 640
    assert value(names.PREFIX_HIT, OWN) == 64


def test_steps_are_counted_by_phase_and_by_tokens(
    registry: CollectorRegistry, metrics: GenerationMetrics
) -> None:
    metrics.stepped(Parts(0.02, 0.0, 0.001, 0.0, prefill_tokens=40), tokens=1, ended_s=100.0)
    metrics.stepped(Parts(0.0, 0.01, 0.002, 0.001, decode_rows=3), tokens=3, ended_s=100.03)
    metrics.holds(Holds(prefix_hits=60), queued=0)
    value = registry.get_sample_value
    phases = {
        p: value(names.STEP_SECONDS, {**OWN, "phase": p}) for p in ("prefill", "decode", "sample", "other")
    }
    assert phases == pytest.approx({"prefill": 0.02, "decode": 0.01, "sample": 0.003, "other": 0.001})
    assert value(f"{names.STEP_DURATION}_count", OWN) == 2
    assert value(f"{names.STEP_DURATION}_sum", OWN) == pytest.approx(0.034)
    assert value(names.VLLM_PROMPT_TOKENS, VLLM) == 100
    assert value(names.VLLM_GENERATION_TOKENS, VLLM) == 4
    assert value(f"{names.VLLM_ITERATION_TOKENS}_bucket", {**VLLM, "le": "8.0"}) == 1
    assert value(f"{names.VLLM_ITERATION_TOKENS}_sum", VLLM) == 44


def test_the_time_between_tokens_is_that_between_the_steps_of_each_row(
    registry: CollectorRegistry, metrics: GenerationMetrics
) -> None:
    metrics.stepped(Parts(prefill_tokens=10), tokens=2, ended_s=100.0)
    metrics.stepped(Parts(decode_rows=2), tokens=2, ended_s=100.03)
    assert registry.get_sample_value(f"{names.VLLM_INTER_TOKEN_LATENCY}_count", VLLM) == 2
    assert registry.get_sample_value(f"{names.VLLM_INTER_TOKEN_LATENCY}_sum", VLLM) == pytest.approx(0.06)


def test_requests_are_counted_by_their_times_and_ends(registry: CollectorRegistry) -> None:
    metrics = RunnerMetrics(registry, "smollm2")
    metrics.generated(0.5, 0.1, 4)
    generation = metrics.generation(Holds())
    generation.admitted(0.01)
    generation.finished(["stop", "length", "stop"])
    generation.finished([generation.ERROR])
    metrics.generated(1.0, 0.2, 5)
    value = registry.get_sample_value
    assert value(f"{names.VLLM_REQUEST_LATENCY}_sum", VLLM) == 1.0
    assert value(f"{names.VLLM_TIME_TO_FIRST_TOKEN}_sum", VLLM) == 0.2
    assert value(f"{names.VLLM_QUEUE_TIME}_count", VLLM) == 1
    ends = {
        r: value(names.VLLM_REQUEST_SUCCESS, {**VLLM, "finished_reason": r})
        for r in ("stop", "length", "error")
    }
    assert ends == {"stop": 2, "length": 1, "error": 1}


def test_prometheus_reads_the_names_with_a_colon(
    registry: CollectorRegistry, metrics: GenerationMetrics
) -> None:
    metrics.stepped(Parts(decode_rows=1), tokens=1, ended_s=1.0)
    metrics.ended(1.0, 0.5)
    metrics.admitted(0.1)
    text = page(registry)[0].decode()
    read = {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}
    wanted = {value for key, value in vars(names).items() if key.startswith("VLLM_")}
    assert {name for name in wanted if name not in read and f"{name}_bucket" not in read} == set()
    assert 'vllm:num_requests_running{engine="0",model_name="smollm2"} 0.0' in text


def test_a_model_of_tensors_shows_nothing_of_all_this(registry: CollectorRegistry) -> None:
    RunnerMetrics(registry, "add")
    assert b"vllm:" not in page(registry)[0]


def test_every_name_of_the_generation_is_declared(
    registry: CollectorRegistry, metrics: GenerationMetrics
) -> None:
    declared = {value for key, value in vars(names).items() if key.isupper() and isinstance(value, str)}
    labels = {value for key, value in vars(names).items() if key.startswith("LABEL_")}
    metrics.stepped(Parts(decode_rows=1), tokens=1, ended_s=1.0)
    for family in registry.collect():
        assert {family.name, f"{family.name}_total"} & declared
        for sample in family.samples:
            assert set(sample.labels) <= labels | {"le"}
