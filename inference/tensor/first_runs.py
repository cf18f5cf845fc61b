"""The first runs of a loaded model, before it serves: the samples of its configuration, or made-up input. They pay for
what only first runs cost, and tell how long a run takes.
"""

from collections.abc import Callable, Sequence

from inference.engine import Array, SequencePlace, TensorRequest
from inference.providers import PROVIDERS
from inference.repository.definition import WarmupSample
from inference.tensor.batching import Item
from inference.tensor.opening import Parts
from inference.tensor.warming import run_sample, shortest

Feeds = Callable[[Sequence[Item]], dict[str, Array]]
"""Makes the model's inputs from those of requests."""


def warm_up(parts: Parts, feeds: Feeds) -> None:
    """Run the samples of the configuration; without any, made-up input: one row, and on TensorRT the largest batch too,
    which fixes its range of shapes. A model that takes none of the made-up shapes is left cold.

    Raises ModelUnusable when a sample does not run.
    """
    if samples := parts.definition.warmup:
        for sample in samples:
            run_sample(sample, lambda one: _run(one, parts, feeds))
        return
    if parts.requests.share and parts.card.provider == PROVIDERS["tensorrt"]:
        parts.warming.run_rows(parts.pace.rows)
    seconds = parts.warming.run_rows(1)
    if seconds is not None:
        parts.pace.ran(1, seconds, full=True)


def _run(sample: WarmupSample, parts: Parts, feeds: Feeds) -> None:
    """Run a sample of the configuration as if a client had sent it."""
    place = None if parts.sequences is None else SequencePlace("0", start=True, end=True)
    item = parts.requests.read(sample.name, TensorRequest(sample.inputs, sequence=place), 0.0)
    names = parts.answers.names([item])
    arrays = feeds([item])
    seconds = shortest(lambda: parts.model.run(names, arrays), max(1, sample.count))
    parts.pace.ran(item.layout.rows, seconds, full=True)
