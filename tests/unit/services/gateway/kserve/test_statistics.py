"""What clients are told that was counted: by the runners, and by the cache of the gateway that they ask."""

from forebay.runner.v1.runner_service_pb2 import Measured, ReadStatisticsResponse
from services.gateway.direct.port import CacheCounts
from services.gateway.kserve.statistics import summed


def runner(count: int, last_ms: int) -> ReadStatisticsResponse:
    measured = Measured(count=count, ns=count * 1000)
    return ReadStatisticsResponse(
        last_request_ms=last_ms,
        inferences=count,
        executions=count,
        success=measured,
        queue=measured,
        compute_input=measured,
        compute_infer=measured,
        compute_output=measured,
    )


def test_hits_are_successes_without_a_run_and_with_the_misses_they_are_all_of_them() -> None:
    cached = CacheCounts(hits=5, hit_ns=50, hit_calls_ns=70, misses=7, miss_ns=90, last_hit_ms=2000)
    told = summed("m", 1, [runner(4, 1000), runner(3, 1500)], cached)
    stats = told.inference_stats
    assert (stats.success.count, stats.success.ns) == (12, 7070)
    assert stats.cache_hit.count + stats.cache_miss.count == stats.success.count
    assert stats.cache_hit.count + stats.compute_infer.count == stats.success.count
    assert (stats.cache_hit.ns, stats.cache_miss.ns) == (50, 90)
    assert (stats.queue.count, stats.queue.ns) == (12, 7000)
    assert (told.inference_count, told.execution_count, told.last_inference) == (7, 7, 2000)


def test_without_a_cache_its_counts_are_there_and_zero() -> None:
    told = summed("m", 1, [runner(2, 1000)], CacheCounts())
    stats = told.inference_stats
    assert stats.HasField("cache_hit") and stats.HasField("cache_miss")
    assert (stats.cache_hit.count, stats.cache_miss.count, stats.success.count) == (0, 0, 2)
    assert told.last_inference == 1000
