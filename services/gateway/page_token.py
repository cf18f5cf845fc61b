"""Page tokens: opaque, and good for one tenant and one filter only.

A token is the id of the last task that was looked at and a keyed digest over id and filter, base64url.
"""

import base64
import binascii
import hmac
from typing import Final

from forebay.tasks.v1 import task_service_pb2
from scheduler.errors import InvalidInput
from scheduler.ids import is_task_id
from services.gateway.fingerprint import Fingerprints

_DIGEST_BYTES: Final = 16


class PageTokens:
    """Makes and reads tokens."""

    def __init__(self, fingerprints: Fingerprints) -> None:
        self._fingerprints = fingerprints

    def make(self, tenant: str, wanted: task_service_pb2.TaskFilter, last_id: str) -> str:
        """Return a token for the page after a task."""
        raw = self._digest(tenant, wanted, last_id) + last_id.encode()
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    def read(self, tenant: str, wanted: task_service_pb2.TaskFilter, token: str) -> str:
        """Return the id in a token; empty for an empty token. Raises InvalidInput for one that is not ours."""
        if not token:
            return ""
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            last_id = raw[_DIGEST_BYTES:].decode("ascii")
        except (binascii.Error, ValueError):
            raise _refused() from None
        good = is_task_id(last_id) and self.make(tenant, wanted, last_id) == token
        if not (good and hmac.compare_digest(raw[:_DIGEST_BYTES], self._digest(tenant, wanted, last_id))):
            raise _refused()
        return last_id

    def _digest(self, tenant: str, wanted: task_service_pb2.TaskFilter, last_id: str) -> bytes:
        message = b"page\0" + last_id.encode() + wanted.SerializeToString(deterministic=True)
        return self._fingerprints.digest(tenant, message)[:_DIGEST_BYTES]


def _refused() -> InvalidInput:
    return InvalidInput.of("page_token", "is not a page token of this server for this filter")
