"""A folder that a model is written to: beside its final place, and renamed, so a folder that exists is complete."""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from scheduler.errors import ImportRefused


@contextlib.contextmanager
def new_folder(out: Path, report: Callable[[str], None]) -> Iterator[Path]:
    """Give an empty folder, which takes the place of `out` when the block ends, and is removed when it raises.

    Raises ImportRefused when it cannot be written, also for an OSError of the block.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise ImportRefused(f"{out} cannot be written: {error.strerror}")
    try:
        yield building
        building.chmod(0o755)
        _replace(building, out)
    except OSError as error:
        raise ImportRefused(f"{out} cannot be written: {error.strerror}")
    finally:
        shutil.rmtree(building, ignore_errors=True)
    size = sum(part.stat().st_size for part in out.iterdir())
    report(f"wrote {out} ({size / 1e6:.0f} MB)")


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object for people to read. Raises OSError."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _replace(building: Path, out: Path) -> None:
    """Put the finished folder in its place."""
    if out.exists():
        old = building.with_name(building.name + ".old")
        os.replace(out, old)
        os.replace(building, out)
        shutil.rmtree(old, ignore_errors=True)
    else:
        os.replace(building, out)
