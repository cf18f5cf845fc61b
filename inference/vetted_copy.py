"""A model as ONNX Runtime opens it: the bytes that were checked, in a folder that nobody else writes to.

Between a check of a file and the moment when it is opened it can be replaced, by a link to another file for instance.
So a model and the weights that it names are copied first, and the copies are what is checked and opened.
"""

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from inference.artifacts import location_fault
from inference.external_data import external_locations
from scheduler.errors import ModelUnusable

FOLDER: Final = "opening"
"""In the cache: copies of models that are being opened."""
_BUFFER_BYTES: Final = 4 << 20


@contextlib.contextmanager
def vetted_copy(model: Path, cache: Path | None) -> Iterator[Path]:
    """Give the path of a copy of an .onnx file with the weights beside it, which may be opened, and may be forgotten
    once it is open. It takes as much disk space as the model, in the cache or in the system's temporary folder.

    Raises ModelUnusable: not a model, weights outside its folder, links, or no room for the copy.
    """
    with _private_folder(cache) as folder:
        copy = folder / model.name
        try:
            source = os.open(os.path.realpath(model.parent), os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise ModelUnusable(f"{model} cannot be read: {error.strerror}")
        try:
            _copy(source, model.name, copy, f"{model.name}", links=True)
            for location in sorted(external_locations(copy)):
                what = f"{model.name} names weights at {location!r}"
                if fault := location_fault(location):
                    raise ModelUnusable(f"{what}: {fault}")
                _copy(source, location, folder / location, what, links=False)
        finally:
            os.close(source)
        yield copy


@contextlib.contextmanager
def _private_folder(cache: Path | None) -> Iterator[Path]:
    """Make a folder for this process alone; a lock tells that it is in use."""
    with contextlib.ExitStack() as stack:
        try:
            if cache is None:
                folder = Path(tempfile.mkdtemp(prefix="model-"))
            else:
                folder = _in_cache(cache / FOLDER, stack)
        except OSError as error:
            raise ModelUnusable(f"no folder can be made to open a model in: {error}")
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield folder


def _in_cache(parent: Path, stack: contextlib.ExitStack) -> Path:
    """Make a locked folder, and remove those of processes that died."""
    parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as making:
        # Until the new one is locked nobody else may look which are.
        _lock(parent, making, fcntl.LOCK_EX)
        for left in parent.iterdir():
            with contextlib.suppress(BlockingIOError), contextlib.ExitStack() as sweeping:
                _lock(left, sweeping, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix="model-", dir=parent))
        _lock(folder, stack, fcntl.LOCK_EX)
    return folder


def _lock(folder: Path, stack: contextlib.ExitStack, how: int) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    stack.callback(os.close, descriptor)
    fcntl.flock(descriptor, how)


def _copy(source: int, name: str, target: Path, what: str, *, links: bool) -> None:
    """Copy a file of an open folder. No part of the name may be a link; hard `links` only where they do no harm: the
    file itself is checked then.
    """
    *folders, last = PurePosixPath(name).parts or (".",)
    opened = [os.dup(source)]
    try:
        for folder in folders:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
            opened.append(os.open(folder, flags, dir_fd=opened[-1]))
        # Without O_NONBLOCK a pipe in the place of a file would hold this up.
        opened.append(os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=opened[-1]))
        status = os.fstat(opened[-1])
        if not stat.S_ISREG(status.st_mode):
            raise ModelUnusable(f"{what}: not a regular file")
        if status.st_nlink != 1 and not links:
            raise ModelUnusable(f"{what}: a hard link; copy the file instead")
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(opened[-1], "rb", closefd=False) as reading, target.open("xb") as writing:
            shutil.copyfileobj(reading, writing, _BUFFER_BYTES)
    except OSError as error:
        raise ModelUnusable(f"{what}: {error.strerror}")
    finally:
        for descriptor in opened:
            os.close(descriptor)
