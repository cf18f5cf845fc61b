"""Which models a host has to serve: named ones and those of a repository folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from inference.repository.naming import NAME
from scheduler.errors import StartupRefused


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Where the models of a host are."""

    named: Mapping[str, Path] = field(default_factory=dict)
    """Name -> path; a named model hides one of the repository."""
    repository: Path | None = None


def read_catalogue(models: Sequence[str], repository: Path | None) -> Catalogue:
    """Return where the models are.

    Whether a path holds a model that can be run is the runner's to find out: one bad model stops no other. Raises
    StartupRefused with every fault of the settings themselves.
    """
    faults: list[str] = []
    found: dict[str, Path] = {}
    for pair in models:
        name, separator, path = pair.partition("=")
        if not (separator and path and NAME.fullmatch(name)):
            faults.append(f"model {pair!r} is not NAME=PATH with a name of letters, digits, '.', '_' and '-'")
        elif name in found:
            faults.append(f"model {name!r} is named twice")
        else:
            found[name] = Path(path).expanduser()
    if repository is not None and not repository.is_dir():
        faults.append(f"the model repository {repository} is not a folder")
    if faults:
        raise StartupRefused("; ".join(faults))
    return Catalogue(dict(sorted(found.items())), repository)
