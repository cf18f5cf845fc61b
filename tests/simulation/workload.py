"""What clients ask for in one world, and when: drawn from the seed before anything happens."""

from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Final

from forebay.tasks.v1 import task_pb2
from scheduler.states import Level

LABELS: Final = ("red", "blue")


class Kind(Enum):
    """What a client does."""

    SUBMIT = "submit"
    CHILD = "child"
    """Submit a task that depends on tasks of earlier calls."""
    TWINS = "twins"
    """The same task under one key, through two gateways at once."""
    CONFLICT = "conflict"
    """Another task under a key that was used."""
    CANCEL = "cancel"
    CANCEL_COLOR = "cancel color"
    UPDATE = "update"
    PAUSE = "pause"
    SCHEDULE = "schedule"
    REPLAY = "replay"


@dataclass(frozen=True, slots=True)
class Wish:
    """One thing that a client wants at a time, in seconds since the beginning."""

    at_s: float
    kind: Kind
    specs: tuple[task_pb2.TaskSpec, ...] = ()
    pick: float = 0.0
    """In [0, 1): which of the tasks that are known then."""
    lasts_s: float = 0.0
    level: Level = Level.NORMAL
    in_ms: int = 0
    """A time from then on, for what has one."""
    by_ms: int = 0
    """A deadline from then on."""


class Author:
    """Writes the wishes of one world."""

    def __init__(self, rng: Random, calm: bool) -> None:
        self._rng = rng
        self._calm = calm
        self._poison = 0 if calm or rng.random() < 0.5 else 2
        self._keys: list[str] = []
        self._graphs = rng.random() < 0.5
        self._times = rng.random() < 0.5
        self._ends = rng.random() < 0.4
        self._operating = rng.random() < 0.4

    def write(self, wishes: int, span_s: float) -> list[Wish]:
        """Return that many wishes of the first `span_s` seconds, in order."""
        rng = self._rng
        times = sorted(rng.random() * span_s for _ in range(wishes))
        made = [self._wish(at_s) for at_s in times]
        if self._operating and not self._calm:
            if rng.random() < 0.7:
                made.append(
                    Wish(rng.random() * 2, Kind.SCHEDULE, (self._spec(),), in_ms=rng.choice((1000, 1700)))
                )
            if rng.random() < 0.7:
                lasts_s = 0.5 + rng.random() * 5
                made.append(Wish(rng.random() * span_s, Kind.PAUSE, pick=rng.random(), lasts_s=lasts_s))
        return sorted(made, key=lambda wish: wish.at_s)

    def _wish(self, at_s: float) -> Wish:
        rng = self._rng
        draw = rng.random()
        if draw < 0.01 and not self._calm:
            return Wish(at_s, Kind.CANCEL_COLOR, pick=rng.random())
        if draw < 0.12 and not self._calm:
            return Wish(at_s, Kind.CANCEL, pick=rng.random())
        if draw < 0.19 and not self._calm:
            in_ms = rng.choice((0, 0, rng.randint(100, 3000)))
            by_ms = rng.choice((0, 0, rng.randint(300, 4000)))
            level = rng.choice(list(Level))
            return Wish(at_s, Kind.UPDATE, pick=rng.random(), level=level, in_ms=in_ms, by_ms=by_ms)
        if draw < 0.26:
            return Wish(at_s, Kind.TWINS, (self._keyed(),))
        if draw < 0.28 and self._keys:
            spec = self._spec()
            spec.idempotency_key = rng.choice(self._keys)
            return Wish(at_s, Kind.CONFLICT, (spec,))
        if draw < 0.33 and not self._calm:
            return Wish(at_s, Kind.REPLAY, pick=rng.random())
        if draw < 0.42 and self._graphs:
            return Wish(at_s, Kind.CHILD, (self._spec(),), pick=rng.random())
        if draw < 0.58 and self._graphs:
            return Wish(at_s, Kind.SUBMIT, self._graph())
        if draw < 0.75:
            return Wish(at_s, Kind.SUBMIT, tuple(self._spec() for _ in range(rng.randint(2, 6))))
        return Wish(at_s, Kind.SUBMIT, (self._keyed() if rng.random() < 0.4 else self._spec(),))

    def _keyed(self) -> task_pb2.TaskSpec:
        spec = self._spec()
        spec.idempotency_key = f"key-{len(self._keys)}"
        self._keys.append(spec.idempotency_key)
        return spec

    def _graph(self) -> tuple[task_pb2.TaskSpec, ...]:
        """A few tasks of one call, each of which may depend on those before it."""
        rng = self._rng
        specs = [self._spec() for _ in range(rng.randint(2, 5))]
        call = f"auto-{rng.randrange(10**6)}"
        keyed = rng.random() < 0.4
        for place, spec in enumerate(specs):
            if keyed:
                spec.idempotency_key = f"{call}/{place}"
            if place:
                spec.on_parent_failure = rng.choice((0, 1, 2, 3))  # type: ignore[assignment]  # numbers of the contract
                for parent in rng.sample(range(place), rng.randint(1, min(place, 2))):
                    spec.depends_on.add(index=parent)
        return tuple(specs)

    def _spec(self) -> task_pb2.TaskSpec:
        rng = self._rng
        spec = task_pb2.TaskSpec(model="m", pool="default")
        spec.generate.prompt = self._prompt()
        spec.generate.max_tokens = 3
        spec.priority = rng.choice(list(Level))  # type: ignore[assignment]  # levels have the numbers of priorities
        spec.labels["color"] = rng.choice(LABELS)
        spec.retry.max_attempts = rng.choice((1, 2, 2, 3, 3, 4))
        spec.retry.initial_backoff.FromMilliseconds(rng.choice((50, 200, 500)))
        spec.retry.max_backoff.FromMilliseconds(800)
        if self._times and rng.random() < 0.3:
            # Relative to the moment of the call, which alone knows what time it is: see `timed`.
            spec.not_before.FromMilliseconds(rng.randint(100, 3000))
        if self._ends and rng.random() < 0.35:
            spec.deadline.FromMilliseconds(rng.randint(100, 4000))
        return spec

    def _prompt(self) -> str:
        rng = self._rng
        step_s = f"{rng.choice((0.01, 0.05, 0.05, 0.2)):.2f}"
        draw = rng.random()
        if self._calm or draw < 0.68:
            return f"ok {step_s}"
        if draw < 0.82:
            return f"fail {step_s} {rng.randint(1, 4)}"
        if draw < 0.86:
            return f"refuse {step_s}"
        if draw < 0.90:
            return f"hint {step_s} 1"
        if draw < 0.95:
            return "hang 1.20"
        if self._poison:
            self._poison -= 1
            return f"poison {step_s} {rng.choice((1, 2, 99))}"
        return f"ok {step_s}"


def timed(spec: task_pb2.TaskSpec, now_ms: int) -> task_pb2.TaskSpec:
    """Return a spec whose times count from now."""
    copy = task_pb2.TaskSpec()
    copy.CopyFrom(spec)
    for name in ("not_before", "deadline"):
        if spec.HasField(name):
            moment = getattr(copy, name)
            moment.FromMilliseconds(now_ms + moment.ToMilliseconds())
    return copy
