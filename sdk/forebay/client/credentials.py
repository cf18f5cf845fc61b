"""The API key that a client shows with every call.

It travels as gRPC metadata, in the clear: over anything but the loopback, put a TLS proxy before the gateway.
"""

import os
from typing import Final

from forebay.client.transport import Metadata

VARIABLE: Final = "FOREBAY_API_KEY"
"""Where the key comes from when none is given."""


def credentials(api_key: str | None) -> Metadata:
    """Return the metadata that shows a key: the one that is given, else that of FOREBAY_API_KEY; an empty one is none.

    Raises ValueError, without the text, for what can be no key.
    """
    key = os.environ.get(VARIABLE, "") if api_key is None else api_key
    if not key:
        return ()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ValueError("an API key has printable ASCII characters only, and no spaces")
    return (("authorization", f"Bearer {key}"),)
