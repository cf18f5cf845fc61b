"""Which models a host serves: named ones and those of a repository folder."""

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from scheduler.errors import StartupRefused

MODEL_FILES: Final = ("genai_config.json", "model.onnx")
"""A folder with one of these is a model."""

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
_log = logging.getLogger(__name__)


def read_catalogue(models: Sequence[str], repository: Path | None) -> Mapping[str, Path]:
    """Return name -> path of every model. A named model hides one of the repository.

    Whether a path holds a model that can be run is the runner's to find out: one bad model stops no other. Raises
    StartupRefused with every fault of the settings themselves.
    """
    faults: list[str] = []
    found: dict[str, Path] = {}
    for pair in models:
        name, separator, path = pair.partition("=")
        if not (separator and path and _NAME.fullmatch(name)):
            faults.append(f"model {pair!r} is not NAME=PATH with a name of letters, digits, '.', '_' and '-'")
        elif name in found:
            faults.append(f"model {name!r} is named twice")
        else:
            found[name] = Path(path).expanduser()
    if repository is not None:
        if repository.is_dir():
            found = dict(_of_repository(repository)) | found
        else:
            faults.append(f"the model repository {repository} is not a folder")
    if faults:
        raise StartupRefused("; ".join(faults))
    return dict(sorted(found.items()))


def _of_repository(repository: Path) -> list[tuple[str, Path]]:
    models = []
    for path in sorted(repository.iterdir()):
        if path.is_dir():
            name, holds = path.name, any((path / file).is_file() for file in MODEL_FILES)
        else:
            name, holds = path.stem, path.suffix == ".onnx"
        if holds and _NAME.fullmatch(name):
            models.append((name, path))
        elif not name.startswith("."):
            _log.warning("not a model, passed over", extra={"path": str(path)})
    return models
