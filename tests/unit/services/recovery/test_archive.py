"""The file of a backup."""

import gzip
from pathlib import Path

import pytest

from services.recovery.archive import ArchiveReader, ArchiveUnusable, ArchiveWriter, Entry

ENTRIES = [
    Entry("hash", b"fb:{07}:t:x", -1, [b"v", b"\x00\xff" * 1000, b"t", b""]),
    Entry("string", b"fb:{07}:k:y", 12_345, [b"value"]),
    Entry("stream", b"fb:{07}:s:z", 1, [b"1-0", b"2", b"p", b"text"]),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "backup"
    with path.open("wb") as file:
        writer = ArchiveWriter(file, {"time_ms": 5})
        for entry in ENTRIES:
            writer.add(entry)
        writer.finish()
    return path


def read(path: Path) -> list[Entry]:
    with ArchiveReader(path) as archive:
        return list(archive.entries())


def test_what_was_written_is_read(path: Path) -> None:
    assert read(path) == ENTRIES
    with ArchiveReader(path) as archive:
        assert archive.about["time_ms"] == 5


def test_every_cut_is_noticed(path: Path) -> None:
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(ArchiveUnusable):
            read(path)


def test_every_changed_byte_is_noticed(path: Path) -> None:
    plain = gzip.decompress(path.read_bytes())
    for place in range(0, len(plain), 7):
        changed = bytearray(plain)
        changed[place] ^= 1
        path.write_bytes(gzip.compress(bytes(changed)))
        with pytest.raises(ArchiveUnusable):
            read(path)


def test_another_file_is_refused_by_name(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(gzip.compress(b"something else entirely"))
    with pytest.raises(ArchiveUnusable, match="not a backup"):
        read(other)
