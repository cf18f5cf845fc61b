"""What a door asks for when a client waits on the line, and what is known of the model that it asks for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Final, Protocol

from cache.key import CacheMode
from forebay.models.v1 import model_service_pb2
from forebay.runner.v1 import runner_service_pb2
from scheduler.states import Level

DEFAULT_POOL: Final = "default"


@dataclass(slots=True, eq=False)
class Trial:
    """The turn of a call that a runner may have died of; see `suspects.py`."""

    key: tuple[str, str, int]
    """Pool, name and version of the model."""
    digest: bytes
    """Of whose and what the call is."""
    release: Callable[[], None]
    """Gives the turn to the next one."""
    over: bool = False
    """Whether others are tried beside it."""

    def end(self) -> None:
        """Let the next one have its turn; what was tried goes on, if it is not at its end. Idempotent."""
        if not self.over:
            self.over = True
            self.release()


class Hit(Protocol):
    """An answer in this gateway's memory that a call was given."""

    def again(self, traceparent: str) -> float | None:
        """Give the same answer to one more call, by the same tenant and with the same request. Return how many seconds
        it took to find that it still stands, and None when it does not: then nothing was given.
        """
        ...

    def held(self) -> int:
        """Let go of what only its first call needed, and return how many bytes it holds on to, beside the request."""
        ...


@dataclass(slots=True, eq=False)
class DirectCall:
    """One call. A door makes it, after it has checked what holds for any model, and gives it away."""

    tenant: str
    """On whose behalf; from authentication."""
    model: str
    """NAME, or NAME@VERSION where `version` is 0."""
    fill: Callable[[runner_service_pb2.Call], None]
    """Writes `tensors`, `generate` or `embed`, and `outputs`, and nothing else. Called when the call is sent, which is
    not at once and may be again, for another runner: what it reads must stay as it is. Raises an error of the tree for
    what cannot be written."""
    version: int = 0
    """0 for the highest that is served."""
    pool: str = DEFAULT_POOL
    priority: int = Level.NORMAL
    """The number of a Level, 1 to 4."""
    timeout_ms: int = 0
    """How long the client still waits; 0 for the default of the settings."""
    runs_ms: int = 0
    """How long it may run where others wait for it who have more time than its client; 0 for no longer than that."""
    traceparent: str = ""
    """Of the span that the call is made in: `tracing.current()`."""
    size_bytes: int = 0
    """About how large it is: bounds what is held and what goes into one message."""
    door: str = "native"
    """By which door it came, for metrics; one of a small fixed set."""
    sequence_key: str = ""
    """The id of the sequence that it belongs to, as the client says it; empty for none."""
    sequence_start: bool = False
    sequence_end: bool = False
    kind: str = ""
    """What kind of work it is: with routing by consistent hash what has the same tenant and kind meets the same runner.
    What the label that the policy names says of a task."""
    prefixes: tuple[int, ...] = ()
    """For routing by prefix: chained hashes of the blocks that a prompt begins with."""

    cache: CacheMode = CacheMode.DEFAULT
    """What it wants of the result cache; see `services/gateway/caching`."""

    trial: Trial | None = None
    """Set for a call that a runner may have died of, while it is tried once more."""

    number: int = 0
    """Names it while it is under way; 0 before."""

    # Known when it was answered; of a stream the first three with its first chunk.
    runner: str = ""
    """The id of the runner that executed it; empty when it was answered without one."""
    served_version: int = 0
    """The version of the model; 0 for a model without versions."""
    answers_digest: str = ""
    """What the very process that executed it runs; empty where it did not say."""
    took_s: float = 0.0
    """From its arrival to its answer, in seconds."""
    cached: bool = False
    """Whether nothing was computed for it: the answer was in the cache, or another call's was shared."""
    sampled: bool = False
    """Whether a cached answer is one of many that could have come."""
    hit: Hit | None = None
    """What it was answered from, where that was this gateway's memory and no stream."""


_FIELDS: Final = attrgetter(*[field.name for field in fields(DirectCall)])


def copied(wanted: DirectCall) -> DirectCall:
    """Return a call like this one, for a computation that may outlive it. No trial: that is the first one's."""
    # Of each call that is computed: `dataclasses.replace` takes five times as long.
    copy = DirectCall(*_FIELDS(wanted))
    copy.trial = None
    return copy


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model as the fleet announces it: one version of it, in one pool."""

    name: str
    """Without a version."""
    version: int
    """0 for a model without versions."""
    pool: str
    model: model_service_pb2.Model
    """Signature and configuration, of the runner that is READY with what was loaded last. Not to be changed. Only
    `name` and `engine` are set before any runner has read the model."""
    runners: Sequence[model_service_pb2.Runner]
    """All that announce it, in whatever state, by id."""
    ready: bool
    """Whether a runner is READY with it."""
    versions: Sequence[int]
    """Versions of the name that are READY in this pool, ascending; empty while none is."""
    latest: bool
    """Whether it is the one that answers to the bare name."""
    identity: bytes = b""
    """Digest over what its READY runners announce to change their answers; empty where one announces nothing."""
    unsteady_chats: bool = False
    """Whether the chat template of a READY one writes the time, or something at random."""
    draws: bool = False
    """Whether the graph of a READY one draws random numbers."""
