"""API keys: how they and the lines of the file look that lists them. No I/O.

A line is `<SHA-256 of the key, in hexadecimal> <tenant> [operator]`; what follows a # is a comment. The file holds no
key, and so gives none away: keys are random, 256 bits of them, so that nobody can find one by trying, and no salt or
slow hash is needed. A key that is presented is hashed and its digest looked up in a dictionary. That look-up takes a
time that depends on digests, but whoever presents keys cannot choose digests, so the time tells nothing about a key.
The text of a key is never kept and never logged.
"""

import hashlib
import re
import secrets
from collections.abc import Mapping
from typing import Final, NamedTuple

OPERATOR: Final = "operator"

_PREFIX: Final = "fbk_"
"""By it, scanners of source code and logs can tell a key that got where it should not be."""
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_TENANT: Final = re.compile(r"[^\s#]{1,128}")
_SHOWN_FAULTS: Final = 5
_OF_NOTHING: Final = hashlib.sha256().hexdigest()


class Holder(NamedTuple):
    """Whose key it is."""

    tenant: str
    operator: bool = False


class KeyFileFault(ValueError):
    """The file cannot be used. The message names lines, and never what is in them."""


def new_key() -> str:
    """Make a key."""
    return _PREFIX + secrets.token_urlsafe(32)


def digest_of(key: str) -> str:
    """Return the SHA-256 of a key in hexadecimal."""
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()


def line_of(key: str, tenant: str, *, operator: bool = False) -> str:
    """Return the line that lets a key in. Raises ValueError for what the file cannot hold as the name of a tenant."""
    if not (_TENANT.fullmatch(tenant) and tenant.isprintable()):
        raise ValueError("a tenant's name must be 1 to 128 printable characters without spaces and #")
    return f"{digest_of(key)} {tenant}" + (f" {OPERATOR}" if operator else "")


def parse(text: str) -> dict[str, Holder]:
    """Read a file's text: whose they are, by digest. Raises KeyFileFault with every fault, or the first few."""
    holders: dict[str, Holder] = {}
    faults: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        fault = _fault(words, holders)
        if fault:
            faults.append(f"line {number} {fault}")
        else:
            holders[words[0].lower()] = Holder(words[1], operator=len(words) == 3)
    if faults:
        more = f", and {len(faults) - _SHOWN_FAULTS} more" if len(faults) > _SHOWN_FAULTS else ""
        raise KeyFileFault("; ".join(faults[:_SHOWN_FAULTS]) + more)
    return holders


def _fault(words: list[str], holders: Mapping[str, Holder]) -> str:
    """Return what is wrong with a line, empty for nothing."""
    if not _DIGEST.fullmatch(words[0].lower()):
        return "does not begin with a SHA-256 in hexadecimal: 64 digits of 0-9 and a-f"
    if words[0].lower() == _OF_NOTHING:
        return "has the digest of an empty text, which is no key"
    if words[0].lower() in holders:
        return "has the digest of an earlier line"
    if len(words) not in (2, 3) or (len(words) == 3 and words[2] != OPERATOR):
        return f"is not `digest tenant` or `digest tenant {OPERATOR}`"
    if not (_TENANT.fullmatch(words[1]) and words[1].isprintable()):
        return "names a tenant with something other than 1 to 128 printable characters"
    return ""
