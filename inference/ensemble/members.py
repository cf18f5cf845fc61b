"""The models that an ensemble is made of, opened from the folders beside its own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from inference.engine import Engine, EngineKind, Interruptible, Signature
from inference.repository.configuration import Report
from inference.repository.definition import EnsembleStep
from inference.repository.folder import ModelFolder, read_folder
from scheduler.errors import ModelUnusable

MAX_NESTED: Final = 8
"""Ensembles inside ensembles."""

Load = Callable[[Path, int, Report, tuple[str, ...]], Engine]
"""Opens the model at a path in a version; the names are those of the ensembles that it is opened for."""


@dataclass(frozen=True, slots=True)
class Member:
    """One model of an ensemble. Several steps can share it."""

    name: str
    engine: Engine
    folder: ModelFolder

    @property
    def interruptible(self) -> Interruptible | None:
        """The engine where a run of it can be stopped."""
        return self.engine if isinstance(self.engine, Interruptible) else None

    @property
    def inputs(self) -> Mapping[str, Signature]:
        """What it takes, by name, with the batch dimension."""
        return {each.name: self._whole(each) for each in self.engine.card.inputs}

    @property
    def outputs(self) -> Mapping[str, Signature]:
        """What it gives, by name, with the batch dimension."""
        return {each.name: self._whole(each) for each in self.engine.card.outputs}

    @property
    def optional(self) -> frozenset[str]:
        """Inputs that may be left out."""
        return frozenset(each.signature.name for each in self.folder.definition.inputs if each.optional)

    def labels(self, output: str) -> tuple[str, ...]:
        """Return the labels of an output."""
        for each in self.folder.definition.outputs:
            if each.signature.name == output:
                return each.labels
        return ()

    def _whole(self, signature: Signature) -> Signature:
        if not self.engine.card.max_batch_size:
            return signature
        return Signature(signature.name, signature.datatype, (-1, *signature.shape))


def open_members(
    folder: ModelFolder, load: Load, report: Report, inside: tuple[str, ...]
) -> Sequence[Member]:
    """Open the model of each step of an ensemble; return them in the order of the steps.

    `inside` names the ensembles that this one is opened for. Raises ModelUnusable with the place of the step: no such
    model, one that cannot be opened, one that does not take tensors, or a circle. Nothing stays open then.
    """
    if len(inside) >= MAX_NESTED:
        raise ModelUnusable(f"{folder.path}: ensembles are nested more than {MAX_NESTED} deep")
    inside = (*inside, folder.name)
    found: dict[tuple[str, int], Member] = {}
    try:
        for step in folder.definition.ensemble:
            key = (step.model, step.version)
            if key not in found:
                found[key] = _open(folder, step, load, report, inside)
    except BaseException:
        for member in found.values():
            member.engine.close()
        raise
    return [found[step.model, step.version] for step in folder.definition.ensemble]


def _open(
    folder: ModelFolder, step: EnsembleStep, load: Load, report: Report, inside: tuple[str, ...]
) -> Member:
    if step.model in inside:
        raise ModelUnusable(
            f"{step.place}: ensembles are made of each other: {' -> '.join(inside)} -> {step.model}"
        )
    path = folder.path.parent / step.model
    if not path.exists():
        path = path.with_name(f"{step.model}.onnx")
    if not path.exists():
        raise ModelUnusable(f"{step.place}: there is no model {step.model!r} beside the ensemble")
    try:
        member = read_folder(path, lambda _: None, data=False)
        engine = load(path, step.version, report, inside)
    except ModelUnusable as error:
        raise ModelUnusable(f"{step.place}: {step.model}: {error}")
    if engine.card.kind is not EngineKind.TENSOR:
        engine.close()
        raise ModelUnusable(f"{step.place}: {step.model} is no model that takes and gives tensors")
    return Member(step.model, engine, member)
