"""Importers: model files of other formats become folders that the engines load."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

from inference.importers.fetch import fetch_smollm2
from scheduler.errors import ImportRefused

__all__ = ["IMPORT_VERSION", "fetch_smollm2", "import_gguf"]

IMPORT_VERSION: Final = 1
"""Raised whenever the same file comes out as other weights or another graph: who keeps results keeps it with them."""


def import_gguf(
    file: Path, out: Path, *, quantization: Literal["int4", "fp32"] = "int4", report: Callable[[str], None]
) -> Path:
    """Convert a GGUF language model into an onnxruntime-genai folder at `out`, replacing it, and return `out`.

    `report` gets a sentence now and then while it works. Raises ImportRefused when the file cannot be converted, or
    the packages that read and write model files are not installed.
    """
    missing = [name for name in ("gguf", "onnx") if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportRefused(
            f"importing needs the packages {', '.join(missing)}: pip install 'forebay[import]'"
        )
    from inference.importers.genai_folder import write_genai_folder

    return write_genai_folder(file, out, quantization, report)
