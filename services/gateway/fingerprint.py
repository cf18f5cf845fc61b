"""What makes two submitted specs the same one: a digest keyed by tenant, so that no tenant can test for another's."""

import hashlib
import hmac
from functools import lru_cache
from typing import Final

from forebay.tasks.v1 import task_pb2

_PURPOSE: Final = b"forebay fingerprint 1\0"


class Fingerprints:
    """Makes HMAC-SHA256 digests of specs. All gateways must have the same secret."""

    def __init__(self, secret: bytes) -> None:
        self._key_of = lru_cache(maxsize=1024)(
            lambda tenant: hmac.digest(secret, _PURPOSE + tenant.encode(), hashlib.sha256)
        )

    def of(self, tenant: str, spec: task_pb2.TaskSpec) -> str:
        """Return the digest of everything that a spec means but its idempotency key, as hexadecimal digits."""
        body = task_pb2.TaskSpec()
        body.CopyFrom(spec)
        body.ClearField("idempotency_key")
        if body.cache == task_pb2.CACHE_MODE_DEFAULT:
            # As it is where nothing is said.
            body.ClearField("cache")
        return self.digest(tenant, body.SerializeToString(deterministic=True)).hex()

    def digest(self, tenant: str, message: bytes) -> bytes:
        """Return the keyed digest of a message of the gateway's own making."""
        return hmac.digest(self._key_of(tenant), message, "sha256")
