"""The Lua scripts of this package, by name."""

import hashlib
from functools import cache
from importlib import resources

from scheduler.adapters.redis.scripts import Script


@cache
def load_script(name: str, *parts: str) -> Script:
    """Read a script behind the shared parts that it needs."""
    folder = resources.files(__package__) / "scripts"
    text = b"".join([(folder / f"{each}.lua").read_bytes() for each in (*parts, name)])
    return Script(text, hashlib.sha1(text, usedforsecurity=False).hexdigest())
