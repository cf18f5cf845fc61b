"""How often the kernel has killed for memory where this process and its children live.

A process that is killed for memory ends by SIGKILL, like one that somebody killed: only the kernel's counter tells
them apart.
"""

from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_CGROUPS: Final = Path("/sys/fs/cgroup")


class MemoryKills:
    """Reads the counter that is nearest: this cgroup's (version 2, then 1), or that of the whole host."""

    def __init__(self, proc: Path = _PROC, cgroups: Path = _CGROUPS) -> None:
        self._source = next((path for path in _candidates(proc, cgroups) if _read(path) is not None), None)

    def count(self) -> int:
        """Return the number of kills so far; always 0 where no counter can be read."""
        return (_read(self._source) if self._source is not None else None) or 0


def _candidates(proc: Path, cgroups: Path) -> list[Path]:
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        lines = []
    found: list[Path] = []
    older: list[Path] = []
    for line in lines:
        _, controllers, place = line.split(":", 2)
        # Inside a container the path may be the host's, and its own cgroup is mounted as the root.
        for folder in (place.lstrip("/"), ""):
            if not controllers:
                found.append(cgroups / folder / "memory.events")
            elif "memory" in controllers.split(","):
                older.append(cgroups / "memory" / folder / "memory.oom_control")
    return [*found, *older, proc / "vmstat"]


def _read(path: Path) -> int | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(" ")
        if name == "oom_kill" and value.strip().isdecimal():
            return int(value)
    return None
