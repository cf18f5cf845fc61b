"""The metrics of each kind of process. Every method takes a whole batch: call it once a batch, not once a task.

Labels are levels (`critical` … `low`), terminal states (`succeeded` …), hops and reasons: small fixed sets.
Pools and models are names that clients may make up, so only the first 64 that a process meets are shown;
the rest is `other`.
"""

from collections.abc import Iterable
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from observability import names
from observability.caching import CacheMetrics
from observability.generation import GenerationMetrics, Holdings
from observability.histogram import BatchHistogram
from observability.scrape import page, serve_metrics

__all__ = ["GatewayMetrics", "RunnerMetrics", "SchedulerMetrics", "new_registry", "page", "serve_metrics"]

SECONDS: Final = (
    *(0.0005, 0.001, 0.002, 0.003, 0.004, 0.006, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    *(1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0),
)
TOKEN_SECONDS: Final = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0)
SIZES: Final = tuple(float(2**power) for power in range(11))
RATIOS: Final = (
    0.01,
    0.03,
    0.1,
    0.2,
    0.33,
    0.5,
    0.67,
    0.8,
    0.9,
    1.1,
    1.25,
    1.5,
    2.0,
    3.0,
    5.0,
    10.0,
    30.0,
    100.0,
)
_NAMES_SHOWN: Final = 64

# A second series for each counter, of the time of its making, which nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]


def new_registry() -> CollectorRegistry:
    """Make a registry that already has the metrics of the process itself: CPU, memory, files, garbage."""
    registry = CollectorRegistry(auto_describe=True)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


class _Names:
    """Keeps the values of a label few."""

    def __init__(self) -> None:
        self._shown: set[str] = set()

    def __call__(self, name: str) -> str:
        if name not in self._shown:
            if len(self._shown) >= _NAMES_SHOWN:
                return "other"
            self._shown.add(name)
        return name


class _Finished:
    """Counts ends of tasks, in the process that brings them about: the gateway those that are cancelled, or answered by
    the result cache as they are submitted; the scheduler those that the cache answers later, and those whose deadline
    had passed when they were to start; the runner what it executed.

    Counted by none: what the sweep ends (deadlines, attempts whose runner was lost), and children whose parents failed.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._finished = Counter(
            names.TASKS_FINISHED,
            "Tasks that reached a terminal state",
            (names.LABEL_STATE, names.LABEL_LEVEL),
            registry=registry,
        )

    def finished(self, state: str, level: str, count: int) -> None:
        """Count tasks that this process brought to a terminal state (lower case)."""
        self._finished.labels(state, level).inc(count)


class _Batches:
    """Sizes of the batches that one process makes."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._batches = BatchHistogram(
            names.BATCH_TASKS, "Tasks that travelled together, by hop", (names.LABEL_HOP,), SIZES, registry
        )

    def batch(self, hop: str, tasks: int) -> None:
        """Count one batch; hops are the HOP_ names."""
        self._batches.observe((tasks,), hop)


class GatewayMetrics(_Finished, _Batches):
    """What the gateway counts. Batches: HOP_SUBMIT, HOP_PUBLISH and HOP_DIRECT."""

    def __init__(self, registry: CollectorRegistry) -> None:
        _Finished.__init__(self, registry)
        _Batches.__init__(self, registry)
        self._submitted = Counter(
            names.TASKS_SUBMITTED, "Tasks accepted", (names.LABEL_LEVEL,), registry=registry
        )
        self._refused = Counter(
            names.TASKS_REFUSED, "Tasks not accepted, by reason", (names.LABEL_REASON,), registry=registry
        )
        queue = (names.LABEL_POOL, names.LABEL_LEVEL)
        self._pool = _Names()
        self._depth = Gauge(names.QUEUE_DEPTH, "Tasks waiting", queue, registry=registry)
        self._running = Gauge(names.QUEUE_RUNNING, "Tasks leased to runners", queue, registry=registry)
        self._oldest = Gauge(
            names.QUEUE_OLDEST_AGE, "Age of the oldest waiting task seen", queue, registry=registry
        )
        self._work = Gauge(names.QUEUE_WORK, "Expected work of what waits", queue, registry=registry)
        self._share = Gauge(
            names.QUEUE_SHARE, "Part of the work that a level is to get", queue, registry=registry
        )
        self._share_got = Gauge(
            names.QUEUE_SHARE_GOT, "Part of the work that a level got lately", queue, registry=registry
        )
        self._calls = BatchHistogram(
            names.RPC_SERVER_CALL_DURATION,
            "Duration of incoming calls; streams from their first to their last message",
            (names.LABEL_RPC_METHOD, names.LABEL_RPC_STATUS),
            SECONDS,
            registry,
        )

        self._model = _Names()
        self.cache: Final = CacheMetrics(registry, self._model)
        """What the result cache counts; nothing is shown of a gateway without one."""
        self._direct = BatchHistogram(
            names.DIRECT_CALL_DURATION,
            "Duration of calls of clients that wait on the line; streams to their last message",
            (names.LABEL_DOOR, names.LABEL_MODEL, names.LABEL_CODE),
            SECONDS,
            registry,
        )

    def direct(self, door: str, model: str, code: str, seconds: float) -> None:
        """Count one call of a client that waits on the line; the code is the name of a google.rpc.Code."""
        self._direct.observe((seconds,), door, self._model(model), code)

    def queue(
        self,
        pool: str,
        level: str,
        *,
        depth: int,
        running: int,
        oldest_age_s: float,
        work_s: float = 0.0,
        share: float = 0.0,
        share_got: float = 0.0,
    ) -> None:
        """Show one queue as it is now; the age is 0 when nothing waits. Shares are 0 to 1."""
        shown = self._pool(pool)
        self._depth.labels(shown, level).set(depth)
        self._running.labels(shown, level).set(running)
        self._oldest.labels(shown, level).set(oldest_age_s)
        self._work.labels(shown, level).set(work_s)
        self._share.labels(shown, level).set(share)
        self._share_got.labels(shown, level).set(share_got)

    def forget_queues(self) -> None:
        """Show no queue: nothing is known of them now."""
        for gauge in (
            *(self._depth, self._running, self._oldest),
            *(self._work, self._share, self._share_got),
        ):
            gauge.clear()

    def submitted(self, level: str, count: int) -> None:
        """Count tasks that were accepted."""
        self._submitted.labels(level).inc(count)

    def refused(self, reason: str, count: int) -> None:
        """Count tasks that were not accepted; the reason is the UPPER_SNAKE one of the error."""
        self._refused.labels(reason).inc(count)

    def call(self, method: str, status: str, seconds: float) -> None:
        """Count one incoming call: full method name without the first slash, and gRPC status name.

        Only for methods that exist: a caller can make up names.
        """
        self._calls.observe((seconds,), method, status)


