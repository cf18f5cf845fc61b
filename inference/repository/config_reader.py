"""From `config.pbtxt` to a ModelDefinition: what is wrong refuses the model, what has no effect is told.

Every fault names file, line and column. What only the model itself knows (whether it has such inputs) is for the
engine that loads it.
"""

from typing import Final

from forebay.compat.kserve import model_config_pb2 as pb
from inference.artifacts import location_fault
from inference.engine import Array
from inference.repository.configuration import Configuration, Report
from inference.repository.data_files import Unreadable
from inference.repository.definition import (
    Instances,
    ModelDefinition,
    VersionChoice,
    VersionPolicy,
    WarmupSample,
)
from inference.repository.made_data import from_file, random_values, zeros
from inference.repository.outline import FieldPath
from inference.repository.sequences import batching_of, sequences_of
from inference.repository.steps import steps_of
from inference.repository.tensors import datatype_of, dims_of, inputs_of, outputs_of
from inference.repository.tuning import check_parameters

WARMUP_FOLDER: Final = "warmup"
MAX_BATCH_SIZE: Final = 65_536
MAX_INSTANCES: Final = 64
"""Processes of one model on one host."""

PLATFORMS: Final = ("", "onnxruntime_onnx")
ENSEMBLE: Final = "ensemble"
BACKENDS: Final = ("", "onnxruntime")

_KINDS: Final = {
    pb.ModelInstanceGroup.KIND_AUTO: "auto",
    pb.ModelInstanceGroup.KIND_GPU: "gpu",
    pb.ModelInstanceGroup.KIND_CPU: "cpu",
    pb.ModelInstanceGroup.KIND_MODEL: "auto",
}


def define(configuration: Configuration, report: Report, *, data: bool = True) -> ModelDefinition:
    """Return what a configuration means. Without `data` warm-up input and initial states are left out, and their files
    unread.

    Raises ModelUnusable with file, line and column.
    """
    message = configuration.message
    folder = configuration.file.parent.name
    if message.name not in ("", folder):
        raise configuration.fault(
            ("name",), f"the name {message.name!r} is not that of the folder, {folder!r}"
        )
    _check_backend(configuration, report)
    check_parameters(configuration, report)
    if not 0 <= message.max_batch_size <= MAX_BATCH_SIZE:
        raise configuration.fault(
            ("max_batch_size",), f"expected 0 to {MAX_BATCH_SIZE}, not {message.max_batch_size}"
        )
    filename = message.default_model_filename or ModelDefinition().file
    fault = location_fault(filename) or ("" if filename.endswith(".onnx") else "not an .onnx file")
    if fault:
        raise configuration.fault(("default_model_filename",), f"{filename!r}: {fault}")
    inputs, outputs = inputs_of(configuration, report), outputs_of(configuration)
    is_ensemble = message.WhichOneof("scheduling_choice") == "ensemble_scheduling"
    return ModelDefinition(
        name=folder,
        max_batch_size=message.max_batch_size,
        declared=True,
        inputs=inputs,
        outputs=outputs,
        batching=batching_of(configuration, report),
        sequences=sequences_of(configuration, data=data),
        instances=_instances(configuration, report),
        versions=_versions(configuration),
        warmup=_warmup(configuration) if data else (),
        ensemble=steps_of(configuration, inputs, outputs, report) if is_ensemble else (),
        file=filename,
    )


def _check_backend(configuration: Configuration, report: Report) -> None:
    message = configuration.message
    is_ensemble = message.WhichOneof("scheduling_choice") == "ensemble_scheduling"
    if is_ensemble and message.platform not in ("", ENSEMBLE):
        raise configuration.fault(
            ("platform",), f"a model with ensemble_scheduling has the platform {ENSEMBLE!r}"
        )
    if message.platform == ENSEMBLE and not is_ensemble:
        raise configuration.fault(("platform",), "an ensemble needs ensemble_scheduling")
    if not is_ensemble and message.platform not in PLATFORMS:
        raise configuration.fault(
            ("platform",), f"platform {message.platform!r} is not supported; expected {PLATFORMS[-1]!r}"
        )
    if message.backend not in BACKENDS:
        raise configuration.fault(
            ("backend",), f"backend {message.backend!r} is not supported; expected {BACKENDS[-1]!r}"
        )
    if message.runtime:
        report(f"{configuration.at(('runtime',))}: runtime has no effect")
    if message.model_transaction_policy.decoupled:
        where = configuration.at(("model_transaction_policy", "decoupled"))
        report(
            f"{where}: decoupled has no effect: whether a model gives many answers is found from the model"
        )


