"""What the configuration of a model changes about the settings of its engine."""

from dataclasses import replace
from typing import Final

from inference.repository.configuration import Configuration, Report
from inference.repository.outline import FieldPath
from inference.settings import EngineSettings

THREADS: Final = "intra_op_thread_count"
GPU_MEMORY: Final = "gpu_mem_limit"
"""Parameters with a number, as ONNX Runtime's backend in Triton calls them."""

_AS_IT_IS: Final = {"execution_mode": ("0",), "inter_op_thread_count": ("0", "1")}
"""Parameters whose other values have no effect: operators run one after the other."""
_ACCELERATORS: Final[FieldPath] = ("optimization", "execution_accelerators")


def check_parameters(configuration: Configuration, report: Report) -> None:
    """Name the parameters that have no effect. Raises ModelUnusable with the place of a value that is not one."""
    for name, value in sorted(configuration.message.parameters.items()):
        at = configuration.outline.entry(("parameters",), name)
        given = value.string_value
        if name in (THREADS, GPU_MEMORY):
            if not (given.isascii() and given.isdecimal() and len(given) < 19):
                raise configuration.fault(at, f"{name} is a whole number from 0 on, not {given!r}")
        elif name not in _AS_IT_IS:
            report(f"{configuration.at(at)}: the parameter {name!r} is not known and has no effect")
        elif given not in _AS_IT_IS[name]:
            report(f"{configuration.at(at)}: {name} {given!r} is not supported and has no effect")


def tuned(settings: EngineSettings, configuration: Configuration | None, report: Report) -> EngineSettings:
    """Return the settings with which a model is opened whose parameters were checked; `report` hears of accelerators
    that have no effect.
    """
    if configuration is None:
        return settings
    message = configuration.message
    given = {name: value.string_value for name, value in message.parameters.items()}
    if THREADS in given:
        settings = replace(settings, threads=int(given[THREADS]))
    if GPU_MEMORY in given:
        settings = replace(settings, gpu_memory_bytes=int(given[GPU_MEMORY]))
    groups = message.instance_group
    if groups and all(group.kind == group.KIND_CPU for group in groups):
        settings = replace(settings, providers=("cpu",), gpu_only=False)
    if groups and all(group.kind == group.KIND_GPU for group in groups):
        settings = replace(settings, gpu_only=True)
    return _accelerated(settings, configuration, report)


def gpu_place(configuration: Configuration | None) -> str:
    """Return where a configuration says that only GPUs may run the model; empty where it does not."""
    if configuration is None:
        return ""
    for index, group in enumerate(configuration.message.instance_group):
        if group.kind == group.KIND_GPU:
            return configuration.at(("instance_group", index, "kind"))
    return ""


def _accelerated(settings: EngineSettings, configuration: Configuration, report: Report) -> EngineSettings:
    accelerators = configuration.message.optimization.execution_accelerators
    for index, one in enumerate(accelerators.gpu_execution_accelerator):
        at = (*_ACCELERATORS, "gpu_execution_accelerator", index)
        if one.name != "tensorrt" or "tensorrt" not in settings.providers:
            cause = "not one of the providers in use" if one.name == "tensorrt" else "not supported"
            report(f"{configuration.at(at)}: the accelerator {one.name!r} is {cause} and has no effect")
            continue
        for name, value in one.parameters.items():
            if name == "precision_mode" and value in ("FP16", "FP32"):
                settings = replace(settings, tensorrt_fp16=value == "FP16")
            else:
                report(
                    f"{configuration.at(at)}: {name} {value!r} of TensorRT is not supported and has no effect"
                )
    for index, one in enumerate(accelerators.cpu_execution_accelerator):
        at = (*_ACCELERATORS, "cpu_execution_accelerator", index)
        report(f"{configuration.at(at)}: the accelerator {one.name!r} is not supported and has no effect")
    return settings
