"""Runs Lua scripts: one call for each partition of a batch, all of them in one round trip."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, ResponseError

from scheduler.adapters.redis.connection import Argument, Command, round_trip


@dataclass(frozen=True, slots=True)
class Script:
    """A script's text and the SHA-1 by which the server knows it."""

    text: bytes
    sha: str


@cache
def load_script(name: str, *parts: str) -> Script:
    """Read a script of this package behind the prelude of record scripts and further shared parts."""
    return _script("prelude", *parts, name)


@cache
def load_bare_script(name: str) -> Script:
    """Read a script that stands alone."""
    return _script(name)


def _script(*names: str) -> Script:
    folder = resources.files(__package__) / "scripts"
    text = b"".join([(folder / f"{name}.lua").read_bytes() for name in names])
    return Script(text, hashlib.sha1(text, usedforsecurity=False).hexdigest())


async def run_script(
    client: Redis, script: Script, calls: Sequence[tuple[str, Sequence[Argument]]]
) -> list[Any]:
    """Run a script once for each (key or key prefix, arguments) and return the replies in order.

    A server that does not know the script is given it, and only the calls that failed for that are repeated.
    Raises RecordsUnavailable, with the outcome unknown, as `round_trip` does.
    """
    commands: list[Command] = [("EVALSHA", script.sha, 1, key, *arguments) for key, arguments in calls]
    replies = await round_trip(client, commands)
    missing = [place for place, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
    if missing:
        load: Command = ("SCRIPT", "LOAD", script.text)
        repeated = await round_trip(client, [load, *(commands[place] for place in missing)])
        for place, reply in zip(missing, repeated[1:], strict=True):
            replies[place] = reply
    return checked(replies)


async def run_commands(client: Redis, commands: Sequence[Command]) -> list[Any]:
    """Run plain commands in one round trip; raises as `run_script` does."""
    return checked(await round_trip(client, commands))


def checked(replies: list[Any]) -> list[Any]:
    """Return replies if none is a refusal; a refusal is a fault in the program or the server's settings."""
    for reply in replies:
        if isinstance(reply, ResponseError):
            raise reply
    return replies
