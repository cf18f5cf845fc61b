"""Page tokens: opaque, and good for one tenant, one kind of page and one filter only.

A token is the last item that was looked at and a keyed digest over item and filter, base64url.
"""

import base64
import binascii
import hmac
from typing import Final

from google.protobuf.message import Message

from scheduler.errors import InvalidInput
from services.gateway.fingerprint import Fingerprints

_DIGEST_BYTES: Final = 16


class PageTokens:
    """Makes and reads tokens."""

    def __init__(self, fingerprints: Fingerprints, kind: str = "page") -> None:
        """`kind` names what is on the pages: tokens of one kind are nothing to another."""
        self._fingerprints = fingerprints
        self._kind: Final = kind.encode()

    def make(self, tenant: str, wanted: Message, last: str) -> str:
        """Return a token for the page after an item, named by its id or name (ASCII)."""
        raw = self._digest(tenant, wanted, last) + last.encode("ascii")
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    def read(self, tenant: str, wanted: Message, token: str) -> str:
        """Return the item in a token; empty for an empty token. Raises InvalidInput for one that is not ours."""
        if not token:
            return ""
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            last = raw[_DIGEST_BYTES:].decode("ascii")
        except (binascii.Error, ValueError):
            raise _refused() from None
        # The same bytes have several spellings in base64; only ours is good.
        good = bool(last) and self.make(tenant, wanted, last) == token
        if not (good and hmac.compare_digest(raw[:_DIGEST_BYTES], self._digest(tenant, wanted, last))):
            raise _refused()
        return last

    def _digest(self, tenant: str, wanted: Message, last: str) -> bytes:
        message = b"\0".join((self._kind, last.encode(), wanted.SerializeToString(deterministic=True)))
        return self._fingerprints.digest(tenant, message)[:_DIGEST_BYTES]


def _refused() -> InvalidInput:
    return InvalidInput.of("page_token", "is not a page token of this server for this filter")
