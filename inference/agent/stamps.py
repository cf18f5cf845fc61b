"""What the files of a model look like from outside: changed ones are told by it, without reading them."""

import os
from collections.abc import Iterator
from pathlib import Path

Stamp = tuple[tuple[str, int, int, int], ...]
"""Of each file: its place, size in bytes, time of its last change in nanoseconds, and inode."""


def stamp_of(path: Path) -> Stamp:
    """Return the stamp of a file, or of everything below a folder but hidden files. What is not there has none."""
    return tuple(sorted(_files(path, "")))


def _files(path: str | Path, place: str) -> Iterator[tuple[str, int, int, int]]:
    try:
        with os.scandir(path) as entries:
            found = list(entries)
    except NotADirectoryError:
        yield from _file(path, place)
        return
    except OSError:
        # It went while it was looked at: that is a change too.
        return
    for entry in found:
        if entry.name.startswith("."):
            continue
        inner = f"{place}/{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            yield inner, 0, 0, 0
            yield from _files(entry.path, inner)
        else:
            yield from _file(entry.path, inner)


def _file(path: str | Path, place: str) -> Iterator[tuple[str, int, int, int]]:
    try:
        status = os.stat(path)
    except OSError:
        return
    yield place, status.st_size, status.st_mtime_ns, status.st_ino