class SchedulerMetrics(_Finished, _Batches):
    """What the scheduler counts. Batches: HOP_LEASE and HOP_PUBLISH."""

    def __init__(self, registry: CollectorRegistry) -> None:
        _Finished.__init__(self, registry)
        _Batches.__init__(self, registry)
        self._started = Counter(
            names.TASKS_STARTED,
            "Attempts that were leased to a runner",
            (names.LABEL_LEVEL,),
            registry=registry,
        )
        self._wait = BatchHistogram(
            names.TASK_QUEUE_DURATION, "From acceptance to the lease", (names.LABEL_LEVEL,), SECONDS, registry
        )
        self._model = _Names()
        self.cache: Final = CacheMetrics(registry, self._model)
        """What comes of tasks that may be answered without a run; nothing is shown where nothing is cached."""
        self._prediction = BatchHistogram(
            names.PREDICTION_ERROR,
            "Work that tasks did cost, divided by what was expected of them",
            (names.LABEL_MODEL,),
            RATIOS,
            registry,
        )

    def started(self, level: str, waits_s: Iterable[float]) -> None:
        """Count leased tasks by how long each had waited, in seconds."""
        waits = list(waits_s)
        self._started.labels(level).inc(len(waits))
        self._wait.observe(waits, level)

    def predicted(self, model: str, ratios: Iterable[float]) -> None:
        """Count finished tasks of one model by their cost, divided by what was expected of it."""
        self._prediction.observe(ratios, self._model(model))


class RunnerMetrics(_Finished, _Batches):
    """What a runner of one model counts. Batches: HOP_EXECUTE and HOP_FINISH."""

    def __init__(self, registry: CollectorRegistry, model: str = "") -> None:
        _Finished.__init__(self, registry)
        _Batches.__init__(self, registry)
        self._registry = registry
        self._model = model
        self._generation: GenerationMetrics | None = None
        of_model = (names.LABEL_MODEL,)
        self._input = Counter(names.TOKENS_INPUT, "Tokens of prompts", of_model, registry=registry)
        self._output = Counter(names.TOKENS_OUTPUT, "Tokens generated", of_model, registry=registry)
        self._held = Gauge(names.RUNNER_HELD, "Tasks held now", of_model, registry=registry)
        self._capacity = Gauge(names.RUNNER_CAPACITY, "Tasks taken at once", of_model, registry=registry)
        self._execute = BatchHistogram(
            names.TASK_EXECUTE_DURATION, "From the lease to the outcome", of_model, SECONDS, registry
        )
        self._whole = BatchHistogram(
            names.TASK_DURATION, "From acceptance to the outcome", (names.LABEL_LEVEL,), SECONDS, registry
        )
        self._request = BatchHistogram(
            names.GEN_AI_REQUEST_DURATION, "Duration of generations", of_model, SECONDS, registry
        )
        self._first = BatchHistogram(
            names.GEN_AI_TIME_TO_FIRST_TOKEN, "From the lease to the first token", of_model, SECONDS, registry
        )
        self._token = BatchHistogram(
            names.GEN_AI_TIME_PER_OUTPUT_TOKEN,
            "Time per token after the first",
            of_model,
            TOKEN_SECONDS,
            registry,
        )

    def generation(self, holdings: Holdings) -> GenerationMetrics:
        """Make the metrics of an engine that generates and holds this now; once, on any thread."""
        self._generation = GenerationMetrics(self._registry, self._model, holdings)
        return self._generation

    def held(self, tasks: int, capacity: int) -> None:
        """Show how many tasks the runner holds now, and takes at once."""
        self._held.labels(self._model).set(tasks)
        self._capacity.labels(self._model).set(capacity)

    def executed(self, seconds: Iterable[float]) -> None:
        """Count executions by their durations from lease to outcome."""
        self._execute.observe(seconds, self._model)

    def end_to_end(self, level: str, seconds: Iterable[float]) -> None:
        """Count tasks of a level by their durations from acceptance to outcome."""
        self._whole.observe(seconds, level)

    def tokens(self, input_tokens: int, output_tokens: int) -> None:
        """Count tokens read and generated."""
        self._input.labels(self._model).inc(input_tokens)
        self._output.labels(self._model).inc(output_tokens)

    def generated(self, seconds: float, first_token_s: float, output_tokens: int) -> None:
        """Count one generation: its duration, the part of it before the first token, and its tokens."""
        if self._generation is not None:
            self._generation.ended(seconds, first_token_s)
        self._request.observe((seconds,), self._model)
        self._first.observe((first_token_s,), self._model)
        if output_tokens > 1:
            self._token.observe(((seconds - first_token_s) / (output_tokens - 1),), self._model)
