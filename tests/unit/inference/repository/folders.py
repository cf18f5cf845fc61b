"""Model folders that tests write: a configuration, and versions with a model of a few nodes."""

from collections.abc import Iterable
from pathlib import Path

from inference.repository.config_reader import define
from inference.repository.configuration import Report, read_configuration
from inference.repository.definition import ModelDefinition
from tests.unit.inference.tensor import onnx_models


def configured(folder: Path, text: str) -> Path:
    """Write a configuration; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "config.pbtxt"
    file.write_text(text)
    return file


def defined(file: Path, report: Report, *, data: bool = True) -> ModelDefinition:
    """Return what a configuration file means."""
    return define(read_configuration(file, report), report, data=data)


def versioned(folder: Path, versions: Iterable[int] = (1,), config: str | None = None) -> Path:
    """Write a folder with versions of the model z = x + y over FP32 [batch, 4]; return the folder."""
    for version in versions:
        onnx_models.add(folder / str(version) / "model.onnx")
    if config is not None:
        configured(folder, config)
    return folder


def unheard(_: str) -> None:
    """Take no note of what is reported."""
