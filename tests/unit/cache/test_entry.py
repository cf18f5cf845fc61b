"""A stored entry is what was stored under its key, or damaged."""

import hashlib
import os
import struct
from dataclasses import replace
from typing import Any, Final

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from cache import entry as stored_form
from cache.entry import COMPRESS_ABOVE_BYTES, MAX_BODY_BYTES, Damaged, TooLarge, pack, unpack
from cache.ports import Entry, Key

KEY: Final = Key(b"n" * 16, b"d" * 32)
SMALL: Final = Entry(
    body=b"answer",
    model="smollm2",
    identity=b"i" * 32,
    labels=(b"label--1", b"label--2"),
    created_ms=1_700_000_000_000,
    fresh_until_ms=1_700_000_600_000,
    cost_ms=12.5,
    stream=True,
)
LARGE: Final = replace(SMALL, body=b"answer " * 400, stream=False, labels=())
ENTRIES: Final = [SMALL, LARGE]
each = pytest.mark.parametrize("entry", ENTRIES, ids=["as it is", "compressed"])
DIGEST_AT: Final = 52
REST_AT: Final = 84


def resealed(key: Key, data: bytes) -> bytes:
    """Return changed bytes with a digest that fits: what somebody could make who knows the form."""
    header, rest = data[:DIGEST_AT], data[REST_AT:]
    return header + hashlib.sha256(b"".join((*key, header, rest))).digest() + rest


def compressed(data: bytes) -> bool:
    return bool(data[5] & 1)


@each
def test_what_is_stored_comes_back(entry: Entry) -> None:
    data = pack(KEY, entry)
    assert compressed(data) is (entry is LARGE)
    assert unpack(KEY, data) == entry


@each
def test_every_byte_that_changes_is_found(entry: Entry) -> None:
    data = bytearray(pack(KEY, entry))
    for at in range(len(data)):
        for bits in (1, 0x80, 0xFF):
            data[at] ^= bits
            with pytest.raises(Damaged):
                unpack(KEY, bytes(data))
            data[at] ^= bits
    assert unpack(KEY, bytes(data)) == entry


@each
def test_a_cut_off_or_longer_entry_is_found(entry: Entry) -> None:
    data = pack(KEY, entry)
    for length in range(len(data)):
        with pytest.raises(Damaged):
            unpack(KEY, data[:length])
    for more in (b"\0", data):
        with pytest.raises(Damaged):
            unpack(KEY, data + more)


@pytest.mark.parametrize(
    "other", [Key(b"n" * 16, b"e" * 32), Key(b"m" * 16, b"d" * 32), Key(b"d" * 16, b"n" * 16 + b"d" * 16)]
)
def test_an_entry_under_another_key_is_found(other: Key) -> None:
    data = pack(KEY, SMALL)
    assert unpack(KEY, data) == SMALL
    with pytest.raises(Damaged, match="digest"):
        unpack(other, data)


def test_parts_of_two_entries_are_found() -> None:
    one, other = pack(KEY, SMALL), pack(KEY, replace(SMALL, body=b"reply!"))
    assert len(one) == len(other)
    with pytest.raises(Damaged, match="digest"):
        unpack(KEY, one[:-6] + other[-6:])


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_bytes_that_are_no_entry_are_damaged(data: bytes) -> None:
    with pytest.raises(Damaged):
        unpack(KEY, data)
    with pytest.raises(Damaged):
        unpack(KEY, pack(KEY, SMALL)[:REST_AT] + data)


@settings(max_examples=60, deadline=None)
@given(
    st.builds(
        Entry,
        body=st.one_of(
            st.binary(max_size=3000),
            st.builds(bytes.__mul__, st.binary(min_size=1, max_size=9), st.integers(1, 2000)),
        ),
        model=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
        identity=st.binary(max_size=40),
        labels=st.lists(st.binary(min_size=8, max_size=8), max_size=4).map(tuple),
        created_ms=st.integers(0, 2**62),
        fresh_until_ms=st.integers(0, 2**62),
        cost_ms=st.floats(0, 1e12),
        stream=st.booleans(),
    )
)
def test_every_entry_comes_back(entry: Entry) -> None:
    assert unpack(KEY, pack(KEY, entry)) == entry


