"""Which models a repository folder holds: names, versions and instances, read without ONNX Runtime."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from inference.repository.definition import Instances
from inference.repository.folder import is_model, read_folder
from inference.repository.naming import NAME
from scheduler.errors import ModelUnusable


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model of a repository, as far as its files say."""

    name: str
    path: Path
    """What `inference.loading.load_engine` takes, with a version."""
    versions: tuple[int, ...] = ()
    """Those that are served, ascending; none of a model with a fault."""
    all_versions: tuple[int, ...] = ()
    """Those that are there, ascending."""
    instances: tuple[Instances, ...] = (Instances(),)
    """Groups of processes for each version; `inference.repository.instances` tells them apart."""
    fault: str = ""
    """Why it cannot be served, with file, line and column where it is the configuration; empty when it can."""
    warnings: tuple[str, ...] = ()
    """What of its configuration has no effect. The runner that loads it reports the same."""
    members: tuple[str, ...] = ()
    """Other models of its repository that it is made of, sorted; empty for a model of its own."""
    plain: bool = False
    """Whether it is an .onnx file or a folder without a configuration and without folders of versions."""


def list_models(repository: Path) -> Sequence[ListedModel]:
    """Return the models of a folder in order of their names; what is not a model is left out.

    Raises OSError when the folder cannot be read.
    """
    found: dict[str, ListedModel] = {}
    # Folders come before the files of the same name, which they hide.
    for path in sorted(repository.iterdir(), key=lambda path: (path.is_file(), path.name)):
        if path.name.startswith("."):
            continue
        try:
            if not is_model(path):
                continue
        except OSError as error:
            found[path.name] = ListedModel(path.name, path, fault=f"{path} cannot be read: {error.strerror}")
            continue
        listed = list_model(path)
        found.setdefault(listed.name, listed)
    return [found[name] for name in sorted(found)]


def list_model(path: Path) -> ListedModel:
    """Return what the files of one model say: a folder or an .onnx file."""
    name = path.stem if path.is_file() else path.name
    warnings: list[str] = []
    if not NAME.fullmatch(name):
        fault = f"{path}: the name of a model has letters, digits, '.', '_' and '-', 128 of them at most"
        return ListedModel(name, path, fault=fault)
    try:
        folder = read_folder(path, warnings.append, data=False)
    except ModelUnusable as error:
        return ListedModel(name, path, fault=str(error), warnings=tuple(warnings))
    return ListedModel(
        name,
        path,
        folder.served,
        tuple(folder.versions),
        folder.definition.instances,
        warnings=tuple(warnings),
        members=tuple(sorted({step.model for step in folder.definition.ensemble})),
        plain=folder.configuration is None and list(folder.versions.values()) == [path],
    )
