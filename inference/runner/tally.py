"""What `RunnerService.ReadStatistics` tells: requests as the runner counts them, runs as the engine does. Every request
is in it once, whichever way it came.
"""

import time

from forebay.runner.v1.runner_service_pb2 import Measured, ReadStatisticsResponse
from inference.engine import RunCounts
from inference.runner.job import Job


class Tally:
    """Counts the requests of one runner since its model was loaded. The event loop owns it."""

    def __init__(self, model: str, version: int) -> None:
        self._model = model
        self._version = version
        self._last_ms = 0
        self._succeeded = self._failed = 0
        self._succeeded_s = self._failed_s = self._queued_s = 0.0

    def arrived(self) -> None:
        """Note that requests came just now."""
        self._last_ms = time.time_ns() // 1_000_000

    def succeeded(self, job: Job, now_s: float) -> None:
        """Count a request that ended with an output, at a monotonic time."""
        self._succeeded += 1
        self._succeeded_s += now_s - job.received_s
        self._queued_s += job.admitted_s - job.received_s

    def failed(self, seconds: float) -> None:
        """Count a request that failed so long after its arrival."""
        self._failed += 1
        self._failed_s += seconds

    def statistics(self, counts: RunCounts | None) -> ReadStatisticsResponse:
        """Return all of it; `counts` is None for an engine that does not count: each request is one row then."""
        response = ReadStatisticsResponse(
            model=self._model,
            version=self._version,
            last_request_ms=self._last_ms,
            inferences=self._succeeded,
            success=_measured(self._succeeded, self._succeeded_s),
            fail=_measured(self._failed, self._failed_s),
            queue=_measured(self._succeeded, self._queued_s),
        )
        if counts is None:
            return response
        response.inferences = counts.rows
        response.executions = sum(size.runs for size in counts.by_rows.values())
        response.compute_input.CopyFrom(_measured(self._succeeded, counts.request_input_s))
        response.compute_infer.CopyFrom(_measured(self._succeeded, counts.request_infer_s))
        response.compute_output.CopyFrom(_measured(self._succeeded, counts.request_output_s))
        for rows, size in sorted(counts.by_rows.items()):
            response.batches.add(
                rows=rows,
                compute_input=_measured(size.runs, size.input_s),
                compute_infer=_measured(size.runs, size.infer_s),
                compute_output=_measured(size.runs, size.output_s),
            )
        return response


def _measured(count: int, seconds: float) -> Measured:
    return Measured(count=count, ns=int(seconds * 1e9))
