from pathlib import Path

import pytest

from inference.processor import multiplies_bytes_exactly


@pytest.mark.parametrize(
    ("flags", "exact"),
    [("fpu avx2 avx512f avx512_vnni", True), ("fpu avx2 avx_vnni", True), ("fpu avx2 avx512f", False)],
)
def test_an_x86_processor_is_exact_when_it_has_vnni(tmp_path: Path, flags: str, exact: bool) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    assert multiplies_bytes_exactly("x86_64", cpuinfo) is exact


def test_an_x86_processor_that_tells_nothing_counts_as_not_exact(tmp_path: Path) -> None:
    assert not multiplies_bytes_exactly("AMD64", tmp_path / "none")


def test_other_processors_are_exact() -> None:
    assert multiplies_bytes_exactly("aarch64")
