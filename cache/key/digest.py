"""Keys: digests of questions under the secret of the namespace that asks, so that nobody else can make or guess one.

    namespace's secret = HMAC-SHA256(secret, "forebay cache key 1" NUL namespace)
    key                = HMAC-SHA256(namespace's secret, canonical form of the question)
    namespace's tag    = HMAC-SHA256(secret, "forebay cache namespace 1" NUL namespace), the first 16 bytes
    label's tag        = HMAC-SHA256(secret, "forebay cache label 1" NUL length of the name, name, value), the first 8

A namespace is `t` and the tenant's name, or `s` and the name of a shared one: a tenant that has the name of a shared
namespace is not in it. Names go into digests byte by byte, so none can collide with or pass for another, whatever
characters it has. Labels have one tag in all namespaces: an operator purges by label whoever set it.
"""

import hmac
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from cache.key.canonical import canonical
from cache.key.question import Question
from cache.ports import LABEL_BYTES, NAMESPACE_BYTES, Key

SHORTEST_SECRET_BYTES: Final = 16
_KEY: Final = b"forebay cache key 1\0"
_NAMESPACE: Final = b"forebay cache namespace 1\0"
_LABEL: Final = b"forebay cache label 1\0"
_REMEMBERED: Final = 1024
"""Tenants and labels whose digests are kept, so that a key costs one HMAC."""
_LONGEST_REMEMBERED: Final = 1024
"""Characters of a name that is worth remembering: others are digested anew, so that memory stays bounded."""


class _Namespace(NamedTuple):
    """What is made of a namespace's name."""

    tag: bytes
    secret: bytes


class Keys:
    """Makes keys. All gateways must have the same secret and the same shared namespaces."""

    def __init__(self, secret: bytes, shared: Mapping[str, str] | None = None) -> None:
        """`shared` is by tenant the name of the namespace that it shares with others; every other tenant has its own.

        Raises ValueError for a secret that is too short to be one.
        """
        if len(secret) < SHORTEST_SECRET_BYTES:
            raise ValueError(
                f"the cache's secret has {len(secret)} bytes; at least {SHORTEST_SECRET_BYTES} are needed"
            )
        self._secret = secret
        self._shared = dict(shared or {})
        self._remembered = lru_cache(_REMEMBERED)(self._digested)
        self._label = lru_cache(_REMEMBERED)(self._label_digested)

    def key(self, tenant: str, question: Question) -> Key:
        """Return the key of a tenant's question."""
        tag, secret = self._namespace(tenant)
        return Key(tag, hmac.digest(secret, canonical(question), "sha256"))

    def namespace(self, tenant: str) -> bytes:
        """Return the tag of a tenant's namespace."""
        return self._namespace(tenant).tag

    def label(self, name: str, value: str) -> bytes:
        """Return the tag of a label."""
        if len(name) + len(value) > _LONGEST_REMEMBERED:
            return self._label_digested(name, value)
        return self._label(name, value)

    def labels(self, labels: Mapping[str, str]) -> tuple[bytes, ...]:
        """Return the tags of labels, ascending."""
        return tuple(sorted([self.label(name, value) for name, value in labels.items()]))

    def _namespace(self, tenant: str) -> _Namespace:
        return self._remembered(tenant) if len(tenant) <= _LONGEST_REMEMBERED else self._digested(tenant)

    def _digested(self, tenant: str) -> _Namespace:
        shared = self._shared.get(tenant)
        namespace = b"t" + _encoded(tenant) if shared is None else b"s" + _encoded(shared)
        return _Namespace(
            hmac.digest(self._secret, _NAMESPACE + namespace, "sha256")[:NAMESPACE_BYTES],
            hmac.digest(self._secret, _KEY + namespace, "sha256"),
        )

    def _label_digested(self, name: str, value: str) -> bytes:
        encoded = _encoded(name)
        length = len(encoded).to_bytes(8, "little")
        message = b"".join((_LABEL, length, encoded, _encoded(value)))
        return hmac.digest(self._secret, message, "sha256")[:LABEL_BYTES]


def _encoded(name: str) -> bytes:
    """Return the bytes of a name, different ones for different names: also where it is no text that UTF-8 can carry."""
    return name.encode("utf-8", "surrogatepass")
