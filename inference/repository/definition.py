"""What the configuration of a model folder says, as plain data.

Made by `config_reader.py` from `config.pbtxt`; a model without a configuration has the defaults. Meanings are those of
Triton's model configuration (https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/
user_guide/model_configuration.html), so that a folder that is served there is served here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from inference.engine import Array, Signature


class VersionChoice(StrEnum):
    """Which versions of a model are served."""

    LATEST = "latest"
    ALL = "all"
    SPECIFIC = "specific"


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """Which versions of a model are served."""

    choice: VersionChoice = VersionChoice.LATEST
    latest: int = 1
    """How many of the highest, with LATEST."""
    versions: tuple[int, ...] = ()
    """Which, with SPECIFIC."""


@dataclass(frozen=True, slots=True)
class InputDefinition:
    """An input as clients see it."""

    signature: Signature
    """Without the batch dimension where `max_batch_size` is set."""
    optional: bool = False
    ragged: bool = False
    """Whether requests whose lengths differ may share a run: shorter ones are padded with zeros at the end."""
    reshape: tuple[int, ...] | None = None
    """The shape that the model itself takes, without the batch dimension; None for that of the signature."""
    place: str = field(default="", compare=False)
    """Where it stands, for messages: file:line:column."""


@dataclass(frozen=True, slots=True)
class OutputDefinition:
    """An output as clients see it."""

    signature: Signature
    """Without the batch dimension where `max_batch_size` is set."""
    labels: tuple[str, ...] = ()
    """Of its values by index, for classification."""
    reshape: tuple[int, ...] | None = None
    """The shape that the model itself gives, without the batch dimension; None for that of the signature."""
    place: str = field(default="", compare=False)
    """Where it stands, for messages: file:line:column."""


@dataclass(frozen=True, slots=True)
class DynamicBatching:
    """How requests are put together."""

    preferred_sizes: tuple[int, ...] = ()
    """Rows of a run that is started at once; empty for the largest that is allowed."""
    longest_delay_s: float = 0.0
    """How long the oldest request of a smaller batch waits for more, while others are on their way."""
    preserve_ordering: bool = False
    """Whether answers come in the order of requests, of one level."""


class ControlKind(StrEnum):
    """What a control input of a model with sequences is told."""

    START = "start"
    END = "end"
    READY = "ready"
    ID = "id"


@dataclass(frozen=True, slots=True)
class ControlInput:
    """An input that is filled by us: not part of what clients send."""

    name: str
    kind: ControlKind
    datatype: str
    """KServe name."""
    off: float = 0.0
    """Its value when the control does not hold; unused for ID."""
    on: float = 1.0
    place: str = field(default="", compare=False)
    """Where it stands, for messages: file:line:column."""


@dataclass(frozen=True, slots=True)
class StateDefinition:
    """State that a model gives at the end of a call and takes at the beginning of the next one of its sequence."""

    input: str
    output: str
    datatype: str
    shape: tuple[int, ...]
    """Without the batch dimension where `max_batch_size` is set; -1 is 1 at the beginning."""
    initial: Array | None = None
    """What a sequence begins with; None for zeros."""
    place: str = field(default="", compare=False)
    """Where it stands, for messages: file:line:column."""


@dataclass(frozen=True, slots=True)
class Sequences:
    """How a model keeps state between calls."""

    states: tuple[StateDefinition, ...] = ()
    controls: tuple[ControlInput, ...] = ()
    longest_idle_s: float = 1.0
    """After so long without a call a sequence is forgotten."""
    most: int = 4096
    """Most sequences at once; more are refused."""


@dataclass(frozen=True, slots=True)
class Instances:
    """Processes that serve a model together."""

    count: int = 1
    kind: str = "auto"
    """auto, cpu or gpu."""
    gpus: tuple[int, ...] = ()
    """Devices, each of which gets `count` processes; empty for the first."""


@dataclass(frozen=True, slots=True)
class WarmupSample:
    """Made-up input that a model runs before it is ready."""

    name: str
    inputs: Mapping[str, Array]
    """With the batch dimension."""
    count: int = 1
    place: str = field(default="", compare=False)
    """Where it stands, for messages: file:line:column."""


@dataclass(frozen=True, slots=True)
class EnsembleStep:
    """One model of an ensemble: its inputs and outputs are tensors of the ensemble."""

    model: str
    version: int
    """0 for the latest."""
    inputs: Mapping[str, str]
    """Input of the model -> tensor of the ensemble."""
    outputs: Mapping[str, str]
    """Output of the model -> tensor of the ensemble."""
    place: str = field(default="", compare=False)
    """Where it stands, for messages: file:line:column."""


@dataclass(frozen=True, slots=True)
class ModelDefinition:
    """A model as its folder describes it."""

    name: str = ""
    max_batch_size: int = 0
    """0: shapes are complete. 1 or more: shapes leave the batch dimension out."""
    declared: bool = False
    """Whether there is a configuration: what it does not say is not batched then, as in Triton; without one the
    engine finds out by itself."""
    inputs: tuple[InputDefinition, ...] = ()
    """Empty for what the model itself says."""
    outputs: tuple[OutputDefinition, ...] = ()
    batching: DynamicBatching | None = None
    """None: requests do not share runs (with a configuration), or as the engine finds (without)."""
    sequences: Sequences | None = None
    instances: tuple[Instances, ...] = (Instances(),)
    versions: VersionPolicy = VersionPolicy()
    warmup: tuple[WarmupSample, ...] = ()
    ensemble: tuple[EnsembleStep, ...] = ()
    """In an order in which each step's inputs are there; empty for a model of its own."""
    file: str = "model.onnx"
    """The model's file inside the version's folder."""
