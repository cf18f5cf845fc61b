"""The metrics of a language model's engine, under our names and under those of vLLM, which dashboards already know.

Names, labels and bounds of the `vllm:` ones are those of its metrics page (https://docs.vllm.ai/en/stable/usage/metrics/),
so that a panel made for it shows a Forebay runner too. What an engine counts itself is read when the page is asked for;
a step costs a few microseconds.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from observability import names
from observability.histogram import BatchHistogram

VLLM_FIRST_TOKEN: Final = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
VLLM_INTER_TOKEN: Final = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)
VLLM_REQUEST: Final = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0),
    *(120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)
VLLM_ITERATION: Final = (1.0, *(float(2**power) for power in range(3, 15)))
STEP_BOUNDS: Final = (
    *(0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075),
    *(0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0),
)
_OWN: Final = (names.LABEL_MODEL,)
_VLLM: Final = (names.LABEL_MODEL_NAME, names.LABEL_ENGINE)
_ENGINE: Final = "0"
"""A runner has one engine; vLLM numbers those of a server."""
_PHASES: Final = ("prefill", "decode", "sample", "other")


class Holdings(Protocol):
    """What an engine holds now, and has counted so far."""

    @property
    def running(self) -> int:
        """Answers that are generated."""

    @property
    def waiting(self) -> int:
        """Answers that wait for a slot."""

    @property
    def preempted(self) -> int:
        """Answers that are paused."""

    @property
    def preemptions(self) -> int:
        """Pauses so far."""

    @property
    def kv_tokens(self) -> int:
        """Tokens in the attention cache."""

    @property
    def kv_capacity(self) -> int:
        """Tokens that fit into it."""

    @property
    def prefix_queries(self) -> int:
        """Prompt tokens looked up in the prefix cache so far."""

    @property
    def prefix_hits(self) -> int:
        """Those among them that it held."""


class StepParts(Protocol):
    """What one step took, by phase, in seconds, and how much it did."""

    @property
    def prefill_s(self) -> float:
        """Reading prompts."""

    @property
    def decode_s(self) -> float:
        """Generating."""

    @property
    def sample_s(self) -> float:
        """Choosing tokens."""

    @property
    def other_s(self) -> float:
        """The rest."""

    @property
    def prefill_tokens(self) -> int:
        """Prompt tokens that were read."""

    @property
    def decode_rows(self) -> int:
        """Answers that got another token."""


class GenerationMetrics(Collector):
    """What one engine that generates counts. One thread writes; the page may be asked for on any other."""

    ERROR: Final = "error"
    """How a request finished that failed."""

    def __init__(self, registry: CollectorRegistry, model: str, holdings: Holdings) -> None:
        """`holdings` is what the engine holds now."""
        self._own = (model,)
        self._vllm = (model, _ENGINE)
        self._holdings = holdings, 0
        self._seconds = (0.0, 0.0, 0.0, 0.0)
        self._prefilled = 0
        self._generated = 0
        self._finished: Counter[str] = Counter({"stop": 0, "length": 0, self.ERROR: 0})
        self._stepped_s = 0.0

        def vllm(name: str, documentation: str, bounds: Sequence[float]) -> BatchHistogram:
            return BatchHistogram(name, documentation, _VLLM, bounds, registry)

        self._step = BatchHistogram(
            names.STEP_DURATION, "Time of one step of the engine", _OWN, STEP_BOUNDS, registry
        )
        self._iteration = vllm(
            names.VLLM_ITERATION_TOKENS, "Tokens read and generated in one step", VLLM_ITERATION
        )
        self._inter_token = vllm(
            names.VLLM_INTER_TOKEN_LATENCY, "From one token of an answer to the next", VLLM_INTER_TOKEN
        )
        self._first_token = vllm(
            names.VLLM_TIME_TO_FIRST_TOKEN, "From the lease to the first token", VLLM_FIRST_TOKEN
        )
        self._request = vllm(names.VLLM_REQUEST_LATENCY, "From the lease to the whole answer", VLLM_REQUEST)
        self._queue = vllm(names.VLLM_QUEUE_TIME, "From the lease to a place in the engine", VLLM_REQUEST)
        registry.register(self)

    def admitted(self, waited_s: float) -> None:
        """Count a request that was let into the engine, by how long it had waited in the runner."""
        self._queue.observe((waited_s,), *self._vllm)

    def holds(self, holdings: Holdings, queued: int) -> None:
        """Show what the engine holds from now on, beside `queued` requests that wait outside. Never changed after."""
        self._holdings = (holdings, queued)

    def stepped(self, parts: StepParts, tokens: int, ended_s: float) -> None:
        """Count one step that generated `tokens` and ended at a monotonic time."""
        times = (parts.prefill_s, parts.decode_s, parts.sample_s, parts.other_s)
        prefill, decode, sample, other = self._seconds
        # One assignment: a page that is made meanwhile shows a whole step or none of it.
        self._seconds = (prefill + times[0], decode + times[1], sample + times[2], other + times[3])
        self._prefilled += parts.prefill_tokens
        self._generated += tokens
        self._step.observe_alike(sum(times), 1, *self._own)
        self._iteration.observe_alike(parts.prefill_tokens + tokens, 1, *self._vllm)
        if parts.decode_rows:
            # Every row that generates gets a token in each step, so its last one came at the end of the step before.
            self._inter_token.observe_alike(ended_s - self._stepped_s, parts.decode_rows, *self._vllm)
        self._stepped_s = ended_s

    def finished(self, reasons: Iterable[str]) -> None:
        """Count answers by how they ended: stop, length, or ERROR for a request that failed."""
        self._finished.update(reasons)

    def ended(self, seconds: float, first_token_s: float) -> None:
        """Count a request by its duration and the part of it before the first token; on any thread."""
        self._request.observe((seconds,), *self._vllm)
        self._first_token.observe((first_token_s,), *self._vllm)

    def describe(self) -> Iterator[Metric]:
        """Name the metrics, so that the registry refuses second ones of the same names."""
        return self.collect()

    def collect(self) -> Iterator[Metric]:
        """Yield what is read when the page is asked for."""
        now, queued = self._holdings
        model, vllm = self._own, self._vllm
        waiting = now.waiting + queued
        seconds = dict(zip(_PHASES, self._seconds, strict=True))
        yield _gauge(
            names.GENERATION_ROWS,
            "Answers that are generated, wait for a place, or were paused for more urgent ones",
            (names.LABEL_MODEL, names.LABEL_STATE),
            {
                (*model, "running"): now.running,
                (*model, "waiting"): waiting,
                (*model, "preempted"): now.preempted,
            },
        )
        yield _gauge(names.KV_TOKENS, "Tokens in the attention cache", _OWN, {model: now.kv_tokens})
        yield _gauge(names.KV_CAPACITY, "Tokens that fit into it", _OWN, {model: now.kv_capacity})
        yield _counter(
            names.STEP_SECONDS,
            "Time of steps by phase: prefill, decode, sample, other",
            (names.LABEL_MODEL, names.LABEL_PHASE),
            {(*model, phase): spent_s for phase, spent_s in seconds.items()},
        )
        yield _counter(names.PREEMPTIONS, "Answers paused", _OWN, {model: now.preemptions})
        yield _counter(
            names.PREFIX_QUERIED,
            "Prompt tokens looked up in the prefix cache",
            _OWN,
            {model: now.prefix_queries},
        )
        yield _counter(names.PREFIX_HIT, "Those that it held", _OWN, {model: now.prefix_hits})
        yield _gauge(names.VLLM_RUNNING, "Answers that are generated", _VLLM, {vllm: now.running})
        yield _gauge(
            names.VLLM_WAITING, "Answers that wait or are paused", _VLLM, {vllm: waiting + now.preempted}
        )
        used = now.kv_tokens / now.kv_capacity if now.kv_capacity else 0.0
        yield _gauge(names.VLLM_KV_USAGE, "Part of the attention cache in use, 0 to 1", _VLLM, {vllm: used})
        yield _counter(names.VLLM_PREEMPTIONS, "Answers paused", _VLLM, {vllm: now.preemptions})
        yield _counter(
            names.VLLM_PREFIX_QUERIES,
            "Prompt tokens looked up in the prefix cache",
            _VLLM,
            {vllm: now.prefix_queries},
        )
        yield _counter(names.VLLM_PREFIX_HITS, "Those that it held", _VLLM, {vllm: now.prefix_hits})
        yield _counter(
            names.VLLM_PROMPT_TOKENS,
            "Prompt tokens, computed or from the prefix cache",
            _VLLM,
            {vllm: self._prefilled + now.prefix_hits},
        )
        yield _counter(names.VLLM_GENERATION_TOKENS, "Tokens generated", _VLLM, {vllm: self._generated})
        yield _counter(
            names.VLLM_REQUEST_SUCCESS,
            "Answers by how they ended",
            (*_VLLM, names.LABEL_FINISHED_REASON),
            {(*vllm, reason): count for reason, count in dict(self._finished).items()},
        )


def _gauge(
    name: str, documentation: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]
) -> Metric:
    family = GaugeMetricFamily(name, documentation, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _counter(
    name: str, documentation: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]
) -> Metric:
    family = CounterMetricFamily(name, documentation, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
