"""Models as clients of this door see them, and how they are found by the protocol's names and versions.

A version is a text there, and a model without versions answers to "1".
"""

from functools import cached_property
from typing import Final, NamedTuple

from forebay.compat.kserve.model_config_pb2 import ModelConfig
from forebay.models.v1 import model_service_pb2
from scheduler.errors import InvalidInput, ModelNotFound
from services.gateway.direct import Calls, KnownModel
from services.gateway.kserve import embeddings, language
from services.gateway.kserve.port import Port
from services.gateway.validation import MODEL_RULE, is_model

MOST_LAYOUTS: Final = 1024
"""Combinations of shapes that are remembered of a model; when there are more, all are forgotten."""
_MOST_FOUND: Final = 4096
_ONLY: Final = 1
"""The version of a model without versions."""


class TensorLayout(NamedTuple):
    """Everything of an input but its elements."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class Served:
    """One version of a model."""

    def __init__(self, known: KnownModel) -> None:
        self.known: Final = known
        self.name: Final = known.name
        self.version: Final = known.version or _ONLY
        """As clients are told."""
        self.engine: Final = known.model.engine
        self.stateful: Final = known.model.stateful
        self.layouts: Final[dict[tuple[TensorLayout, ...], tuple[int, ...]]] = {}
        """Inputs that were found to fit, with the bytes that each must have; -1 where its elements say."""

    @property
    def max_rows(self) -> int:
        """Return the most rows of a request; 0 where shapes are complete."""
        return self.known.model.max_batch_size

    @cached_property
    def config(self) -> ModelConfig:
        """What its folder says, as its runner announces it. Empty where it announces none."""
        return ModelConfig.FromString(self.known.model.config)

    @cached_property
    def inputs(self) -> tuple[Port, ...]:
        """The inputs; none before a runner has read the model."""
        if self.engine == model_service_pb2.ENGINE_KIND_GENERATE:
            return language.INPUTS
        if self.engine == model_service_pb2.ENGINE_KIND_EMBED:
            return embeddings.INPUTS
        optional = {each.name for each in self.config.input if each.optional}
        return tuple(
            Port(each.name, each.datatype, (*self._front, *each.shape), each.name in optional)
            for each in self.known.model.inputs
        )

    @cached_property
    def outputs(self) -> tuple[Port, ...]:
        """The outputs; none before a runner has read the model."""
        if self.engine == model_service_pb2.ENGINE_KIND_GENERATE:
            return language.OUTPUTS
        if self.engine == model_service_pb2.ENGINE_KIND_EMBED:
            return embeddings.outputs(self.known.model.dimensions)
        return tuple(
            Port(each.name, each.datatype, (*self._front, *each.shape)) for each in self.known.model.outputs
        )

    @property
    def _front(self) -> tuple[int, ...]:
        return (-1,) if self.max_rows else ()


class Catalogue:
    """Finds models, and remembers what was worked out of each as long as it is announced unchanged."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._found: dict[tuple[str, int], Served] = {}

    def find(self, name: str, version: str = "") -> Served:
        """Return a model. Raises InvalidInput, ModelNotFound, ServerUnavailable while nobody knows who is there."""
        number = _number(version) if version else 0
        key = (name, number)
        known = self._known(name, number)
        served = self._found.get(key)
        if served is None or served.known is not known:
            if len(self._found) >= _MOST_FOUND:
                self._found.clear()
            served = self._found[key] = Served(known)
        return served

    def versions(self, name: str) -> list[Served]:
        """Return every version of a model that is announced, or of all models when there is no name, by name and
        version. Raises as `find` does.
        """
        if not name:
            return [Served(known) for known in self._calls.models()]
        bare = self.find(name).name
        return [Served(known) for known in self._calls.models() if known.name == bare]

    def _known(self, name: str, number: int) -> KnownModel:
        try:
            return self._calls.model(name, number)
        except ModelNotFound:
            if not is_model(name):
                raise InvalidInput.of("model_name", MODEL_RULE if name else f"is required and {MODEL_RULE}")
            if number == _ONLY and not (known := self._calls.model(name)).version:
                return known
            raise


def _number(version: str) -> int:
    if version.isascii() and version.isdigit() and len(version) < 19 and (number := int(version)):
        return number
    raise InvalidInput.of("model_version", "must be a whole number, 1 or more, or empty")
