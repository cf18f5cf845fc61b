import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.parser import text_string_to_metric_families

from observability import names
from observability.histogram import BatchHistogram
from observability.metrics import (
    GatewayMetrics,
    RunnerMetrics,
    SchedulerMetrics,
    new_registry,
    page,
    serve_metrics,
)

LEVELS = ("critical", "high", "normal", "low")


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry(auto_describe=True)


def test_the_gateway_counts_what_it_accepts_refuses_and_answers(registry: CollectorRegistry) -> None:
    metrics = GatewayMetrics(registry)
    metrics.submitted("high", 40)
    metrics.refused("INVALID_INPUT", 2)
    metrics.finished("cancelled", "low", 3)
    metrics.batch(names.HOP_SUBMIT, 42)
    metrics.call("forebay.tasks.v1.TaskService/SubmitTasks", "OK", 0.004)
    value = registry.get_sample_value
    assert value(names.TASKS_SUBMITTED, {"level": "high"}) == 40
    assert value(names.TASKS_REFUSED, {"reason": "INVALID_INPUT"}) == 2
    assert value(names.TASKS_FINISHED, {"state": "cancelled", "level": "low"}) == 3
    assert value(f"{names.BATCH_TASKS}_sum", {"hop": "submit"}) == 42
    call = {"rpc_method": "forebay.tasks.v1.TaskService/SubmitTasks", "rpc_response_status_code": "OK"}
    assert value(f"{names.RPC_SERVER_CALL_DURATION}_count", call) == 1


def test_the_scheduler_counts_starts_and_waits(registry: CollectorRegistry) -> None:
    metrics = SchedulerMetrics(registry)
    metrics.started("normal", iter([0.1, 0.2]))
    value = registry.get_sample_value
    assert value(names.TASKS_STARTED, {"level": "normal"}) == 2
    assert value(f"{names.TASK_QUEUE_DURATION}_count", {"level": "normal"}) == 2


def test_the_scheduler_shows_how_good_predictions_were_by_model(registry: CollectorRegistry) -> None:
    metrics = SchedulerMetrics(registry)
    metrics.predicted("m", [0.5, 1.0, 2.5])
    for number in range(200):
        metrics.predicted(f"made up {number}", [1.0])
    value = registry.get_sample_value
    name = names.PREDICTION_ERROR
    assert value(f"{name}_sum", {"model": "m"}) == 4.0
    assert value(f"{name}_bucket", {"model": "m", "le": "1.1"}) == 2
    assert value(f"{name}_count", {"model": "other"}) == 200 - 63


def test_the_gateway_shows_queues_and_none_when_it_knows_nothing_of_them(registry: CollectorRegistry) -> None:
    metrics = GatewayMetrics(registry)
    metrics.queue("default", "normal", depth=7, running=2, oldest_age_s=1.5)
    queue = {"pool": "default", "level": "normal"}
    value = registry.get_sample_value
    assert value(names.QUEUE_DEPTH, queue) == 7
    assert value(names.QUEUE_RUNNING, queue) == 2
    assert value(names.QUEUE_OLDEST_AGE, queue) == 1.5
    metrics.forget_queues()
    assert value(names.QUEUE_DEPTH, queue) is None


def test_the_runner_counts_tokens_and_the_time_of_each(registry: CollectorRegistry) -> None:
    metrics = RunnerMetrics(registry, model="smollm2")
    metrics.tokens(12, 5)
    metrics.generated(seconds=1.0, first_token_s=0.2, output_tokens=5)
    metrics.generated(seconds=0.1, first_token_s=0.1, output_tokens=1)
    metrics.executed([0.3, 0.4])
    metrics.end_to_end("critical", [0.5])
    metrics.held(3, 8)
    model = {"model": "smollm2"}
    value = registry.get_sample_value
    assert value(names.TOKENS_INPUT, model) == 12
    assert value(names.TOKENS_OUTPUT, model) == 5
    assert value(f"{names.GEN_AI_TIME_TO_FIRST_TOKEN}_sum", model) == pytest.approx(0.3)
    assert value(f"{names.GEN_AI_TIME_PER_OUTPUT_TOKEN}_count", model) == 1
    assert value(f"{names.GEN_AI_TIME_PER_OUTPUT_TOKEN}_sum", model) == pytest.approx(0.2)
    assert value(f"{names.TASK_EXECUTE_DURATION}_count", model) == 2
    assert value(f"{names.TASK_DURATION}_sum", {"level": "critical"}) == 0.5
    assert value(names.RUNNER_HELD, model) == 3
    assert value(names.RUNNER_CAPACITY, model) == 8


