"""Which step of an ensemble takes and makes which tensor, checked against the models themselves."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from inference.engine import Signature, WantedOutput
from inference.ensemble.members import Member
from inference.repository.definition import EnsembleStep, ModelDefinition
from inference.tensor.interface import InputPort, Interface, OutputPort
from inference.tensor.shapes import fits
from inference.tensor.validation import describe
from scheduler.errors import ModelUnusable


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """One step with its model."""

    index: int
    member: Member
    inputs: Mapping[str, str]
    """Input of the model -> tensor."""
    outputs: Mapping[str, str]
    """Output of the model -> tensor."""
    first: bool
    """Whether all that it takes comes from the client."""

    @property
    def takes(self) -> frozenset[str]:
        """Tensors that it needs."""
        return frozenset(self.inputs.values())


@dataclass(frozen=True, slots=True)
class Route:
    """What has to run for certain outputs."""

    stages: tuple[Stage, ...]
    takers: Mapping[str, Sequence[Stage]]
    """By tensor."""
    uses: Mapping[str, int]
    """How often a tensor is needed, the answer included."""
    wants: Mapping[int, tuple[WantedOutput, ...]]
    """By the index of a stage: which outputs of its model anyone needs; empty for all."""
    needs: Mapping[int, int]
    """By the index of a stage: how many tensors it needs."""


class Plan:
    """The steps of one ensemble, in an order in which they can run."""

    def __init__(self, definition: ModelDefinition, members: Sequence[Member]) -> None:
        """`members` are those of the steps. Raises ModelUnusable with the place where types or shapes do not agree."""
        given = {each.signature.name for each in definition.inputs}
        self.stages = tuple(
            Stage(index, member, step.inputs, step.outputs, given.issuperset(step.inputs.values()))
            for index, (step, member) in enumerate(zip(definition.ensemble, members, strict=True))
        )
        self.interface = _interface(definition, self.stages)
        _check(definition, self.stages, self.interface)

    def route(self, outputs: Iterable[str], *, whole: bool) -> Route:
        """Return what leads to some outputs; with `whole` every step runs whatever is wanted."""
        wanted = set(outputs)
        answer = tuple(wanted)
        chosen: list[Stage] = []
        for stage in reversed(self.stages):
            if whole or not wanted.isdisjoint(stage.outputs.values()):
                chosen.append(stage)
                wanted |= stage.takes
        chosen.reverse()
        takers: dict[str, list[Stage]] = {}
        for stage in chosen:
            for tensor in stage.takes:
                takers.setdefault(tensor, []).append(stage)
        uses = Counter(answer)
        uses.update({tensor: len(stages) for tensor, stages in takers.items()})
        wants = {stage.index: _wanted(stage, uses) for stage in chosen}
        needs = {stage.index: len(stage.takes) for stage in chosen}
        return Route(tuple(chosen), takers, uses, wants, needs)


def _wanted(stage: Stage, uses: Mapping[str, int]) -> tuple[WantedOutput, ...]:
    names = tuple(WantedOutput(name) for name, tensor in stage.outputs.items() if tensor in uses)
    return () if len(names) == len(stage.member.outputs) else names


def _interface(definition: ModelDefinition, stages: Sequence[Stage]) -> Interface:
    """Return how clients see the ensemble; labels that it does not have are those of the model that makes an output."""
    front = (-1,) if definition.max_batch_size else ()
    makers = {tensor: (stage, name) for stage in stages for name, tensor in stage.outputs.items()}
    inputs, outputs = [], []
    for given in definition.inputs:
        own = None if given.reshape is None else (*front, *given.reshape)
        inputs.append(InputPort(_whole(given.signature, front), own, given.optional))
    for made in definition.outputs:
        own = None if made.reshape is None else (*front, *made.reshape)
        stage, name = makers[made.signature.name]
        labels = made.labels or stage.member.labels(name)
        outputs.append(OutputPort(_whole(made.signature, front), own, labels))
    return Interface(tuple(inputs), tuple(outputs), definition.max_batch_size)


def _check(definition: ModelDefinition, stages: Sequence[Stage], interface: Interface) -> None:
    known = {
        port.signature.name: port.signature if port.own is None else _shaped(port.signature, port.own)
        for port in interface.inputs
    }
    optional = {port.signature.name for port in interface.inputs if port.optional}
    for stage, step in zip(stages, definition.ensemble, strict=True):
        _check_step(step, stage.member, definition.max_batch_size)
        for name, tensor in step.inputs.items():
            if not _agree(known[tensor], takes := stage.member.inputs[name]):
                raise ModelUnusable(
                    f"{step.place}: input {name!r} of {step.model} is {describe(takes)}, "
                    f"but tensor {tensor!r} is {describe(known[tensor])}"
                )
            if tensor in optional and name not in stage.member.optional:
                raise ModelUnusable(
                    f"{step.place}: input {name!r} of {step.model} is needed, but {tensor!r} may be left out"
                )
        for name, tensor in step.outputs.items():
            known[tensor] = stage.member.outputs[name]
    for declared, port in zip(definition.outputs, interface.outputs, strict=True):
        gives = port.signature if port.own is None else _shaped(port.signature, port.own)
        if not _agree(made := known[gives.name], gives):
            raise ModelUnusable(
                f"{declared.place}: output {gives.name!r} is said to be {describe(gives)}, "
                f"but it is made as {describe(made)}"
            )


def _check_step(step: EnsembleStep, member: Member, rows: int) -> None:
    """See that the model has what the step names, and takes as many rows."""
    for kind, names, has in (("input", step.inputs, member.inputs), ("output", step.outputs, member.outputs)):
        for name in names:
            if name not in has:
                raise ModelUnusable(
                    f"{step.place}: {step.model} has no {kind} {name!r}; it has {', '.join(has)}"
                )
    for name in member.inputs:
        if name not in step.inputs and name not in member.optional:
            raise ModelUnusable(f"{step.place}: input {name!r} of {step.model} is missing")
    most = member.engine.card.max_batch_size
    if most and rows > most:
        raise ModelUnusable(
            f"{step.place}: {step.model} takes {most} rows at most, but the ensemble's max_batch_size is {rows}"
        )


def _agree(made: Signature, taken: Signature) -> bool:
    return made.datatype == taken.datatype and fits(made.shape, taken.shape)


def _whole(signature: Signature, front: tuple[int, ...]) -> Signature:
    return _shaped(signature, (*front, *signature.shape))


def _shaped(signature: Signature, shape: tuple[int, ...]) -> Signature:
    return Signature(signature.name, signature.datatype, shape)
