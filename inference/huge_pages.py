"""Huge pages for the weights of models: a run reads all of them, and 4 KiB at a time that costs a tenth of its time.

ONNX Runtime takes memory for weights from malloc. glibc asks the kernel for huge pages (`madvise`) when a tunable says
so, but only for the heap that the main thread begins with, so there must be no other. It reads tunables only when a
process starts: whoever starts a runner sets them. Other C libraries ignore them.
"""

from collections.abc import Mapping
from typing import Final

VARIABLE: Final = "GLIBC_TUNABLES"
_TUNABLES: Final = {"glibc.malloc.hugetlb": "1", "glibc.malloc.arena_max": "1"}


def with_huge_pages(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment whose processes get huge pages; what it says already about either tunable stands."""
    present = [pair for pair in environ.get(VARIABLE, "").split(":") if pair]
    named = {pair.partition("=")[0] for pair in present}
    missing = [f"{name}={value}" for name, value in _TUNABLES.items() if name not in named]
    return {**environ, VARIABLE: ":".join(present + missing)}
