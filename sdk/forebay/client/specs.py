"""What users say, turned into a TaskSpec."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Unpack

from google.protobuf.timestamp_pb2 import Timestamp
from numpy.typing import ArrayLike

from forebay.client.generations import GenerateOptions, generate_input
from forebay.client.tasks import Priority, TaskRef, task_id
from forebay.client.tensors import to_tensors
from forebay.tasks.v1.inputs_pb2 import EmbedInput, TensorInput
from forebay.tasks.v1.task_pb2 import CacheMode, ParentFailurePolicy, TaskSpec
from forebay.tasks.v1.task_pb2 import Priority as WirePriority

PRIORITIES: Final[dict[Priority, WirePriority.ValueType]] = {
    Priority.CRITICAL: WirePriority.PRIORITY_CRITICAL,
    Priority.HIGH: WirePriority.PRIORITY_HIGH,
    Priority.NORMAL: WirePriority.PRIORITY_NORMAL,
    Priority.LOW: WirePriority.PRIORITY_LOW,
}
ON_PARENT_FAILURE: Final[dict[str, ParentFailurePolicy.ValueType]] = {
    "fail": ParentFailurePolicy.PARENT_FAILURE_POLICY_FAIL,
    "run": ParentFailurePolicy.PARENT_FAILURE_POLICY_RUN,
    "cancel": ParentFailurePolicy.PARENT_FAILURE_POLICY_CANCEL,
}
CACHE_MODES: Final[dict[str, CacheMode.ValueType]] = {
    "default": CacheMode.CACHE_MODE_DEFAULT,
    "bypass": CacheMode.CACHE_MODE_BYPASS,
    "refresh": CacheMode.CACHE_MODE_REFRESH,
    "only": CacheMode.CACHE_MODE_ONLY,
}
_GENERATE_OPTIONS: Final = tuple(
    name for name in GenerateOptions.__annotations__ if name not in ("prompt", "messages")
)


class TaskOptions(GenerateOptions, total=False):
    """What a task may be given. Exactly one of `prompt`, `messages`, `tensors` and `texts` is required."""

    tensors: Mapping[str, ArrayLike]
    """Inputs of a tensor model by name."""
    texts: Sequence[str]
    """What an embedding model turns into vectors: 1 to 2048 texts, none empty."""
    normalize: bool
    """Whether each vector is scaled to length 1. The server's default is true."""

    priority: Priority | str
    """critical, high, normal (the default) or low."""
    pool: str
    """The pool of runners that shall run it."""
    not_before: datetime | timedelta
    """Never start it before this moment, or this long from now."""
    deadline: datetime | timedelta
    """Never start it after this moment, or after this long from now; stop it if it runs then."""
    max_attempts: int
    """Most executions, the first one counted. The server's default is 3."""
    initial_backoff: timedelta
    """Longest rest after the first failure. The server's default is half a second."""
    max_backoff: timedelta
    """Longest rest after any failure. The server's default is a minute."""
    backoff_multiplier: float
    """What the longest rest grows by with each failure. The server's default is 2."""
    depends_on: Sequence[TaskRef | int]
    """Tasks that must end before it starts; numbers are places in the same `submit_many`, from 0."""
    on_parent_failure: str
    """What becomes of it when one of those does not succeed: fail (the default), run or cancel."""
    inputs_from: Mapping[str, tuple[int, str]]
    """Outputs of parents that become its inputs: `{"summary": (0, "text")}` puts the text of the first task of
    `depends_on` where a prompt or message says {{summary}}; `{"x": (0, "y")}` makes its output tensor y the input x."""
    idempotency_key: str
    """Same key and same task: the task that exists is returned. The client makes one up when there is none."""
    cache: str
    """What it wants of the result cache: default, bypass (executed, nothing kept), refresh (executed anew and kept) or
    only (answered from it, or refused with NotFound)."""
    labels: Mapping[str, str]
    """For people and filters."""


