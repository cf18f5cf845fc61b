"""Small files that are there as a whole or as they were before."""

import os
from pathlib import Path


def replace_file(file: Path, content: bytes) -> None:
    """Put content in place of a file's, in a folder that is made when it is not there; it is on the disk once this
    returns, and nobody but this process's user may read it. Raises OSError.
    """
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = file.with_suffix(".new")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
    fresh.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
