"""From a file and its configuration to everything that an engine is made of."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from inference.artifacts import digest, inspect
from inference.engine import EngineKind, ModelCard, Signature
from inference.repository.definition import ModelDefinition
from inference.settings import EngineSettings
from inference.tensor.answers import Answers
from inference.tensor.batcher import Batcher
from inference.tensor.fitting import interface_of
from inference.tensor.interface import InputPort
from inference.tensor.model import Model
from inference.tensor.pace import Pace
from inference.tensor.requests import Requests
from inference.tensor.sequences import SequenceTable
from inference.tensor.state import States
from inference.tensor.warming import Warming


@dataclass(frozen=True, slots=True)
class Parts:
    """One loaded model, and what knows how to serve it."""

    card: ModelCard
    definition: ModelDefinition
    model: Model
    warming: Warming
    pace: Pace
    requests: Requests
    answers: Answers
    batcher: Batcher
    ragged: tuple[InputPort, ...] = ()
    sequences: SequenceTable | None = None


def open_parts(
    path: Path,
    settings: EngineSettings,
    report: Callable[[str], None],
    definition: ModelDefinition,
    clock: Callable[[], float] = time.monotonic,
) -> Parts:
    """Load a model. Raises ModelUnusable with the file and the cause, RuntimeMissing."""
    artifact = inspect(path)
    size = sum(file.stat().st_size for file in artifact.files)
    report(f"loading {artifact.model.name}, {_size(size)}")
    model = Model.open(artifact.model, settings, report)
    interface = interface_of(model, definition, report)
    most = definition.max_batch_size
    states = table = None
    if definition.sequences is not None:
        states = States(model, definition.sequences, batched=most > 0)
        table = SequenceTable(definition.sequences, states, clock)
    warming = Warming(model)
    requests = Requests(interface, states)
    if definition.declared:
        requests.share = most > 1 and (definition.batching is not None or states is not None)
    else:
        requests.share = warming.independent(settings.batching, report)
    if not requests.share:
        report("requests run one by one")
    card = ModelCard(
        kind=EngineKind.TENSOR,
        digest=digest(artifact, settings.cache),
        provider=model.provider,
        inputs=tuple(_seen(port.signature, most) for port in interface.inputs),
        outputs=tuple(_seen(port.signature, most) for port in interface.outputs),
        max_batch_size=most,
        stateful=states is not None,
    )
    return Parts(
        card,
        definition,
        model,
        warming,
        Pace(settings.batch_time_s, most or settings.max_batch, settings.capacity),
        requests,
        Answers(interface, states.outputs if states else (), rows=most > 0 if definition.declared else None),
        Batcher(definition.batching),
        tuple(port for port in interface.inputs if port.ragged),
        table,
    )


def _seen(signature: Signature, most: int) -> Signature:
    """Return a signature as the card tells it: without the batch dimension where that is declared."""
    return Signature(signature.name, signature.datatype, signature.shape[1:]) if most else signature


def _size(size: int) -> str:
    """Write a number of bytes in the unit that suits it."""
    for unit, bytes_ in (("MB", 10**6), ("kB", 10**3)):
        if size >= bytes_:
            return f"{size / bytes_:.1f} {unit}"
    return f"{size} bytes"
