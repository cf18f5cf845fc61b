"""What the processor at hand computes exactly."""

import platform
from pathlib import Path
from typing import Final

_X86: Final = ("x86_64", "amd64")
_CPUINFO: Final = Path("/proc/cpuinfo")


def multiplies_bytes_exactly(machine: str = "", cpuinfo: Path = _CPUINFO) -> bool:
    """Tell whether sums of products of unsigned and signed bytes are exact.

    On x86 without VNNI two products are added in 16 bits, which do not hold the largest ones; ONNX Runtime's
    documentation of quantisation says so. Where nothing tells, the answer is no.
    """
    if (machine or platform.machine()).lower() not in _X86:
        return True
    try:
        text = cpuinfo.read_text()
    except OSError:
        return False
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return any(flag in flags.split() for flag in ("avx512_vnni", "avx_vnni"))
