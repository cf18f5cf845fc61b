import gzip
import zlib

import pytest

from services.gateway.kserve_http.compression import Inflation, coding_of, compressed, wanted_coding
from services.gateway.kserve_http.refusals import BadBody, UnknownEncoding

TEXT = b"all work and no play " * 1000


def bare(data: bytes) -> bytes:
    made = zlib.compressobj(wbits=-15)
    return made.compress(data) + made.flush()


def inflated(coding: str, *parts: bytes) -> bytes:
    inflation = Inflation(coding)
    out = b"".join(piece for part in parts for piece in inflation.feed(part))
    inflation.end()
    return out


@pytest.mark.parametrize(
    ("coding", "data"),
    [("gzip", gzip.compress(TEXT)), ("deflate", zlib.compress(TEXT)), ("deflate", bare(TEXT))],
)
def test_a_body_comes_out_whole_however_it_was_cut(coding: str, data: bytes) -> None:
    assert inflated(coding, data) == TEXT
    assert inflated(coding, *(data[at : at + 1] for at in range(len(data)))) == TEXT


def test_what_comes_out_comes_in_small_pieces() -> None:
    bomb = gzip.compress(bytes(50 << 20))
    sizes = []
    for piece in Inflation("gzip").feed(bomb):
        sizes.append(len(piece))
        if len(sizes) == 3:
            break
    assert len(bomb) < 100_000
    assert sizes == [1 << 20] * 3


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize(
    "data", [b"not compressed", b"\0\0\0\0", b"\x1f\x8b\x08\xff\xff\xff\xff\xff\xff\xff"]
)
def test_what_is_not_compressed_is_refused(coding: str, data: bytes) -> None:
    with pytest.raises(BadBody):
        inflated(coding, data)


def test_what_ends_too_early_or_too_late_is_refused() -> None:
    whole = gzip.compress(TEXT)
    with pytest.raises(BadBody, match="too early"):
        inflated("gzip", whole[:-1])
    with pytest.raises(BadBody, match="follow"):
        inflated("gzip", whole + b"x")
    with pytest.raises(BadBody, match="follow"):
        inflated("gzip", whole, b"x")


def test_codings_are_known_by_their_names() -> None:
    assert [coding_of(name) for name in ("", "identity", "GZIP", " x-gzip", "deflate")] == [
        *("", "", "gzip", "gzip", "deflate")
    ]
    for name in ("br", "gzip, deflate", "gzip,gzip"):
        with pytest.raises(UnknownEncoding):
            coding_of(name)


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("", ""),
        ("identity", ""),
        ("br", ""),
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("gzip, deflate, br", "gzip"),
        ("gzip;q=0.5, deflate", "deflate"),
        ("gzip;q=0, deflate;q=0", ""),
        ("*", "gzip"),
        ("*;q=0.1, gzip;q=0", "deflate"),
        ("identity, gzip;q=0.5", ""),
        ("gzip;q=oops", ""),
        ("gzip;q=nan", ""),
        (";;,=,q", ""),
    ],
)
def test_the_coding_of_an_answer_is_the_one_that_is_preferred(accepted: str, coding: str) -> None:
    assert wanted_coding(accepted) == coding


def test_small_bodies_stay_as_they_are() -> None:
    assert compressed(b"small", "gzip") is None
    assert compressed(TEXT, "") is None
    assert gzip.decompress(compressed(TEXT, "gzip") or b"") == TEXT
    assert zlib.decompress(compressed(TEXT, "deflate") or b"") == TEXT
