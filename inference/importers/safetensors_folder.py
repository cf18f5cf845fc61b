"""Reading the tensors of a Hugging Face folder: one safetensors file, or several with an index.

Files are mapped into memory by the `safetensors` package and read tensor by tensor. Nothing outside the folder is
opened, and no format that can hold code.
"""

import json
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from safetensors import SafetensorError, safe_open

from inference.importers.architecture import Float32
from scheduler.errors import ImportRefused

_INDEX: Final = "model.safetensors.index.json"
_SINGLE: Final = "model.safetensors"
_PICKLES: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_TYPES: Final = ("F32", "F16", "BF16", "F64")
_MOST_JSON_BYTES: Final = 64_000_000
_MOST_FILES: Final = 1_000


class _Opened(Protocol):
    """What `safe_open` returns; the package has no types of its own."""

    def keys(self) -> list[str]: ...
    def get_slice(self, name: str) -> Any: ...
    def get_tensor(self, name: str) -> Any: ...


class SafetensorsFolder:
    """The tensors of one model folder. A tensor is read when it is asked for, and kept by nobody."""

    def __init__(self, folder: Path) -> None:
        """Open every file of the model. Raises ImportRefused when one is missing, damaged or of another format."""
        self.path = folder
        self._tensors: dict[str, _Opened] = {}
        for path, names in self._files().items():
            opened = _open(path)
            held = set(opened.keys())
            if missing := [name for name in names or () if name not in held]:
                raise ImportRefused(f"{path.name} has no tensor {missing[0]}, which the index says it holds")
            self._tensors.update(dict.fromkeys(names or held, opened))

    def has(self, name: str) -> bool:
        """Tell whether there is a tensor of this name."""
        return name in self._tensors

    def tensor(self, name: str, shape: tuple[int, ...]) -> Float32:
        """Return a tensor as float32 in C order. Raises ImportRefused when it is missing, or not of `shape`."""
        opened = self._tensors.get(name)
        if opened is None:
            raise ImportRefused(f"{self.path.name} has no tensor {name}")
        described = opened.get_slice(name)
        found, kind = tuple(described.get_shape()), described.get_dtype()
        if found != shape:
            raise ImportRefused(f"{self.path.name}: tensor {name} has shape {found}, expected {shape}")
        if kind not in _TYPES:
            raise ImportRefused(
                f"{self.path.name}: tensor {name} has the type {kind}; supported: {', '.join(_TYPES)}"
            )
        return np.ascontiguousarray(opened.get_tensor(name), dtype=np.float32)

    def _files(self) -> dict[Path, list[str] | None]:
        """Return each file with the tensors that are read from it; None is all."""
        if (self.path / _INDEX).is_file():
            files: dict[Path, list[str] | None] = {}
            weight_map = read_json(self.path, _INDEX).get("weight_map")
            if not isinstance(weight_map, dict) or not weight_map:
                raise ImportRefused(f"{_INDEX} has no weight_map")
            for tensor, name in weight_map.items():
                if not isinstance(name, str) or not name.endswith(".safetensors"):
                    raise ImportRefused(f"{_INDEX} names {name!r}, which is not a safetensors file")
                names = files.setdefault(inside(self.path, name), [])
                assert names is not None
                names.append(tensor)
            if len(files) > _MOST_FILES:
                raise ImportRefused(f"{_INDEX} names {len(files)} files; supported: {_MOST_FILES}")
            return files
        found = sorted(path.name for path in self.path.glob("*.safetensors"))
        if len(found) == 1 or _SINGLE in found:
            return {inside(self.path, _SINGLE if _SINGLE in found else found[0]): None}
        if found:
            raise ImportRefused(f"{self.path} has {len(found)} safetensors files and no {_INDEX}")
        pickles = sorted(path.name for path in self.path.iterdir() if path.suffix in _PICKLES)
        if pickles:
            raise ImportRefused(
                f"{self.path} holds its weights in {pickles[0]}, a format that can run code when it is read; "
                "supported: safetensors"
            )
        raise ImportRefused(f"{self.path} has no safetensors file")


def inside(folder: Path, name: str) -> Path:
    """Return the path of a file of a folder. Raises ImportRefused when it is no file, or a link that leads out."""
    path = folder / name
    if Path(name).name != name or not path.resolve().is_relative_to(folder.resolve()):
        raise ImportRefused(
            f"{name} leads out of the folder {folder}; copy the folder with its files (cp -rL) and import the copy"
        )
    if not path.is_file():
        raise ImportRefused(f"{folder} has no file {name}")
    return path


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """Read a JSON object. Raises ImportRefused when it is missing, too large, or something else."""
    path = inside(folder, name)
    try:
        if path.stat().st_size > _MOST_JSON_BYTES:
            raise ImportRefused(f"{path} is larger than {_MOST_JSON_BYTES} bytes")
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise ImportRefused(f"{path} cannot be read: {error.strerror}")
    except (ValueError, RecursionError):
        raise ImportRefused(f"{path} is not JSON")
    if not isinstance(content, dict):
        raise ImportRefused(f"{path} is not a JSON object")
    return content


def _open(path: Path) -> _Opened:
    try:
        opened: _Opened = safe_open(path, framework="numpy")
    except (SafetensorError, OSError) as error:
        raise ImportRefused(
            f"{path} is a damaged or truncated safetensors file ({str(error).splitlines()[0]})"
        )
    return opened
