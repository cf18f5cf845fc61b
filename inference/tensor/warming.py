"""What a model runs before it serves: samples of its configuration, or made-up input, and a trial whether rows are
independent.
"""

import time
from collections.abc import Callable, Mapping, Sequence

from inference.engine import Array
from inference.model_errors import failure_of
from inference.repository.definition import WarmupSample
from inference.tensor.batching import can_share
from inference.tensor.model import Model
from inference.tensor.trial import Filling, made_up, rows_are_independent, runnable
from scheduler.errors import InvalidInput, ModelUnusable

TRIES = 3
"""Runs of which the shortest counts as what the model takes."""


class Warming:
    """Runs a model on what no client sent."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._outputs = [signature.name for signature in model.outputs]
        self._filling: Filling | None = None

    def independent(self, batching: str, report: Callable[[str], None]) -> bool:
        """Tell whether requests may share runs: batch only what is known to be the same alone and together, unless
        the setting, auto, always or never, says otherwise.

        Raises ModelUnusable for another one.
        """
        if batching not in ("auto", "always", "never"):
            raise ModelUnusable(f"batching is {batching!r}: expected auto, always or never")
        possible = can_share(self._model.inputs, self._model.outputs)
        if not possible or batching != "auto":
            return possible and batching == "always"
        report("trying whether rows are independent")
        self._filling = runnable(self._model.inputs, self._run)
        return self._filling is not None and rows_are_independent(
            self._model.inputs, self._model.outputs, self._run, self._filling
        )

    def run_rows(self, rows: int) -> float | None:
        """Run made-up input of so many rows; return the seconds of the shortest of some runs.

        None for a model that takes none of the shapes tried: it is left cold.
        """
        if self._filling is None:
            self._filling = runnable(self._model.inputs, self._run)
        if self._filling is None:
            return None
        inputs = made_up(self._model.inputs, rows, self._filling)
        return shortest(lambda: self._run(inputs))

    def _run(self, inputs: Mapping[str, Array]) -> Sequence[Array]:
        return self._model.run(self._outputs, inputs)


def shortest(run: Callable[[], object], tries: int = TRIES) -> float:
    """Call a function some times; return the seconds of the shortest time."""
    seconds = []
    for _ in range(tries):
        started_s = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started_s)
    return min(seconds)


def run_sample(sample: WarmupSample, run: Callable[[WarmupSample], None]) -> None:
    """Run a sample of a configuration. Raises ModelUnusable, with its place, when it does not fit or fails."""
    place = f"{sample.place}: " if sample.place else ""
    try:
        run(sample)
    except InvalidInput as error:
        raise ModelUnusable(f"{place}warm-up sample {sample.name!r}: {error}")
    except Exception as error:  # whatever the provider raises
        raise ModelUnusable(f"{place}warm-up sample {sample.name!r}: {failure_of(error)}")
