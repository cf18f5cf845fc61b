"""What the runner tells of finished work: metrics a batch at a time, and spans of the tasks that are traced."""

import time
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from inference.engine import EmbedOutput, GenerateOutput, TensorOutput
from inference.runner.job import Job
from inference.runner.outcomes import Outcome
from inference.runner.results import time_to_first_token_s
from observability import names, tracing
from observability.metrics import RunnerMetrics
from observability.tracing import Kind
from scheduler.ports.records import Written
from scheduler.states import Level, TaskState


class Answered(NamedTuple):
    """The end of one direct call."""

    job: Job
    ended_s: float
    """By the monotonic clock."""
    output: TensorOutput | GenerateOutput | EmbedOutput | None = None
    """What it brought; None for a failure."""
    failed: str = ""
    """Why, as a stable word; empty for a success."""

    @property
    def generated(self) -> GenerateOutput | None:
        """What a generation brought."""
        return self.output if isinstance(self.output, GenerateOutput) else None


class Telemetry:
    """Counts and traces what one runner finished."""

    def __init__(self, metrics: RunnerMetrics, *, model: str, provider: str, runner: str) -> None:
        self._metrics = metrics
        self._model = model
        self._provider = provider
        self._runner = runner

    def finished(self, outcomes: Sequence[Outcome], written: Sequence[Written], write_s: float) -> None:
        """Tell of one batch of endings that has been written; what the fence refused did not happen."""
        self._metrics.batch(names.HOP_FINISH, len(outcomes))
        visible = [
            outcome
            for outcome, verdict in zip(outcomes, written, strict=True)
            if verdict is not Written.FENCED
        ]
        self._count(visible)
        if tracing.enabled():
            now_ns = time.time_ns()
            for outcome in visible:
                if outcome.held.traceparent:
                    self._trace(outcome, now_ns, write_s, len(outcomes))

    def answered(self, calls: Sequence[Answered]) -> None:
        """Tell of one batch of calls that were answered."""
        self._metrics.executed([call.ended_s - call.job.received_s for call in calls])
        if calls[0].job.operation:
            for call in calls:
                if (generated := call.generated) is not None:
                    self._metrics.tokens(generated.input_tokens, generated.output_tokens)
                    self._generated(call.job, call.ended_s - call.job.received_s, generated)
        if tracing.enabled():
            now_ns = time.time_ns()
            for call in calls:
                if call.job.traceparent:
                    self._trace_execution(
                        call.job, now_ns, {}, call.job.key, call.generated, failed=call.failed
                    )

    def _generated(self, job: Job, seconds: float, generated: GenerateOutput) -> None:
        # Answers to one prompt are written side by side: the longest one tells how long a token took.
        longest = max(len(choice.token_ids) for choice in generated.choices)
        self._metrics.generated(seconds, time_to_first_token_s(job, generated), longest)

    def _count(self, outcomes: Sequence[Outcome]) -> None:
        metrics = self._metrics
        ends: defaultdict[tuple[TaskState, Level], int] = defaultdict(int)
        whole: defaultdict[Level, list[float]] = defaultdict(list)
        executed: list[float] = []
        input_tokens = output_tokens = 0
        for outcome in outcomes:
            held = outcome.held
            seconds = outcome.ended_s - held.received_s
            executed.append(seconds)
            if outcome.retried:
                continue
            ends[outcome.ending.state, held.level] += 1
            whole[held.level].append(seconds + max(0, held.lease_time_ms - held.create_time_ms) / 1000)
            if (generated := outcome.generated) is not None:
                input_tokens += generated.input_tokens
                output_tokens += generated.output_tokens
                self._generated(held, seconds, generated)
        metrics.executed(executed)
        for (state, level), count in ends.items():
            metrics.finished(state.name.lower(), level.label, count)
        for level, durations in whole.items():
            metrics.end_to_end(level.label, durations)
        if input_tokens or output_tokens:
            metrics.tokens(input_tokens, output_tokens)

    def _trace(self, outcome: Outcome, now_ns: int, write_s: float, batch: int) -> None:
        held = outcome.held
        execution = self._trace_execution(
            held,
            now_ns,
            {
                names.TASK_ID: held.id,
                names.TASK_ATTEMPT: held.attempt,
                names.TASK_STATE: outcome.ending.state.name.lower(),
            },
            held.id,
            outcome.generated,
            failed=outcome.ending.reason if outcome.ending.state is TaskState.FAILED else "",
        )
        tracing.emit(
            names.records_span("finish"),
            kind=Kind.CLIENT,
            parent=execution,
            start_ns=now_ns - int(write_s * 1e9),
            end_ns=now_ns,
            attributes={
                names.DB_SYSTEM_NAME: names.DB_SYSTEM_REDIS,
                names.DB_OPERATION_NAME: "EVALSHA",
                names.DB_STORED_PROCEDURE_NAME: "finish",
                names.DB_OPERATION_BATCH_SIZE: batch,
            },
        )

    def _trace_execution(
        self,
        job: Job,
        now_ns: int,
        attributes: dict[str, tracing.Value],
        name_of_response: str,
        generated: GenerateOutput | None,
        *,
        failed: str,
    ) -> str:
        """Record the span of an execution that ends now; return its traceparent."""
        attributes |= {
            names.QUEUE_LEVEL: job.level.label,
            names.MODEL_NAME: self._model,
            names.RUNNER_ID: self._runner,
            names.RUNNER_PROVIDER: self._provider,
        }
        name = names.SPAN_EXECUTE
        if job.operation:
            name = names.generation_span(job.operation, self._model)
            attributes[names.GEN_AI_OPERATION_NAME] = job.operation
            attributes[names.GEN_AI_PROVIDER_NAME] = names.GEN_AI_PROVIDER_FOREBAY
            attributes[names.GEN_AI_REQUEST_MODEL] = self._model
        if generated is not None:
            attributes[names.GEN_AI_RESPONSE_MODEL] = self._model
            attributes[names.GEN_AI_RESPONSE_ID] = name_of_response
            attributes[names.GEN_AI_RESPONSE_FINISH_REASONS] = ",".join(
                choice.finish.value for choice in generated.choices
            )
            attributes[names.GEN_AI_USAGE_INPUT_TOKENS] = generated.input_tokens
            attributes[names.GEN_AI_USAGE_OUTPUT_TOKENS] = generated.output_tokens
        return tracing.emit(
            name,
            parent=job.traceparent,
            start_ns=now_ns - int((time.monotonic() - job.received_s) * 1e9),
            end_ns=now_ns,
            attributes=attributes,
            failed=failed,
        )
