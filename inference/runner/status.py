"""What the runner says of itself: to the agent that watches it, and to everybody through the directory."""

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable
from typing import Final

from forebay.models.v1 import model_service_pb2 as models
from forebay.runner.v1.runner_service_pb2 import WatchStatusResponse
from inference.engine import EngineKind, ModelCard, Signature

ENGINE_KINDS: Final = {
    EngineKind.TENSOR: models.ENGINE_KIND_TENSOR,
    EngineKind.GENERATE: models.ENGINE_KIND_GENERATE,
    EngineKind.EMBED: models.ENGINE_KIND_EMBED,
}

_log = logging.getLogger(__name__)


class StatusBoard:
    """The runner's state. Changes wake those who watch; `held` does not, it is read when somebody looks."""

    def __init__(self, runner: models.Runner, held: Callable[[], int]) -> None:
        self._runner = runner
        self._held = held
        self._model: models.Model | None = None
        self._activity = ""
        self._began_s = time.monotonic()
        self._changed = asyncio.Event()
        self.closed = False
        """Whether the runner ends."""
        runner.pid = os.getpid()
        runner.start_time.GetCurrentTime()

    @property
    def runner_id(self) -> str:
        """The runner's id."""
        return self._runner.id

    @property
    def state(self) -> models.RunnerState.ValueType:
        """How far the runner is."""
        return self._runner.state

    def at(self, address: str, metrics_address: str) -> None:
        """Note where the runner can be reached."""
        self._runner.address = address
        self._runner.metrics_address = metrics_address
        self._wake()

    def enter(self, state: models.RunnerState.ValueType, activity: str = "") -> None:
        """Note that the runner entered a state."""
        self._runner.state = state
        self._activity = activity
        _log.info(
            "runner %s",
            models.RunnerState.Name(state).removeprefix("RUNNER_STATE_").lower(),
            extra=self._fields(),
        )
        self._wake()

    def doing(self, activity: str) -> None:
        """Note what the runner is busy with, for people."""
        self._activity = activity
        _log.info("runner busy", extra=self._fields())
        self._wake()

    def ready(self, card: ModelCard, capacity: int, cache_tokens: int = 0) -> None:
        """Note that the model is loaded and warm; `cache_tokens` is what its attention cache holds."""
        runner = self._runner
        runner.provider = card.provider
        runner.engine = ENGINE_KINDS[card.kind]
        runner.capacity = capacity
        runner.batch_invariant = card.batch_invariant
        runner.cache_tokens = cache_tokens
        runner.answers_digest = card.answers_digest
        runner.unsteady_chats = card.unsteady_chats
        runner.draws = card.draws
        runner.load_duration.FromNanoseconds(int((time.monotonic() - self._began_s) * 1e9))
        self._model = models.Model(
            name=runner.model,
            engine=runner.engine,
            digest=card.digest,
            inputs=[_signature(one) for one in card.inputs],
            outputs=[_signature(one) for one in card.outputs],
            context_length=card.context_length,
            ready_runners=1,
            providers=[card.provider],
            version=runner.version,
            max_batch_size=card.max_batch_size,
            config=card.config,
            stateful=card.stateful,
            dimensions=card.dimensions,
        )
        self.enter(models.RUNNER_STATE_READY)

    def failed(self, reason: str) -> None:
        """Note that the model cannot be loaded."""
        self._runner.reason = reason
        self._model = models.Model(name=self._runner.model, version=self._runner.version, failures=[reason])
        self.enter(models.RUNNER_STATE_FAILED)

    def draining(self) -> None:
        """Note that the runner finishes what it holds and takes no more."""
        if self._model is not None:
            self._model.ready_runners = 0
        self.enter(models.RUNNER_STATE_DRAINING)

    def status(self) -> WatchStatusResponse:
        """Return the state as it is now."""
        self._runner.held = self._held()
        return WatchStatusResponse(runner=self._runner, model=self._model, activity=self._activity)

    def next_change(self) -> asyncio.Event:
        """Return what is set at the next change after this call."""
        return self._changed

    def close(self) -> None:
        """Let those who watch go: the runner ends."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _fields(self) -> dict[str, object]:
        fields = {"model": self._runner.model, "activity": self._activity, "reason": self._runner.reason}
        return {key: value for key, value in fields.items() if value}


def new_runner(
    runner_id: str,
    model: str,
    pool: str,
    version: int = 0,
    generation: int = 0,
    *,
    zone: str = "",
    weight: int = 0,
) -> models.Runner:
    """Describe a runner that has just started; without an id it gets one of host, model and a random part."""
    runner_id = runner_id or f"{socket.gethostname()}-{model}-{secrets.token_hex(4)}"
    return models.Runner(
        id=runner_id,
        model=model,
        pool=pool,
        version=version,
        generation=generation,
        zone=zone,
        weight=weight,
        state=models.RUNNER_STATE_LOADING,
    )


def _signature(signature: Signature) -> models.TensorSignature:
    return models.TensorSignature(name=signature.name, datatype=signature.datatype, shape=signature.shape)
