"""Processes that read another wall clock than the machine's, without their knowing.

A `sitecustomize` on their path replaces what Python tells them of the time of day; how far it is off is in a file that
they have mapped, so that a clock can be moved while they run. `time.time` stays right: gRPC computes its deadlines with
it and compares them with the kernel's clock, and nothing of Forebay's services reads it.
"""

import struct
from pathlib import Path
from typing import Final

FOLDER: Final = "WRONG_CLOCKS"
MODULES: Final = ("services.gateway", "scheduler.service", "inference.agent", "inference.runner")

_CUSTOMIZE: Final = """
import mmap, os, struct, sys

def _move(path):
    import datetime, time
    with open(path, "rb") as file:
        offset = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
    right_ns, right = time.time_ns, datetime.datetime

    def seconds():
        return struct.unpack("d", offset[:])[0]

    def time_ns():
        return right_ns() + int(seconds() * 1e9)

    class Kind(type(right)):
        def __instancecheck__(cls, value):
            return isinstance(value, right)

    class Moved(right, metaclass=Kind):
        @classmethod
        def now(cls, tz=None):
            return right.now(tz) + datetime.timedelta(seconds=seconds())

        @classmethod
        def utcnow(cls):
            return right.utcnow() + datetime.timedelta(seconds=seconds())

    time.time_ns, datetime.datetime = time_ns, Moved
    # Whoever asks can see that the clock is wrong.
    sys.stderr.write("the clock of %s is moved\\n" % os.path.basename(path))

_words = sys.orig_argv
if "-m" in _words[:-1]:
    _path = os.path.join(os.environ["WRONG_CLOCKS"], _words[_words.index("-m") + 1])
    if os.path.exists(_path):
        _move(_path)
"""


class WrongClocks:
    """The clocks of our processes, by the module that they run."""

    def __init__(self, folder: Path, path: str) -> None:
        """`folder` is ours to fill; `path` is what PYTHONPATH is otherwise."""
        self._folder = folder
        self._path = path
        (folder / "sitecustomize.py").write_text(_CUSTOMIZE)
        for module in MODULES:
            self.move(module, 0.0)

    @property
    def environment(self) -> dict[str, str]:
        """What processes with wrong clocks must find around them."""
        path = f"{self._folder}:{self._path}" if self._path else str(self._folder)
        return {FOLDER: str(self._folder), "PYTHONPATH": path}

    def move(self, module: str, seconds: float) -> None:
        """Set how far the clock of a module's processes is ahead of the machine's."""
        file = self._folder / module
        if not file.exists():
            file.write_bytes(struct.pack("d", seconds))
            return
        with file.open("r+b") as opened:
            opened.write(struct.pack("d", seconds))
