"""What ONNX Runtime's GPU providers are told: the device, its memory, and the shapes that TensorRT builds for."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

Options = dict[str, str]


@dataclass(frozen=True, slots=True)
class ShapeRange:
    """The shapes that an input takes: every size lies between the least and the most."""

    least: tuple[int, ...]
    usual: tuple[int, ...]
    """What engines are tuned for."""
    most: tuple[int, ...]


Shapes = Mapping[str, ShapeRange]
"""By name of an input."""


def cuda_options(device: int, memory_bytes: int) -> Options:
    """Options of the CUDA provider: its arena grows by what is asked for, up to a limit (0: none).

    Norms add up in float32 also where the model is in float16, as they do on the CPU.
    """
    options = {
        "device_id": str(device),
        "arena_extend_strategy": "kSameAsRequested",
        "enable_skip_layer_norm_strict_mode": "1",
    }
    if memory_bytes:
        options["gpu_mem_limit"] = str(memory_bytes)
    return options


def tensorrt_options(device: int, cache: Path | None, *, fp16: bool, shapes: Shapes | None = None) -> Options:
    """Options of the TensorRT provider: engines take minutes to build, so a folder keeps them.

    With `shapes`, an engine is built for the whole range at once; without, whenever an input comes in a size beyond
    those that came before.
    """
    options = {"device_id": str(device), "trt_fp16_enable": str(fp16)}
    if cache is not None:
        folder = str(cache / "tensorrt")
        options |= {
            "trt_engine_cache_enable": "True",
            "trt_engine_cache_path": folder,
            "trt_timing_cache_enable": "True",
            "trt_timing_cache_path": folder,
        }
    if shapes:
        options |= {
            "trt_profile_min_shapes": _written({name: sizes.least for name, sizes in shapes.items()}),
            "trt_profile_opt_shapes": _written({name: sizes.usual for name, sizes in shapes.items()}),
            "trt_profile_max_shapes": _written({name: sizes.most for name, sizes in shapes.items()}),
        }
    return options


def _written(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Write shapes as the provider reads them: `name:1x64,other:1x8x64`."""
    return ",".join(f"{name}:{'x'.join(map(str, sizes))}" for name, sizes in shapes.items())
