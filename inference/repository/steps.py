"""The steps of an ensemble in an order in which they can run."""

from collections.abc import Sequence
from typing import Final

from inference.repository.configuration import Configuration, Report
from inference.repository.definition import EnsembleStep, InputDefinition, OutputDefinition
from inference.repository.naming import NAME
from inference.repository.outline import FieldPath

MAX_STEPS: Final = 256


def steps_of(
    configuration: Configuration,
    inputs: Sequence[InputDefinition],
    outputs: Sequence[OutputDefinition],
    report: Report,
) -> tuple[EnsembleStep, ...]:
    """Return the steps that lead to an output, each after those whose tensors it takes.

    Raises ModelUnusable with the place: a tensor that nothing or that two steps make, a circle, an output that no step
    makes. Whether types and shapes agree shows when the models are loaded.
    """
    at: FieldPath = ("ensemble_scheduling",)
    if not (inputs and outputs):
        raise configuration.fault(at, "an ensemble declares its inputs and outputs")
    if len(configuration.message.ensemble_scheduling.step) > MAX_STEPS:
        raise configuration.fault((*at, "step", MAX_STEPS), f"an ensemble has {MAX_STEPS} steps at most")
    steps = [
        _step(configuration, (*at, "step", index))
        for index in range(len(configuration.message.ensemble_scheduling.step))
    ]
    given = {one.signature.name for one in inputs}
    made = {tensor for step in steps for tensor in step.outputs.values()}
    seen = set(given)
    for index, step in enumerate(steps):
        place = (*at, "step", index)
        for name, tensor in step.outputs.items():
            if tensor in seen:
                entry = configuration.outline.entry((*place, "output_map"), name)
                raise configuration.fault(entry, f"tensor {tensor!r} is made twice")
            seen.add(tensor)
        for name, tensor in step.inputs.items():
            if tensor not in given and tensor not in made:
                entry = configuration.outline.entry((*place, "input_map"), name)
                raise configuration.fault(entry, f"nothing makes tensor {tensor!r}")
    for index, one in enumerate(outputs):
        if one.signature.name not in made:
            raise configuration.fault(("output", index, "name"), f"no step makes {one.signature.name!r}")
    ordered = _ordered(configuration, at, steps, given)
    return _needed(ordered, inputs, outputs, report)


def _step(configuration: Configuration, at: FieldPath) -> EnsembleStep:
    step = configuration.message.ensemble_scheduling.step[int(at[-1])]
    if not step.model_name:
        raise configuration.fault(at, "a step has no model_name")
    if not NAME.fullmatch(step.model_name):
        raise configuration.fault((*at, "model_name"), f"{step.model_name!r} is not the name of a model")
    if step.model_name == configuration.file.parent.name:
        raise configuration.fault((*at, "model_name"), "an ensemble cannot be a step of itself")
    if step.model_version < -1:
        raise configuration.fault((*at, "model_version"), "a version is 1 or more, or -1 for the highest")
    for field, names in (("input_map", step.input_map), ("output_map", step.output_map)):
        if not names:
            raise configuration.fault(at, f"step {step.model_name!r} has no {field}")
        if not all(names.values()):
            raise configuration.fault((*at, field), f"an entry of {field} names no tensor")
    return EnsembleStep(
        step.model_name,
        max(step.model_version, 0),
        # Maps of Protobuf have no order: of several faults always the same is to be told.
        dict(sorted(step.input_map.items())),
        dict(sorted(step.output_map.items())),
        place=configuration.at(at),
    )


def _ordered(
    configuration: Configuration, at: FieldPath, steps: Sequence[EnsembleStep], given: set[str]
) -> list[EnsembleStep]:
    """Sort by need; steps that need nothing of each other stay as they are."""
    left = list(steps)
    there = set(given)
    ordered: list[EnsembleStep] = []
    while left:
        ready = [step for step in left if there.issuperset(step.inputs.values())]
        if not ready:
            names = ", ".join(step.model for step in left)
            raise configuration.fault(
                (*at, "step", steps.index(left[0])), f"steps wait for each other in a circle: {names}"
            )
        ordered += ready
        there.update(tensor for step in ready for tensor in step.outputs.values())
        left = [step for step in left if step not in ready]
    return ordered


def _needed(
    ordered: Sequence[EnsembleStep],
    inputs: Sequence[InputDefinition],
    outputs: Sequence[OutputDefinition],
    report: Report,
) -> tuple[EnsembleStep, ...]:
    """Leave out what leads to no output, and tell of it."""
    wanted = {one.signature.name for one in outputs}
    needed: list[EnsembleStep] = []
    for step in reversed(ordered):
        if wanted.isdisjoint(step.outputs.values()):
            report(f"{step.place}: the step {step.model!r} leads to no output and is left out")
        else:
            needed.append(step)
            wanted.update(step.inputs.values())
    for one in inputs:
        if one.signature.name not in wanted:
            report(f"{one.place}: input {one.signature.name!r} is used by no step")
    return tuple(reversed(needed))