def test_a_body_is_compressed_above_a_size_and_where_it_helps() -> None:
    assert not compressed(pack(KEY, replace(SMALL, body=b"a" * COMPRESS_ABOVE_BYTES)))
    assert compressed(pack(KEY, replace(SMALL, body=b"a" * (COMPRESS_ABOVE_BYTES + 1))))
    assert compressed(pack(KEY, replace(SMALL, body=b"a" * 100), compress_above_bytes=50))
    noise = replace(SMALL, body=os.urandom(10_000))
    assert not compressed(pack(KEY, noise))
    assert unpack(KEY, pack(KEY, noise)) == noise


def test_a_body_over_the_limit_is_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_form, "MAX_BODY_BYTES", 10)
    assert unpack(KEY, pack(KEY, replace(SMALL, body=b"a" * 10))).body == b"a" * 10
    with pytest.raises(TooLarge, match="11 bytes"):
        pack(KEY, replace(SMALL, body=b"a" * 11))


def test_what_does_not_fit_into_a_header_is_not_stored() -> None:
    for change in ({"model": "m" * 65_536}, {"identity": b"i" * 65_536}, {"created_ms": 2**63}):
        values: dict[str, Any] = change
        with pytest.raises(TooLarge, match="header"):
            pack(KEY, replace(SMALL, **values))


def with_frame(frame: bytes, size: int) -> bytes:
    """Return an entry whose header says that its frame holds so many bytes, with a digest that fits."""
    data = bytearray(pack(KEY, replace(LARGE, body=b"")))
    data[5] |= 1
    struct.pack_into("<QQ", data, 36, size, len(frame))
    return resealed(KEY, bytes(data) + frame)


@pytest.mark.parametrize("size", [0, 99_999, 100_001, MAX_BODY_BYTES + 1, 2**64 - 1])
def test_a_frame_that_holds_another_number_of_bytes_is_never_decompressed(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = zstandard.ZstdCompressor().compress(b"a" * 100_000)
    assert unpack(KEY, with_frame(frame, 100_000)).body == b"a" * 100_000
    monkeypatch.setattr(zstandard, "ZstdDecompressor", None)
    with pytest.raises(Damaged, match="not one of"):
        unpack(KEY, with_frame(frame, size))


def test_a_frame_over_the_limit_is_never_decompressed(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = zstandard.ZstdCompressor().compress(bytes(MAX_BODY_BYTES + 1))
    assert len(frame) < 10_000
    monkeypatch.setattr(zstandard, "ZstdDecompressor", None)
    with pytest.raises(Damaged, match="not one of"):
        unpack(KEY, with_frame(frame, MAX_BODY_BYTES + 1))


def test_a_frame_that_does_not_say_its_length_is_damaged() -> None:
    frame = zstandard.ZstdCompressor(write_content_size=False).compress(b"a" * 5000)
    with pytest.raises(Damaged, match="not one of"):
        unpack(KEY, with_frame(frame, 5000))


@pytest.mark.parametrize(
    "damage", [lambda frame: frame[:-3], lambda frame: frame + b"x", lambda frame: frame * 2]
)
def test_a_frame_that_ends_early_or_late_is_damaged(damage: Any) -> None:
    frame = zstandard.ZstdCompressor().compress(b"abc" * 2000)
    with pytest.raises(Damaged, match="cannot be read"):
        unpack(KEY, with_frame(damage(frame), 6000))


def test_what_is_no_frame_is_damaged() -> None:
    with pytest.raises(Damaged, match="cannot be read"):
        unpack(KEY, with_frame(b"no frame at all", 5000))


def test_a_plain_body_of_another_length_is_damaged() -> None:
    data = bytearray(pack(KEY, SMALL))
    struct.pack_into("<Q", data, 36, 5)
    with pytest.raises(Damaged, match="header says 5"):
        unpack(KEY, resealed(KEY, bytes(data)))


@pytest.mark.parametrize(("at", "value"), [(4, 2), (5, 4), (0, 0)])
def test_another_version_or_flag_is_damaged(at: int, value: int) -> None:
    data = bytearray(pack(KEY, SMALL))
    data[at] = value
    with pytest.raises(Damaged, match="no version"):
        unpack(KEY, resealed(KEY, bytes(data)))


def test_the_name_of_a_model_that_is_no_text_is_damaged() -> None:
    data = bytearray(pack(KEY, SMALL))
    data[REST_AT] = 0xFF
    with pytest.raises(Damaged, match="no text"):
        unpack(KEY, resealed(KEY, bytes(data)))