def task_spec(model: str, **options: Unpack[TaskOptions]) -> TaskSpec:
    """Build what `submit_many` takes.

    Raises TypeError for options that do not exist or do not belong together, ValueError for values that cannot be
    written; what the server alone can judge, it judges.
    """
    unknown = options.keys() - TaskOptions.__annotations__.keys()
    if unknown:
        raise TypeError(f"unknown task options: {', '.join(sorted(unknown))}")
    kinds = [kind for kind in ("prompt", "messages", "tensors", "texts") if kind in options]
    if len(kinds) != 1:
        raise TypeError(
            f"exactly one of prompt, messages, tensors and texts is required, got {kinds or 'none'}"
        )
    if "normalize" in options and "texts" not in options:
        raise TypeError("normalize: only for embedding models")
    spec = TaskSpec(
        model=model,
        priority=priority_number(options.get("priority", Priority.NORMAL)),
        pool=options.get("pool", ""),
        idempotency_key=options.get("idempotency_key", ""),
        labels=options.get("labels"),
    )
    if "cache" in options:
        spec.cache = cache_number(options["cache"])
    if "tensors" in options or "texts" in options:
        misplaced = [name for name in _GENERATE_OPTIONS if name in options]
        if misplaced:
            raise TypeError(f"{', '.join(misplaced)}: only for language models")
    if "tensors" in options:
        spec.tensors.CopyFrom(TensorInput(tensors=to_tensors(options["tensors"])))
    elif "texts" in options:
        spec.embed.CopyFrom(embed_input(options["texts"], options.get("normalize")))
    else:
        spec.generate.CopyFrom(generate_input(options))
    _set_times(spec, options)
    _set_parents(spec, options)
    return spec


def embed_input(texts: Sequence[str], normalize: bool | None) -> EmbedInput:
    """Build the input of an embedding. Raises TypeError for a text that is not in a list."""
    if isinstance(texts, str):
        raise TypeError("texts takes a list")
    return EmbedInput(texts=texts, normalize=normalize)


def priority_number(priority: Priority | str) -> WirePriority.ValueType:
    """Return a priority's number on the wire. Raises ValueError for a name that is none."""
    try:
        return PRIORITIES[Priority(priority)]
    except ValueError:
        raise ValueError(f"priority {priority!r} is none of {', '.join(Priority)}") from None


def cache_number(mode: str) -> CacheMode.ValueType:
    """Return what a request wants of the result cache as the contract has it. Raises ValueError."""
    if mode not in CACHE_MODES:
        raise ValueError(f"cache {mode!r} is none of {', '.join(CACHE_MODES)}")
    return CACHE_MODES[mode]


def _set_times(spec: TaskSpec, options: TaskOptions) -> None:
    if "not_before" in options:
        spec.not_before.CopyFrom(moment(options["not_before"], "not_before"))
    if "deadline" in options:
        spec.deadline.CopyFrom(moment(options["deadline"], "deadline"))
    if "max_attempts" in options:
        spec.retry.max_attempts = options["max_attempts"]
    if "initial_backoff" in options:
        spec.retry.initial_backoff.FromTimedelta(options["initial_backoff"])
    if "max_backoff" in options:
        spec.retry.max_backoff.FromTimedelta(options["max_backoff"])
    if "backoff_multiplier" in options:
        spec.retry.multiplier = options["backoff_multiplier"]


def _set_parents(spec: TaskSpec, options: TaskOptions) -> None:
    for parent in options.get("depends_on", ()):
        if isinstance(parent, int):
            spec.depends_on.add(index=parent)
        else:
            spec.depends_on.add(id=task_id(parent))
    if "on_parent_failure" in options:
        choice = options["on_parent_failure"]
        if choice not in ON_PARENT_FAILURE:
            raise ValueError(f"on_parent_failure {choice!r} is none of {', '.join(ON_PARENT_FAILURE)}")
        spec.on_parent_failure = ON_PARENT_FAILURE[choice]
    for name, (parent, output) in options.get("inputs_from", {}).items():
        spec.inputs_from.add(parent=parent, output=output, input=name)


def moment(when: datetime | timedelta, name: str) -> Timestamp:
    """Return a moment, or so long from now, as it is on the wire. Raises TypeError for what is
    neither, ValueError for a time without a zone.
    """
    exact = datetime.now(UTC) + when if isinstance(when, timedelta) else when
    if not isinstance(exact, datetime):
        raise TypeError(f"{name} takes a datetime or a timedelta, not {type(when).__name__}")
    if exact.tzinfo is None:
        raise ValueError(f"{name} has no time zone: use datetime.now(UTC) or a timedelta")
    stamp = Timestamp()
    stamp.FromDatetime(exact)
    return stamp
