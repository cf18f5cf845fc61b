"""What runners counted of a model, summed over them, and what this gateway's cache answered in their place.

As with Triton's own cache, a hit is a success without an inference: `success` is what the runners executed and the hits
together. A hit is also a call that shared what another had computed, and a miss an answer that was computed because
the cache did not have it; where all calls may be cached, they too are all successes.
"""

from collections.abc import Iterable
from typing import Final

from forebay.compat.kserve.kserve_service_pb2 import (
    InferBatchStatistics,
    ModelStatistics,
    StatisticDuration,
)
from forebay.runner.v1.runner_service_pb2 import Measured, ReadStatisticsResponse
from services.gateway.direct.port import CacheCounts

_MEASURED: Final = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
_OF_BATCHES: Final = ("compute_input", "compute_infer", "compute_output")


def summed(
    name: str, version: int, counted: Iterable[ReadStatisticsResponse], cached: CacheCounts
) -> ModelStatistics:
    """Return the statistics of one version of a model."""
    total = ModelStatistics(name=name, version=str(version), last_inference=cached.last_hit_ms)
    stats = total.inference_stats
    stats.success.count, stats.success.ns = cached.hits, cached.hit_calls_ns
    # A hit waits for no runner.
    stats.queue.count = cached.hits
    stats.cache_hit.count, stats.cache_hit.ns = cached.hits, cached.hit_ns
    stats.cache_miss.count, stats.cache_miss.ns = cached.misses, cached.miss_ns
    # Marked as set, so that clients find all of them.
    stats.cache_hit.SetInParent()
    stats.cache_miss.SetInParent()
    for field in _MEASURED:
        getattr(stats, field).SetInParent()
    by_rows: dict[int, InferBatchStatistics] = {}
    for each in counted:
        total.last_inference = max(total.last_inference, each.last_request_ms)
        total.inference_count += each.inferences
        total.execution_count += each.executions
        for field in _MEASURED:
            _add(getattr(stats, field), getattr(each, field))
        for batch in each.batches:
            size = by_rows.setdefault(batch.rows, InferBatchStatistics(batch_size=batch.rows))
            for field in _OF_BATCHES:
                _add(getattr(size, field), getattr(batch, field))
    total.batch_stats.extend(by_rows[rows] for rows in sorted(by_rows))
    return total


def _add(total: StatisticDuration, measured: Measured) -> None:
    total.count += measured.count
    total.ns += measured.ns
