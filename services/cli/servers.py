"""Where commands that repair and copy find record store and log, and how they run: `python -m services.recovery`.

A process of its own, because no service is imported by another one.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import click

from services.cli import settings
from services.cli.exits import CommandFailed, Exit

MODULE: Final = "services.recovery"


def located(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say where the servers are."""
    for option in (
        click.option(
            "--config",
            type=click.Path(path_type=Path, dir_okay=False, exists=True),
            envvar="FOREBAY_CONFIG",
            help="TOML file with the settings of the services.",
        ),
        click.option(
            "--admin", metavar="URL", default="", help="Its admin API. Default: its host, port 8080."
        ),
        click.option("--broker", metavar="URL", default="", help="Apache Pulsar: pulsar://HOST:6650."),
        click.option("--redis", metavar="URL", default="", help="Redis or Valkey: redis://HOST:6379/0."),
        click.option(
            "--data",
            type=click.Path(path_type=Path, file_okay=False),
            help="Data folder of a `forebay up` that runs. Default: its usual one, unless servers are named.",
        ),
    ):
        command = option(command)
    return command


def variables(
    *, data: Path | None, redis: str, broker: str, admin: str, config: Path | None, needs_log: bool
) -> dict[str, str]:
    """Return the FOREBAY_* variables with which everything is found: named servers, or those of `forebay up`.

    Raises StartupRefused when nothing runs on the data folder, and UsageError when a folder and servers are named, or
    only one of two servers.
    """
    one_place(data, redis=redis, broker=broker, admin=admin)
    known = settings.variables(config, os.environ)
    named = settings.servers(known, broker=broker, broker_admin=admin, redis=redis, otlp="")
    if data is None and named.redis_url and (named.broker_url or not needs_log):
        return {
            **known,
            "FOREBAY_REDIS_URL": named.redis_url,
            "FOREBAY_BROKER_URL": named.broker_url,
            "FOREBAY_BROKER_ADMIN_URL": named.broker_admin,
        }
    if data is None and (redis or broker):
        # Falling back to the usual folder would change another platform than the one that is meant.
        missing = "--broker" if redis else "--redis"
        raise click.UsageError(f"{missing} is missing: without --data, name the servers that are needed")
    from services.cli.up import servers_file

    running = servers_file.read((data or settings.default_data()).expanduser().resolve())
    return {**known, **running}


def one_place(data: Path | None, *, redis: str, broker: str, admin: str) -> None:
    """Raise UsageError when both a folder and servers are named: one of them would go unheard."""
    if data is not None and (redis or broker or admin):
        raise click.UsageError("--data and --redis, --broker or --admin exclude each other")


def named_store(redis: str, config: Path | None) -> bool:
    """Whether a record store is named by option, variable or file."""
    known = settings.variables(config, os.environ)
    return bool(redis or known.get("FOREBAY_REDIS_URL"))


def run(words: Sequence[str], known: dict[str, str]) -> dict[str, Any]:
    """Run a repair and return what it says it did. Raises CommandFailed with its own sentence."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("FOREBAY_")},
        **{name: value for name, value in known.items() if value},
        "FOREBAY_PARENT_PID": str(os.getpid()),
        # A folder called `services` where the user happens to stand must not be taken for ours.
        "PYTHONSAFEPATH": "1",
    }
    ended = subprocess.run(
        [sys.executable, "-m", MODULE, *words], env=environment, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        said = ended.stderr.strip().rpartition("\n")[2]
        raise CommandFailed(said or f"it ended with exit code {ended.returncode}", Exit.FAILED)
    found = json.loads(ended.stdout)
    return found if isinstance(found, dict) else {}
