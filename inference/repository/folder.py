"""A model of a repository on disk: which versions it has, which of them are served, and what its configuration says.

Three forms: a folder in Triton's layout (`NAME/config.pbtxt`, `NAME/<version>/model.onnx`), a folder that is itself a
model, with or without a configuration, and an .onnx file. The latter two have the one version 1.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from inference.artifacts import EMBED_CONFIG, GENAI_CONFIG, MODEL_FILE
from inference.repository.config_reader import define
from inference.repository.configuration import CONFIG_FILE, Configuration, Report, read_configuration
from inference.repository.definition import ModelDefinition
from inference.repository.versions import served, version_folders
from scheduler.errors import ModelUnusable

MODEL_FILES: Final = (GENAI_CONFIG, EMBED_CONFIG, MODEL_FILE)
"""A folder with one of these is a model of its own."""
ONLY_VERSION: Final = 1
"""Of a model whose folder has no versions."""


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model on disk."""

    name: str
    path: Path
    definition: ModelDefinition
    versions: Mapping[int, Path]
    """Every version that is there, ascending, with what holds its model: a folder or an .onnx file."""
    served: tuple[int, ...]
    """Those that the version policy names, ascending."""
    configuration: Configuration | None = field(default=None, compare=False)
    """None where there is none."""

    @property
    def is_ensemble(self) -> bool:
        """Whether the model is made of others."""
        return bool(self.definition.ensemble)

    def version(self, wanted: int) -> int:
        """Return the version that a request for one means; 0 is the highest that is served.

        Raises ModelUnusable when it is not there, or not served.
        """
        if not wanted:
            return self.served[-1]
        if wanted not in self.versions:
            there = ", ".join(map(str, self.versions))
            raise ModelUnusable(f"{self.path} has no version {wanted}; it has {there}")
        if wanted not in self.served:
            names = ", ".join(map(str, self.served))
            raise ModelUnusable(
                f"version {wanted} of {self.path} is not served; its version policy serves {names}"
            )
        return wanted

    def holder(self, version: int) -> tuple[Path, str]:
        """Return the folder of a version's model and the name of its ONNX file there."""
        place = self.versions[version]
        if place.is_file():
            return place.parent, place.name
        # A model that is stored as several files can have a folder of the file's name.
        inner = place / self.definition.file
        return (inner, MODEL_FILE) if inner.is_dir() else (place, self.definition.file)


def is_model(path: Path) -> bool:
    """Tell whether a path has the form of a model; whether it can be run shows when it is loaded."""
    if not path.is_dir():
        return path.suffix == ".onnx" and path.is_file()
    if any(os.path.lexists(path / name) for name in (*MODEL_FILES, CONFIG_FILE)):
        return True
    try:
        return bool(version_folders(path))
    except ModelUnusable:
        return True


def read_folder(path: Path, report: Report, *, data: bool = True) -> ModelFolder:
    """Read what lies at a path, without opening any model. `report` hears of what has no effect.

    Without `data` the files with warm-up input and initial states stay unread.

    Raises ModelUnusable: nothing there, a configuration with a fault, or no version that is served.
    """
    if path.is_file():
        only = {ONLY_VERSION: path}
        return ModelFolder(path.stem, path, ModelDefinition(name=path.stem), only, (ONLY_VERSION,))
    if not path.is_dir():
        raise ModelUnusable(f"{path} does not exist")
    configuration = None
    definition = ModelDefinition(name=path.name)
    if os.path.lexists(path / CONFIG_FILE):
        configuration = read_configuration(path / CONFIG_FILE, report)
        definition = define(configuration, report, data=data)
    try:
        versions = version_folders(path)
    except OSError as error:
        raise ModelUnusable(f"{path} cannot be read: {error.strerror}")
    plain = any((path / name).is_file() for name in {*MODEL_FILES, definition.file})
    if plain or (definition.ensemble and not versions):
        versions = {ONLY_VERSION: path}
    if not versions:
        raise ModelUnusable(
            f"{path} is not a model: it has no {MODEL_FILE} and no folder of a version, for example 1"
        )
    chosen = served(versions, definition.versions)
    if not chosen:
        there = ", ".join(map(str, versions))
        raise ModelUnusable(f"{path} has no version that its version policy serves; it has {there}")
    return ModelFolder(path.name, path, definition, versions, chosen, configuration)
