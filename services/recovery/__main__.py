"""Entry point: `python -m services.recovery replay|republish|examine|backup FILE|restore FILE [--dry-run]`.

Writes what it did as one line of JSON to stdout, or why it could not to stderr. The command line of people is
`forebay recover`, `forebay backup` and `forebay restore`; `forebay up` calls it too.
"""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import uvloop

from observability import logs
from scheduler.errors import ForebayError
from services import settings
from services.connections import BrokerSettings, QueueSettings, RedisSettings, RetentionSettings
from services.lifecycle import die_with_parent
from services.recovery import copies
from services.recovery.app import Servers, records, repairs

FAILED: Final = 1


def servers(environ: Mapping[str, str]) -> Servers:
    """Read the settings. Raises StartupRefused."""

    def section(kind: type[Any], name: str) -> Any:
        return settings.load(kind, section=name, file=None, environ=environ)

    return Servers(
        section(RedisSettings, "redis"),
        section(BrokerSettings, "broker"),
        section(QueueSettings, "queues"),
        section(RetentionSettings, "retention"),
    )


async def main(arguments: argparse.Namespace, where: Servers) -> dict[str, Any]:
    """Do what was asked for and return what was done. Raises ForebayError."""
    match arguments.verb:
        case "backup":
            async with records(where) as client:
                return asdict(await copies.backup(client, arguments.file))
        case "restore":
            async with records(where) as client:
                return asdict(await copies.restore(client, arguments.file))
        case "republish":
            async with repairs(where) as opened:
                return asdict(await opened.republish(dry_run=arguments.dry_run))
        case "examine":
            async with repairs(where) as opened:
                return {"messages": await opened.examine()}
        case _:
            async with repairs(where) as opened:
                done = await opened.replay(dry_run=arguments.dry_run)
                return {**asdict(done), "recovered": done.recovered}


def parse(words: list[str]) -> argparse.Namespace:
    """Understand the command line."""
    parser = argparse.ArgumentParser("services.recovery")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("replay", "republish"):
        verbs.add_parser(verb).add_argument("--dry-run", action="store_true")
    verbs.add_parser("examine")
    for verb in ("backup", "restore"):
        verbs.add_parser(verb).add_argument("file", type=Path)
    return parser.parse_args(words)


def run(words: list[str]) -> int:
    """Run the process; returns its exit code."""
    die_with_parent()
    logs.configure("recovery", level="WARNING")
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            done = runner.run(main(parse(words), servers(os.environ)))
    except ForebayError as error:
        sys.stderr.write(f"{error}\n")
        return FAILED
    sys.stdout.write(json.dumps(done) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
