"""What runners counted of a model, summed over them."""

from collections.abc import Iterable
from typing import Final

from forebay.compat.kserve.kserve_service_pb2 import (
    InferBatchStatistics,
    ModelStatistics,
    StatisticDuration,
)
from forebay.runner.v1.runner_service_pb2 import Measured, ReadStatisticsResponse

_MEASURED: Final = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
_OF_BATCHES: Final = ("compute_input", "compute_infer", "compute_output")


def summed(name: str, version: int, counted: Iterable[ReadStatisticsResponse]) -> ModelStatistics:
    """Return the statistics of one version of a model."""
    total = ModelStatistics(name=name, version=str(version))
    stats = total.inference_stats
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
