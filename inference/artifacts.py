"""What a model path is, which files belong to it, and their digest.

A model is an .onnx file, a folder with model.onnx, or one with genai_config.json or embed_config.json beside it.
Weights may lie in other files of the same folder; a model that names any other file is refused before ONNX Runtime
sees it.
"""

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from inference.engine import EngineKind
from inference.external_data import external_locations
from scheduler.errors import ModelUnusable

GENAI_CONFIG = "genai_config.json"
EMBED_CONFIG = "embed_config.json"
MODEL_FILE = "model.onnx"
WIDE_FILE = "wide.onnx"
"""Beside a language model: the same with other weights, for many tokens at once."""
MAX_FILES = 10_000


@dataclass(frozen=True, slots=True)
class Artifact:
    """A model on disk."""

    kind: EngineKind
    root: Path
    """The folder that every file of it is in."""
    model: Path
    """The ONNX file."""
    files: tuple[Path, ...]
    """Every file that the digest covers, in order of their names relative to `root`."""


def inspect(path: Path, name: str = MODEL_FILE) -> Artifact:
    """Find out what a path is and that all its files may be read; `name` is that of a folder's ONNX file.

    Raises ModelUnusable: nothing there, no model in it, links, or weights outside its folder.
    """
    path = Path(os.path.realpath(path))
    if path.is_file():
        if path.suffix != ".onnx":
            raise ModelUnusable(
                f"{path} is not a model: expected an .onnx file or a folder with {MODEL_FILE}"
            )
        weights = external_files(path)
        return Artifact(EngineKind.TENSOR, path.parent, path, tuple(sorted({path, *weights})))
    if not path.is_dir():
        raise ModelUnusable(f"{path} does not exist")
    files = _files_under(path)
    model = _model_in(path, name)
    if model not in files:
        raise ModelUnusable(f"{path} is not a model: it has no {model.relative_to(path)}")
    for form in {model, path / WIDE_FILE}.intersection(files):
        external_files(form)
    return Artifact(_kind(path, files), path, model, files)


def _kind(folder: Path, files: Sequence[Path]) -> EngineKind:
    if folder / GENAI_CONFIG in files:
        return EngineKind.GENERATE
    return EngineKind.EMBED if folder / EMBED_CONFIG in files else EngineKind.TENSOR


def _model_in(folder: Path, name: str) -> Path:
    """Return where a folder's ONNX file is: genai_config.json can name another."""
    config = folder / GENAI_CONFIG
    if not config.is_file():
        return folder / name
    try:
        named: object = json.loads(config.read_bytes())["model"]["decoder"]["filename"]
    except (KeyError, TypeError):
        named = MODEL_FILE
    except (OSError, ValueError) as error:
        raise ModelUnusable(f"{config} cannot be read: {error}")
    if not isinstance(named, str) or location_fault(named):
        raise ModelUnusable(f"{config}: model.decoder.filename must be a file in the folder")
    return folder / named


def _files_under(folder: Path) -> tuple[Path, ...]:
    """Return the regular files of a folder; hidden ones are none of the model's."""
    found: list[Path] = []
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in [*folders, *names]:
            path = Path(where, name)
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode) and not name.startswith("."):
                found.append(path)
            elif not stat.S_ISDIR(mode) and not name.startswith("."):
                raise ModelUnusable(
                    f"{path} is a link or a special file: copy the model's files into its folder"
                )
        if len(found) > MAX_FILES:
            raise ModelUnusable(f"{folder} has more than {MAX_FILES} files: that is not a model's folder")
    return tuple(sorted(found))


def external_files(model: Path) -> list[Path]:
    """Return the files beside a model that hold its weights.

    Raises ModelUnusable when one lies elsewhere, does not exist, or is a link of any kind.
    """
    folder = Path(os.path.realpath(model.parent))
    files = []
    for location in sorted(external_locations(model)):
        if fault := location_fault(location):
            raise ModelUnusable(f"{model.name} names weights at {location!r}: {fault}")
        path = folder / location
        if os.path.realpath(path) != str(path):
            raise ModelUnusable(f"{model.name} names weights at {location!r}: a link, which is not followed")
        try:
            status = path.lstat()
        except OSError as error:
            raise ModelUnusable(f"{model.name} names weights at {location!r}: {error.strerror}")
        if not stat.S_ISREG(status.st_mode):
            raise ModelUnusable(f"{model.name} names weights at {location!r}: not a regular file")
        if status.st_nlink != 1:
            raise ModelUnusable(
                f"{model.name} names weights at {location!r}: a hard link; copy the file instead"
            )
        files.append(path)
    return files


def location_fault(location: str) -> str:
    """Say why a path that a model names is not one inside its folder; empty when it is."""
    if not location or "\0" in location:
        return "not a file name"
    if "\\" in location or PureWindowsPath(location).drive:
        return "not a POSIX path"
    path = PurePosixPath(location)
    if path.is_absolute():
        return "an absolute path"
    if ".." in path.parts:
        return "outside the model's folder"
    return ""


def digest(artifact: Artifact, cache: Path | None = None) -> str:
    """Return the SHA-256 of a model in hexadecimal.

    Of a single file it is that file's; of several it is that of what `sha256sum FILE…` prints for them, by names
    relative to the root and in their order. A cache folder keeps it until a file's identity, size or time changes.
    """
    kept = _kept(artifact, cache)
    stamp = _stamp(artifact.files)
    if kept is not None:
        try:
            entry = json.loads(kept.read_bytes())
            if entry["stamp"] == stamp:
                return str(entry["sha256"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # not there yet, or not ours: computed again
    try:
        sums = [_sha256(path) for path in artifact.files]
    except OSError as error:
        raise ModelUnusable(f"{error.filename} cannot be read: {error.strerror}")
    result = sums[0]
    if len(sums) > 1:
        names = [path.relative_to(artifact.root).as_posix() for path in artifact.files]
        listing = "".join(f"{sha}  {name}\n" for sha, name in zip(sums, names, strict=True))
        result = hashlib.sha256(listing.encode()).hexdigest()
    if kept is not None:
        _keep(kept, {"stamp": stamp, "sha256": result})
    return result


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stamp(files: Sequence[Path]) -> list[list[int | str]]:
    """Return what changes when a file does; ctime cannot be set back by a program."""
    stamps: list[list[int | str]] = []
    for path in files:
        status = path.stat()
        stamps.append([str(path), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns])
    return stamps


def _kept(artifact: Artifact, cache: Path | None) -> Path | None:
    """Return the file that keeps the digest of this model."""
    if cache is None:
        return None
    name = hashlib.sha256(os.fsencode(artifact.model)).hexdigest()[:32]
    return cache / "digests" / f"{name}.json"


def _keep(kept: Path, entry: object) -> None:
    """Write an entry in one step; a cache that cannot be written is no fault."""
    part = kept.with_suffix(f".{os.getpid()}")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(entry))
        os.replace(part, kept)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
