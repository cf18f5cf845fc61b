"""Looks at the folders of a host's models for what came, changed and went. Blocks: it reads files."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from inference.agent.catalogue import Catalogue
from inference.agent.stamps import Stamp, stamp_of
from inference.repository.folder import is_model
from inference.repository.listing import ListedModel, list_model

SETTLED_S: Final = 1.0
"""A change counts once nothing has moved for so long: whoever copies a model is done then."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Pending:
    """A change that is not settled."""

    stamp: Stamp | None
    """None for what is gone."""
    since_s: float


class Folders:
    """The models of a catalogue. Named ones are read when asked for; those of the repository are watched."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._named = catalogue.named
        self._repository = catalogue.repository
        self._listed: dict[str, ListedModel] = {}
        """Of the repository, as told last."""
        self._stamps: dict[str, Stamp] = {}
        self._pending: dict[str, _Pending] = {}

    def first(self) -> dict[str, ListedModel]:
        """Return every model, by name, as it is now."""
        found = {name: _list(name, path) for name, path in self._named.items()}
        paths = self._paths()
        stamps = _stamps(paths)
        for name, path in paths.items():
            self._note(name, path, stamps)
        # Once all are listed it is known what ensembles are made of.
        self._stamps = {name: self._with_members(name, stamps) for name in self._listed}
        return dict(sorted((found | self._listed).items()))

    def look(self, now_s: float) -> Mapping[str, ListedModel | None]:
        """Return what of the repository changed since it was told last and has settled; None for what is gone.

        `now_s` is of a clock that never goes back.
        """
        changes: dict[str, ListedModel | None] = {}
        paths = self._paths()
        stamps = _stamps(paths)
        for name in sorted({*paths, *self._listed}):
            stamp = self._with_members(name, stamps) if name in paths else None
            if stamp == self._stamps.get(name):
                self._pending.pop(name, None)
                continue
            pending = self._pending.get(name)
            if pending is None or pending.stamp != stamp:
                self._pending[name] = _Pending(stamp, now_s)
            elif now_s - pending.since_s >= SETTLED_S:
                del self._pending[name]
                changes[name] = self._note(name, paths.get(name), stamps)
        return changes

    def read(self, name: str) -> ListedModel | None:
        """Return a model as its files are now, settled or not; None when there is no such model."""
        if name in self._named:
            return _list(name, self._named[name])
        paths = self._paths()
        if name not in paths:
            return None
        self._pending.pop(name, None)
        return self._note(name, paths[name], _stamps(paths))

    def _paths(self) -> dict[str, Path]:
        """Return the models of the repository; folders hide files of the same name."""
        if self._repository is None:
            return {}
        found: dict[str, Path] = {}
        try:
            paths = sorted(self._repository.iterdir(), key=lambda path: (path.is_file(), path.name))
        except OSError as error:
            _log.warning(
                "model repository not read", extra={"path": str(self._repository), "cause": error.strerror}
            )
            return {name: listed.path for name, listed in self._listed.items()}
        for path in paths:
            name = path.stem if path.is_file() else path.name
            if not name.startswith(".") and name not in self._named and _holds_model(path):
                found.setdefault(name, path)
        return found

    def _note(self, name: str, path: Path | None, stamps: Mapping[str, Stamp]) -> ListedModel | None:
        """Take in what a model is now."""
        if path is None:
            del self._listed[name], self._stamps[name]
            return None
        listed = self._listed[name] = _list(name, path)
        for warning in listed.warnings:
            _log.warning("model configuration", extra={"model": name, "what": warning})
        self._stamps[name] = self._with_members(name, stamps)
        return listed

    def _with_members(self, name: str, stamps: Mapping[str, Stamp]) -> Stamp:
        """Return the stamp of a model and of all that it is made of, whose changes change it too."""
        found: list[tuple[str, int, int, int]] = []
        seen: set[str] = set()
        open_ = [name]
        while open_:
            one = open_.pop()
            if one in seen:
                continue
            seen.add(one)
            found += (
                (f"{one}{place}", size, time, inode) for place, size, time, inode in stamps.get(one, ())
            )
            if one in self._listed:
                open_ += self._listed[one].members
        return tuple(sorted(found))


def _stamps(paths: Mapping[str, Path]) -> dict[str, Stamp]:
    return {name: stamp_of(path) for name, path in paths.items()}


def _holds_model(path: Path) -> bool:
    try:
        return is_model(path)
    except OSError:
        return True  # Listing it says what is wrong.


def _list(name: str, path: Path) -> ListedModel:
    try:
        return replace(list_model(path), name=name)
    except OSError as error:
        return ListedModel(name, path, fault=f"{path} cannot be read: {error.strerror}")
