"""How much memory the attention cache takes, computed before it is taken."""

import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from scheduler.errors import ModelUnusable

_MB: Final = 1e6
_CGROUP: Final = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class CachePlan:
    """The size of the cache."""

    slots: int
    context: int
    """Tokens of a slot."""
    bytes: int
    """Of all slots, when they are full."""


def plan_cache(*, slots: int, context: int, bytes_per_token: int, limit_bytes: int) -> CachePlan:
    """Return how many of the wanted slots of `context` tokens fit into a limit.

    Raises ModelUnusable with the numbers when not even one does.
    """
    slot_bytes = context * bytes_per_token
    fitting = min(slots, limit_bytes // slot_bytes)
    if fitting < 1:
        raise ModelUnusable(
            f"the cache of one generation of {context} tokens takes {slot_bytes / _MB:.0f} MB "
            f"({bytes_per_token} bytes a token), and there are {limit_bytes / _MB:.0f} MB for it: "
            f"set a shorter context, at most {max(0, limit_bytes // bytes_per_token)} tokens fit"
        )
    return CachePlan(fitting, context, fitting * slot_bytes)


def free_bytes() -> int:
    """Return how much more memory this process may take: of the machine, its control group, its address space."""
    most: list[int] = [psutil.virtual_memory().available]
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        most.append(limit - psutil.Process().memory_info().vms)
    allowed, used = _number(_CGROUP / "memory.max"), _number(_CGROUP / "memory.current")
    if allowed is not None and used is not None:
        most.append(allowed - used)
    return max(0, min(most))


def _number(path: Path) -> int | None:
    """Read a number that the kernel shows; None where there is none, or no limit."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