def _versions(configuration: Configuration) -> VersionPolicy:
    policy = configuration.message.version_policy
    match policy.WhichOneof("policy_choice"):
        case "all":
            return VersionPolicy(VersionChoice.ALL)
        case "specific":
            at: FieldPath = ("version_policy", "specific")
            if not policy.specific.versions:
                raise configuration.fault(at, "specific names no versions")
            for index, version in enumerate(policy.specific.versions):
                if version < 1:
                    raise configuration.fault(
                        (*at, "versions", index), f"a version is 1 or more, not {version}"
                    )
            return VersionPolicy(
                VersionChoice.SPECIFIC, versions=tuple(sorted(set(policy.specific.versions)))
            )
        case "latest":
            return VersionPolicy(VersionChoice.LATEST, policy.latest.num_versions or 1)
        case _:
            return VersionPolicy()


def _instances(configuration: Configuration, report: Report) -> tuple[Instances, ...]:
    groups: list[Instances] = []
    for index, group in enumerate(configuration.message.instance_group):
        at: FieldPath = ("instance_group", index)
        if group.kind == pb.ModelInstanceGroup.KIND_MODEL:
            report(f"{configuration.at((*at, 'kind'))}: KIND_MODEL is not supported: taken as KIND_AUTO")
        if group.count < 0:
            raise configuration.fault((*at, "count"), f"a count is 1 or more, not {group.count}")
        if group.gpus and group.kind == pb.ModelInstanceGroup.KIND_CPU:
            raise configuration.fault((*at, "gpus"), "KIND_CPU has no gpus")
        for place, gpu in enumerate(group.gpus):
            if gpu < 0:
                raise configuration.fault((*at, "gpus", place), f"a GPU has a number from 0 on, not {gpu}")
        groups.append(Instances(group.count or 1, _KINDS[group.kind], tuple(sorted(set(group.gpus)))))
    if sum(group.count * max(1, len(group.gpus)) for group in groups) > MAX_INSTANCES:
        raise configuration.fault(("instance_group",), f"a model has {MAX_INSTANCES} instances at most")
    return tuple(groups) or (Instances(),)


def _warmup(configuration: Configuration) -> tuple[WarmupSample, ...]:
    samples = []
    for index, sample in enumerate(configuration.message.model_warmup):
        at: FieldPath = ("model_warmup", index)
        most = configuration.message.max_batch_size
        if sample.batch_size > most:
            raise configuration.fault(
                (*at, "batch_size"), f"{sample.batch_size} is more than max_batch_size {most}"
            )
        if not sample.inputs:
            raise configuration.fault(at, "a sample of warm-up input has no inputs")
        rows = max(1, sample.batch_size) if most else 0
        arrays = {
            name: _made(configuration, at, name, sample.inputs[name], rows) for name in sorted(sample.inputs)
        }
        samples.append(WarmupSample(sample.name, arrays, sample.count or 1, place=configuration.at(at)))
    return tuple(samples)


def _made(
    configuration: Configuration, at: FieldPath, name: str, one: pb.ModelWarmup.Input, rows: int
) -> Array:
    """Make one input of a sample. `rows` is 0 where there is no batch dimension; a file may hold one row for all."""
    at = configuration.outline.entry((*at, "inputs"), name)
    datatype = datatype_of(configuration, at, one.data_type)
    dims = dims_of(configuration, at, one.dims, free=False)
    shape = (rows, *dims) if rows else dims
    try:
        match one.WhichOneof("input_data_type"):
            case "zero_data":
                return zeros(datatype, shape)
            case "random_data":
                return random_values(datatype, shape)
            case "input_data_file":
                return from_file(
                    configuration.file.parent / WARMUP_FOLDER,
                    one.input_data_file,
                    datatype,
                    shape,
                    one_row=rows > 1,
                )
            case _:
                raise configuration.fault(at, f"{name!r} needs zero_data, random_data or input_data_file")
    except Unreadable as error:
        raise configuration.fault(at, f"{name!r} cannot be made from {error}")