def test_pools_that_clients_make_up_do_not_fill_the_page(registry: CollectorRegistry) -> None:
    metrics = GatewayMetrics(registry)
    for number in range(1_000):
        metrics.queue(f"made-up-{number}", "low", depth=1, running=0, oldest_age_s=0.0)
    depths = [s for family in registry.collect() if family.name == names.QUEUE_DEPTH for s in family.samples]
    assert len(depths) == 65
    assert registry.get_sample_value(names.QUEUE_DEPTH, {"pool": "other", "level": "low"}) == 1


def test_every_metric_name_of_each_process_is_declared_and_no_label_is_an_id() -> None:
    declared = {value for key, value in vars(names).items() if key.isupper() and isinstance(value, str)}
    labels = {value for key, value in vars(names).items() if key.startswith("LABEL_")}
    for kind in (GatewayMetrics, SchedulerMetrics, RunnerMetrics):
        registry = CollectorRegistry(auto_describe=True)
        kind(registry)
        for family in registry.collect():
            assert {family.name, f"{family.name}_total"} & declared
            for sample in family.samples:
                assert set(sample.labels) <= labels | {"le"}


def test_a_batch_histogram_shows_what_the_ordinary_one_shows() -> None:
    bounds = (0.1, 1.0, 10.0)
    values = [0.05, 0.1, 0.10001, 1.0, 5.0, 10.0, 11.0]
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    BatchHistogram("wait_seconds", "Waits", ("level",), bounds, ours).observe(values, "low")
    ordinary = Histogram("wait_seconds", "Waits", ("level",), buckets=bounds, registry=theirs)
    for value in values:
        ordinary.labels("low").observe(value)

    def samples(registry: CollectorRegistry) -> list[tuple[str, dict[str, str], float]]:
        return [
            (sample.name, sample.labels, round(sample.value, 9))
            for family in text_string_to_metric_families(page(registry)[0].decode())
            for sample in family.samples
            if not sample.name.endswith("_created")
        ]

    assert samples(ours) == samples(theirs)


def test_a_value_that_comes_several_times_counts_as_often(registry: CollectorRegistry) -> None:
    histogram = BatchHistogram("wait_seconds", "Waits", ("level",), (0.1, 1.0), registry)
    histogram.observe_alike(0.5, 3, "low")
    histogram.observe([0.5], "low")
    assert registry.get_sample_value("wait_seconds_bucket", {"level": "low", "le": "1.0"}) == 4
    assert registry.get_sample_value("wait_seconds_sum", {"level": "low"}) == 2.0


def test_a_batch_histogram_refuses_labels_it_does_not_have(registry: CollectorRegistry) -> None:
    histogram = BatchHistogram("wait_seconds", "Waits", ("level",), (1.0,), registry)
    with pytest.raises(ValueError, match="level"):
        histogram.observe([1.0], "low", "more")


def test_two_metrics_of_one_name_are_refused(registry: CollectorRegistry) -> None:
    SchedulerMetrics(registry)
    with pytest.raises(ValueError, match="Duplicated"):
        SchedulerMetrics(registry)


async def test_the_page_is_served_with_the_metrics_of_the_process() -> None:
    registry = new_registry()
    GatewayMetrics(registry).submitted("low", 1)
    async with (
        serve_metrics(registry, "127.0.0.1:0") as address,
        aiohttp.ClientSession() as http,
        http.get(f"http://{address}/metrics") as answer,
    ):
        text = await answer.text()
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain")
    assert 'forebay_tasks_submitted_total{level="low"} 1.0' in text
    assert "process_resident_memory_bytes" in text


async def test_a_taken_address_is_an_error_of_the_operating_system() -> None:
    registry = CollectorRegistry()
    async with serve_metrics(registry, "127.0.0.1:0") as address:
        with pytest.raises(OSError):
            async with serve_metrics(registry, address):
                pass


def test_no_counter_brings_a_series_of_the_time_of_its_making(registry: CollectorRegistry) -> None:
    GatewayMetrics(registry).submitted("high", 1)
    assert b"_created" not in page(registry)[0]
