"""Compressed bodies: taken apart piece by piece, so that a small one cannot become a large one; and made.

"deflate" is what RFC 9110 calls so, the format of RFC 1950; the bare one of RFC 1951, which some clients send under
that name, is taken too. The coding of an answer follows Accept-Encoding (RFC 9110, 12.5.3); what is small is not worth
it and stays as it is.
"""

import zlib
from collections.abc import Iterator
from typing import Final

from services.gateway.kserve_http.refusals import BadBody, UnknownEncoding

GZIP: Final = "gzip"
DEFLATE: Final = "deflate"
_PLAIN: Final = ("", "identity")
_NAMES: Final = {"gzip": GZIP, "x-gzip": GZIP, "deflate": DEFLATE}
_PIECE_BYTES: Final = 1 << 20
"""At most so much is made in one go: a few milliseconds."""
_WINDOW: Final = {GZIP: 31, DEFLATE: 15}
_LEVEL: Final = 1
"""The fastest one: elements of tensors hardly become smaller with more effort."""
_SMALL_BYTES: Final = 1024


def coding_of(header: str) -> str:
    """Return which coding a Content-Encoding names; empty for none. Raises UnknownEncoding."""
    name = header.strip().lower()
    if name in _PLAIN:
        return ""
    if name not in _NAMES:
        raise UnknownEncoding(f"Content-Encoding must be gzip, deflate or identity, is {name[:40]!r}")
    return _NAMES[name]


class Inflation:
    """One compressed body on its way in."""

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._made = zlib.decompressobj(_WINDOW[coding])
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what comes out of the next bytes, in pieces of 1 MiB at most. Raises BadBody."""
        if not self._begun and data:
            self._begun = True
            if self._coding == DEFLATE and not _is_zlib(data):
                self._made = zlib.decompressobj(-15)
        try:
            while data:
                if self._made.eof:
                    raise BadBody(f"bytes follow the end of the {self._coding} body")
                piece = self._made.decompress(data, _PIECE_BYTES)
                data = self._made.unconsumed_tail or self._made.unused_data
                if piece:
                    yield piece
            # What one call had no room for is still inside: an empty tail does not say that there is nothing.
            while not self._made.eof and (piece := self._made.decompress(b"", _PIECE_BYTES)):
                yield piece
        except zlib.error:
            raise BadBody(f"the body is not {self._coding}")

    def end(self) -> None:
        """Raise BadBody when the body is not whole."""
        if not self._made.eof:
            raise BadBody(f"the {self._coding} body ends too early")


def wanted_coding(accepted: str) -> str:
    """Return which coding an Accept-Encoding prefers; empty for none."""
    weights = dict(_weights(accepted))
    others = weights.get("*", 0.0)
    plain = weights.get("identity", 0.0)
    best, coding = max((weights.get(name, others), name == GZIP, name) for name in (GZIP, DEFLATE))[::2]
    return coding if best > 0 and best >= plain else ""


def compressed(body: bytes, coding: str) -> bytes | None:
    """Return a body compressed; None when that is not worth it."""
    if not coding or len(body) < _SMALL_BYTES:
        return None
    making = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW[coding])
    return making.compress(body) + making.flush()


def _weights(accepted: str) -> Iterator[tuple[str, float]]:
    for entry in accepted[:1024].split(","):
        name, _, parameters = entry.partition(";")
        key, _, value = parameters.strip().partition("=")
        weight = 1.0
        if key.strip().lower() == "q":
            try:
                weight = float(value)
            except ValueError:
                weight = 0.0
        name = name.strip().lower()
        yield _NAMES.get(name, name), weight if 0.0 <= weight <= 1.0 else 0.0


def _is_zlib(data: bytes) -> bool:
    """Whether bytes begin as RFC 1950 says; of a single byte, whether they can."""
    if data[0] & 0x0F != 8:
        return False
    return len(data) == 1 or (data[0] << 8 | data[1]) % 31 == 0
