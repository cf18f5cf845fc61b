"""An engine that does what a test tells it, and tasks as schedulers send them."""

import hashlib
import threading
from collections.abc import Sequence

import numpy as np

from forebay.dispatch.v1.dispatch_service_pb2 import Assignment
from forebay.tasks.v1.envelope_pb2 import Envelope
from forebay.tasks.v1.task_pb2 import Priority, TaskSpec
from inference.engine import (
    Choice,
    Chunk,
    Done,
    EmbedOutput,
    EmbedRequest,
    EngineKind,
    Failed,
    Finish,
    GenerateOutput,
    GenerateRequest,
    ModelCard,
    Request,
    TensorOutput,
    TensorRequest,
    Update,
)
from inference.runner.held import Cost, Fate, Held
from scheduler.errors import InvalidInput, ModelFailed
from scheduler.ids import new_ids
from scheduler.ports.records import NewTask
from scheduler.states import Level

NOW_MS = 1_700_000_000_000
LONGEST_WAIT_S = 10.0


class NoSource:
    """A scheduler that only writes down what it hears."""

    def __init__(self) -> None:
        self.settled: list[tuple[str, int, Fate]] = []
        self.costs: dict[str, Cost | None] = {}
        """By task."""
        self.failed: set[str] = set()
        """Tasks that another runner could have done better."""

    def settle(
        self, task_id: str, attempt: int, fate: Fate, cost: Cost | None = None, *, failed: bool = False
    ) -> None:
        self.settled.append((task_id, attempt, fate))
        self.costs[task_id] = cost
        if failed:
            self.failed.add(task_id)


class FakeEngine:
    """Tensors come back as they are after one step, texts as their lengths; a generation writes "a", "b", "c"… one
    token a step.

    It stands still while `go` is not set: steps bring nothing then. A prompt "refuse", "fail" or "crash" does so.
    """

    def __init__(self, kind: EngineKind = EngineKind.TENSOR, capacity: int = 8) -> None:
        self.card = ModelCard(kind, "00" * 32, "CPUExecutionProvider", context_length=64)
        self.capacity = capacity
        self.go = threading.Event()
        self.go.set()
        self.running: dict[str, tuple[Request, list[int]]] = {}
        self.order: list[str] = []
        self.steps = 0
        self.warm = False
        self.closed = threading.Event()
        self.stepped = threading.Event()

    @property
    def active(self) -> int:
        return len(self.running)

    def admit(self, key: str, request: Request) -> None:
        assert self.active < self.capacity
        assert key not in self.running
        if isinstance(request, GenerateRequest) and request.prompt == "refuse":
            raise InvalidInput.of("generate.prompt", "refused")
        self.running[key] = request, []
        self.order.append(key)

    def cancel(self, key: str) -> None:
        self.running.pop(key, None)

    def step(self) -> Sequence[Update]:
        self.steps += 1
        self.stepped.set()
        # A short wait instead of a long one, so that cancels are obeyed while it stands still.
        if not self.go.wait(0.002):
            return []
        return [self._advance(key, *running) for key, running in list(self.running.items())]

    def _advance(self, key: str, request: Request, tokens: list[int]) -> Update:
        if isinstance(request, TensorRequest):
            del self.running[key]
            return Done(key, TensorOutput(request.inputs), batch=len(self.running) + 1)
        if isinstance(request, EmbedRequest):
            del self.running[key]
            tokens_of = [len(text.split()) + 2 for text in request.texts]
            vectors = np.array([[len(text), float(request.normalize)] for text in request.texts], np.float32)
            return Done(key, EmbedOutput(vectors, tokens_of, [len(text) > 9 for text in request.texts]))
        if request.prompt == "crash":
            raise RuntimeError("the engine is broken")
        if request.prompt == "fail":
            del self.running[key]
            return Failed(key, ModelFailed("no luck"))
        tokens.append(len(tokens))
        if len(tokens) < request.max_tokens:
            return Chunk(key, letter(tokens[-1]), tokens[-1:])
        del self.running[key]
        choice = Choice("".join(map(letter, tokens)), tokens, Finish.LENGTH)
        tail = Chunk(key, letter(tokens[-1]), tokens[-1:], finish=Finish.LENGTH)
        return Done(key, GenerateOutput([choice], 3, 0.25), tail)

    def warm_up(self) -> None:
        self.warm = True

    def close(self) -> None:
        self.closed.set()


def letter(token: int) -> str:
    return chr(ord("a") + token % 26)


def held(key: str, level: Level = Level.NORMAL, request: Request | None = None, attempt: int = 1) -> Held:
    request = request or TensorRequest({"x": np.zeros(1, np.float32)})
    return Held(key, level, 100.0, key, attempt, NoSource(), NOW_MS, NOW_MS + 1500, request=request)


def suspect(key: str, isolation: str) -> Held:
    task = held(key)
    task.isolation = isolation
    return task


def tensor_spec(value: float = 1.0) -> TaskSpec:
    spec = TaskSpec(model="m", pool="default")
    spec.tensors.tensors.add(name="x", datatype="FP32", shape=[1], raw=np.float32(value).tobytes())
    return spec


def embed_spec(*texts: str) -> TaskSpec:
    spec = TaskSpec(model="m", pool="default")
    spec.embed.texts.extend(texts)
    return spec


def generate_spec(prompt: str = "hi", max_tokens: int = 3) -> TaskSpec:
    spec = TaskSpec(model="m", pool="default")
    spec.generate.prompt = prompt
    spec.generate.max_tokens = max_tokens
    return spec


def envelope(spec: TaskSpec, task_id: str = "", level: Level = Level.NORMAL) -> Envelope:
    body = spec.SerializeToString()
    return Envelope(
        id=task_id or new_ids(7, 1, NOW_MS)[0],
        tenant="t",
        spec=body,
        sha256=hashlib.sha256(body).digest(),
        model=spec.model,
        priority=Priority.Value(f"PRIORITY_{level.name}"),
        pool=spec.pool,
        create_time_ms=NOW_MS,
        max_attempts=1,
    )


def assignment(
    spec: TaskSpec, task_id: str = "", attempt: int = 1, level: Level = Level.NORMAL
) -> Assignment:
    return Assignment(envelope=envelope(spec, task_id, level), attempt=attempt, lease_time_ms=NOW_MS + 500)


def new_task(sent: Assignment) -> NewTask:
    one = sent.envelope
    return NewTask(
        one.id, one.tenant, one.pool, Level(one.priority), one.SerializeToString(), one.max_attempts
    )
