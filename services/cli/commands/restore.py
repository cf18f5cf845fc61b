"""`forebay restore`: the records of a backup into an empty store."""

from pathlib import Path
from typing import Any

import click

from services.cli import render, settings
from services.cli.servers import located, named_store, one_place, run, variables
from services.cli.session import as_json


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@located
@as_json
def restore(
    file: Path, data: Path | None, redis: str, broker: str, admin: str, config: Path | None, json_: bool
) -> None:
    """Write the records of FILE, made by `forebay backup`, into a store without any.

    The whole file is checked first. With a data folder, `forebay up` must not run on it; at its next start open tasks
    are put on the log when there is none. With --redis the store must be empty, so stop all services first; start
    them afterwards and run `forebay recover` (what was accepted after the backup, as far as the log has it) and
    `forebay recover --republish` (open tasks on the log).
    """  # fmt: skip
    one_place(data, redis=redis, broker=broker, admin=admin)
    words = ["restore", str(file.absolute())]
    if data is None and named_store(redis, config):
        known = variables(data=None, redis=redis, broker=broker, admin=admin, config=config, needs_log=False)
        done = run(words, known)
    else:
        done = _into_folder((data or settings.default_data()).expanduser().resolve(), words)
    if json_:
        render.emit(done)
    else:
        click.echo(f"{done['keys']} keys restored from {file}")
        click.echo("when it runs again: forebay recover, then forebay recover --republish")


def _into_folder(data: Path, words: list[str]) -> dict[str, Any]:
    from services.cli.up.store_alone import store_alone

    with store_alone(data) as url:
        return run(words, {"FOREBAY_REDIS_URL": url})
