"""Files that a configuration names: labels, warm-up data, initial states. They lie in the model's folder."""

import os
import stat
from pathlib import Path
from typing import Final

from inference.artifacts import location_fault

MAX_LABEL_BYTES: Final = 4 << 20
MAX_DATA_BYTES: Final = 256 << 20
"""Of one tensor."""


class Unreadable(Exception):
    """A file cannot be used; the message says why."""


def read_data(folder: Path, name: str, max_bytes: int = MAX_DATA_BYTES) -> bytes:
    """Return a file's bytes. Raises Unreadable: outside the folder, a link, not a file, too large."""
    if fault := location_fault(name):
        raise Unreadable(f"{name!r}: {fault}")
    path = folder / name
    for part in path.parents:
        if part == folder:
            break
        if part.is_symlink():
            raise Unreadable(f"{name!r}: a link, which is not followed")
    try:
        return read_regular(path, max_bytes, hard_links=False)
    except Unreadable as error:
        raise Unreadable(f"{name!r}: {error}")


def read_regular(path: Path, max_bytes: int, *, hard_links: bool) -> bytes:
    """Return the bytes of a regular file. Raises Unreadable for anything else, without waiting for it."""
    try:
        if path.is_symlink():
            raise Unreadable("a link, which is not followed")
        # A pipe in the place of a file would hold this up.
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise Unreadable("not a regular file")
            if status.st_nlink != 1 and not hard_links:
                raise Unreadable("a hard link; copy the file instead")
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise Unreadable(error.strerror or str(error))
    if len(data) > max_bytes:
        raise Unreadable(f"larger than {max_bytes} bytes")
    return data


def read_labels(folder: Path, name: str) -> tuple[str, ...]:
    """Return the lines of a file. Raises Unreadable."""
    try:
        return tuple(read_data(folder, name, MAX_LABEL_BYTES).decode("utf-8").splitlines())
    except UnicodeDecodeError:
        raise Unreadable(f"{name!r}: not UTF-8")
