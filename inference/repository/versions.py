"""The numbered folders of a model, and which of them are served."""

from collections.abc import Collection
from pathlib import Path

from inference.repository.definition import VersionChoice, VersionPolicy
from scheduler.errors import ModelUnusable

MAX_VERSION = 2**63 - 1
"""As in the requests that name one."""


def version_folders(model: Path) -> dict[int, Path]:
    """Return the versions of a model folder, in ascending order. Names that are not plain numbers are none.

    Raises ModelUnusable for one that is a link.
    """
    found: dict[int, Path] = {}
    for folder in model.iterdir():
        name = folder.name
        if name.isascii() and name.isdecimal() and name[0] != "0" and len(name) < 20 and folder.is_dir():
            if folder.is_symlink():
                raise ModelUnusable(f"{folder} is a link: copy the model's files into its folder")
            number = int(name)
            if number <= MAX_VERSION:
                found[number] = folder
    return dict(sorted(found.items()))


def served(present: Collection[int], policy: VersionPolicy) -> tuple[int, ...]:
    """Return which of the versions that are there are served, in ascending order."""
    versions = sorted(present)
    if policy.choice is VersionChoice.LATEST:
        return tuple(versions[-policy.latest :])
    if policy.choice is VersionChoice.SPECIFIC:
        return tuple(version for version in versions if version in policy.versions)
    return tuple(versions)
