"""Answers of the server, turned into the client's values."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

import numpy as np
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from forebay.client.answers import Choice, EmbedResult, GenerateResult, TokenLogprob, TopLogprob
from forebay.client.errors import from_status
from forebay.client.fleet import (
    LaneInfo,
    ModelInfo,
    PauseInfo,
    QueueInfo,
    RunnerInfo,
    TenantLoad,
    TensorInfo,
)
from forebay.client.tasks import (
    CancelSummary,
    Chunk,
    Priority,
    TaskEvent,
    TaskHandle,
    TaskInfo,
    TaskState,
    Timing,
    Usage,
)
from forebay.client.tensors import Array, to_arrays
from forebay.models.v1.model_service_pb2 import EngineKind, Model, Runner, RunnerState, TensorSignature
from forebay.queues.v1.queue_service_pb2 import Pause, Queue
from forebay.tasks.v1 import inputs_pb2, task_pb2
from forebay.tasks.v1.task_pb2 import Priority as WirePriority
from forebay.tasks.v1.task_pb2 import Result, Task
from forebay.tasks.v1.task_pb2 import TaskState as WireState
from forebay.tasks.v1.task_service_pb2 import CancelResult, CancelTasksResponse, StreamOutputResponse

TERMINAL: Final = frozenset(
    {
        WireState.TASK_STATE_SUCCEEDED,
        WireState.TASK_STATE_FAILED,
        WireState.TASK_STATE_CANCELLED,
        WireState.TASK_STATE_EXPIRED,
    }
)
STATES: Final = {
    number: TaskState(name.removeprefix("TASK_STATE_").lower())
    for name, number in WireState.items()
    if number
}
STATE_NUMBERS: Final = {state: number for number, state in STATES.items()}
_PRIORITIES: Final = {
    number: Priority(name.removeprefix("PRIORITY_").lower())
    for name, number in WirePriority.items()
    if number
}


def handle(task: Task) -> TaskHandle:
    """Read an accepted task."""
    return TaskHandle(task.id, STATES[task.state], time(task.create_time))


def info(task: Task) -> TaskInfo:
    """Read a task."""
    spec = task.spec if task.HasField("spec") else None
    outcome = task.WhichOneof("outcome")
    result = task.result if outcome == "result" else None
    return TaskInfo(
        id=task.id,
        state=STATES[task.state],
        model=spec.model if spec else "",
        priority=_PRIORITIES.get(spec.priority, Priority.NORMAL) if spec else Priority.NORMAL,
        pool=spec.pool if spec else "",
        labels=dict(spec.labels) if spec else {},
        attempt=task.attempt,
        publication=task.publication,
        tenant=task.tenant,
        create_time=time(task.create_time) if task.HasField("create_time") else None,
        queue_time=time(task.queue_time) if task.HasField("queue_time") else None,
        start_time=time(task.start_time) if task.HasField("start_time") else None,
        end_time=time(task.end_time) if task.HasField("end_time") else None,
        runner=task.runner,
        error=from_status(task.error) if outcome == "error" else None,
        result=_result(result) if result else None,
        usage=usage(result.usage) if result and result.HasField("usage") else None,
        timing=timing(result.timing) if result and result.HasField("timing") else None,
        events=tuple(TaskEvent(time(e.time), STATES[e.state], e.reason) for e in task.events),
        spec=spec,
        last_error=from_status(task.last_error) if task.HasField("last_error") else None,
        uncharged_attempts=task.uncharged_attempts,
        replay_of=task.replay_of,
        schedule=task.schedule,
        cached=task.cached,
    )


def chunk(answer: StreamOutputResponse) -> Chunk:
    """Read a piece of output."""
    return Chunk(
        sequence=answer.sequence,
        text=answer.text,
        token_ids=tuple(answer.token_ids),
        finish_reason=finish_reason(answer.finish_reason),
        restarted=answer.restarted,
        state=STATES.get(answer.state),
        logprobs=logprobs(answer.logprobs),
        others=tuple(map(choice, answer.others)),
    )


def cancel_summary(answers: list[CancelTasksResponse]) -> CancelSummary:
    """Read what became of a request to cancel, made in one or more calls."""
    return CancelSummary(
        cancelled=sum(answer.cancelled for answer in answers),
        already_terminal=sum(answer.already_terminal for answer in answers),
        not_found=sum(answer.not_found for answer in answers),
        outcomes={
            result.id: _word(CancelResult.Outcome.Name(result.outcome), "OUTCOME_")
            for answer in answers
            for result in answer.results
        },
    )


def pause(pause: Pause) -> PauseInfo:
    """Read a pause."""
    selector = pause.selector
    return PauseInfo(
        pool=selector.pool,
        priority=_PRIORITIES.get(selector.priority),
        model=selector.model,
        label=(selector.label_key, selector.label_value) if selector.label_key else None,
        reason=pause.reason,
        since=time(pause.since),
    )


def queue(queue: Queue) -> QueueInfo:
    """Read a queue."""
    return QueueInfo(
        pool=queue.pool,
        priority=_PRIORITIES.get(queue.priority, Priority.NORMAL),
        depth=queue.depth,
        oldest_age_s=seconds(queue.oldest_age) if queue.HasField("oldest_age") else None,
        running=queue.running,
        finished_per_second=queue.finished_per_second,
        share=queue.share,
        paused=queue.paused,
        waiting=queue.waiting,
        arrived_per_second=queue.arrived_per_second,
        started_per_second=queue.started_per_second,
        share_got=queue.share_got,
        queued_work_s=seconds(queue.queued_work),
        tenants=tuple(
            TenantLoad(load.tenant, load.queued, load.running, seconds(load.queued_work))
            for load in queue.tenants
        ),
        lanes=tuple(LaneInfo(lane.index, lane.scheduler, lane.in_window) for lane in queue.lanes),
    )


def model(model: Model) -> ModelInfo:
    """Read a model."""
    return ModelInfo(
        name=model.name,
        engine=_word(EngineKind.Name(model.engine), "ENGINE_KIND_"),
        digest=model.digest,
        inputs=tuple(_signature(tensor) for tensor in model.inputs),
        outputs=tuple(_signature(tensor) for tensor in model.outputs),
        context_length=model.context_length,
        ready_runners=model.ready_runners,
        providers=tuple(model.providers),
        failures=tuple(model.failures),
        version=model.version,
    )


def runner(runner: Runner) -> RunnerInfo:
    """Read a runner."""
    return RunnerInfo(
        id=runner.id,
        model=runner.model,
        pool=runner.pool,
        address=runner.address,
        state=_word(RunnerState.Name(runner.state), "RUNNER_STATE_"),
        reason=runner.reason,
        provider=runner.provider,
        engine=_word(EngineKind.Name(runner.engine), "ENGINE_KIND_"),
        capacity=runner.capacity,
        held=runner.held,
        start_time=time(runner.start_time) if runner.HasField("start_time") else None,
        load_s=seconds(runner.load_duration) if runner.HasField("load_duration") else None,
        metrics_address=runner.metrics_address,
        pid=runner.pid,
        version=runner.version,
    )


def _result(result: Result) -> GenerateResult | EmbedResult | Mapping[str, Array] | None:
    match result.WhichOneof("output"):
        case "generate":
            output = result.generate
            return GenerateResult(
                output.text,
                tuple(output.token_ids),
                finish_reason(output.finish_reason),
                logprobs(output.logprobs),
                tuple(map(choice, output.others)),
            )
        case "tensors":
            return to_arrays(result.tensors.tensors)
        case "embed":
            return embed_result(result.embed)
        case _:
            return None


def choice(one: inputs_pb2.Choice) -> Choice:
    """Read one of several answers."""
    return Choice(
        one.index, one.text, tuple(one.token_ids), finish_reason(one.finish_reason), logprobs(one.logprobs)
    )


def embed_result(output: inputs_pb2.EmbedOutput) -> EmbedResult:
    """Read vectors."""
    embeddings = output.embeddings
    vectors = np.array([one.values for one in embeddings], dtype=np.float32)
    vectors.flags.writeable = False
    return EmbedResult(
        vectors, tuple(one.tokens for one in embeddings), tuple(one.truncated for one in embeddings)
    )


def logprobs(given: Iterable[inputs_pb2.TokenLogprob]) -> tuple[TokenLogprob, ...]:
    """Read how probable tokens were."""
    return tuple(
        TokenLogprob(
            one.token_id, one.logprob, tuple(TopLogprob(top.token_id, top.logprob) for top in one.top)
        )
        for one in given
    )


def finish_reason(reason: inputs_pb2.FinishReason.ValueType) -> str:
    """Read why a generation ended; empty while it has not."""
    return _word(inputs_pb2.FinishReason.Name(reason), "FINISH_REASON_")


def usage(used: task_pb2.Usage) -> Usage:
    """Read what was used."""
    return Usage(used.input_tokens, used.output_tokens, used.cached_tokens)


def timing(took: task_pb2.Timing) -> Timing:
    """Read how long the parts took."""
    first = seconds(took.time_to_first_token) if took.HasField("time_to_first_token") else None
    return Timing(seconds(took.queue), seconds(took.execute), first)


def _signature(tensor: TensorSignature) -> TensorInfo:
    return TensorInfo(tensor.name, tensor.datatype, tuple(tensor.shape))


def time(stamp: Timestamp) -> datetime:
    """Read a moment."""
    return stamp.ToDatetime(tzinfo=UTC)


def seconds(duration: Duration) -> float:
    """Read a length of time, in seconds."""
    # A quotient of whole numbers is rounded once: what was written as 1.4 is read as 1.4.
    return (duration.seconds * 1_000_000_000 + duration.nanos) / 1_000_000_000


def _word(name: str, prefix: str) -> str:
    word = name.removeprefix(prefix).lower()
    return "" if word == "unspecified" else word
