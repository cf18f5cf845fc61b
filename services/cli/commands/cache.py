"""`forebay cache`: what the result cache holds, and what other settings would bring; see also `cache_changes.py`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from services.cli import cache_tables, render
from services.cli.commands.cache_changes import FILE, of_tenant, purge, warm
from services.cli.exits import CommandFailed
from services.cli.request import specs_from_file, text_or_stdin
from services.cli.session import as_json, client

if TYPE_CHECKING:
    from forebay.tasks.v1.task_pb2 import TaskSpec


@click.group()
def cache() -> None:
    """The result cache. docs/caching.md explains its tiers and settings."""


@cache.command()
@click.option("--namespaces", is_flag=True, help="Show who holds most in each tier, too.")
@click.option("--models", is_flag=True, help="Show what the answers of each model brought, too.")
@click.option("--most", type=click.IntRange(1, 1000), default=50, show_default=True, help="Longest lists.")
@as_json
@click.pass_obj
def stats(address: str, namespaces: bool, models: bool, most: int, json_: bool) -> None:
    """Show what each tier holds and has counted since the gateway was started.

    Who does not operate the platform sees what is held for its own namespace.
    """
    with client(address) as opened:
        found = opened.cache.stats(namespaces=namespaces, models=models, most=most)
    if json_:
        render.emit(found)
    else:
        cache_tables.show_stats(found, namespaces=namespaces, models=models)


@cache.command()
@click.argument("key", required=False, default="")
@click.option("--model", default="", help="Name of the model that is asked.")
@click.option("--prompt", help="The question as `forebay submit --prompt` asks it; - reads stdin.")
@click.option("--text", "texts", multiple=True, help="A text for an embedding model; - reads stdin.")
@click.option(
    "--request", "file", metavar="FILE", type=FILE, help="The question as a TaskSpec in JSON; - reads stdin."
)
@of_tenant
@as_json
@click.pass_obj
def get(
    address: str,
    key: str,
    model: str,
    prompt: str | None,
    texts: tuple[str, ...],
    file: Path | None,
    tenant: str,
    json_: bool,
) -> None:
    """Show where an answer is kept, by its KEY or by the question: never the answer itself.

    The exit code is 1 when no tier has it.
    """
    if sum((bool(key), prompt is not None, bool(texts), file is not None)) != 1:
        raise click.UsageError("give exactly one of KEY, --prompt, --text and --request")
    wanted: TaskSpec | str = key
    if file is not None:
        [wanted, *more] = specs_from_file(file, model, {})
        if more:
            raise click.UsageError(f"{file} has more than one question")
    elif not key:
        if not model:
            raise click.UsageError("say which model with --model")
        from forebay.client import task_spec

        asked: dict[str, Any]
        if texts:
            asked = {"texts": [text_or_stdin(text) for text in texts]}
        else:
            # In the model's chat template, as `forebay submit --prompt` asks.
            asked = {"messages": [{"role": "user", "content": text_or_stdin(prompt or "")}]}
        wanted = task_spec(model, **asked)
    with client(address) as opened:
        found = opened.cache.get(wanted, tenant=tenant)
    if json_:
        render.emit(found)
    else:
        cache_tables.show_answer(found)


@cache.command()
@click.option("--tier", type=click.Choice(("memory", "redis", "disk")), help="Only this tier.")
@as_json
@click.pass_obj
def advise(address: str, tier: str | None, json_: bool) -> None:
    """Say what a larger or smaller tier, another policy or a longer time to live would bring; for operators.

    Miniatures of the tiers are run over a sample of what was asked lately, which takes seconds.
    """
    with client(address) as opened:
        found = opened.cache.advise(tier or "")
    if json_:
        render.emit(found)
        return
    if not found:
        raise CommandFailed("the gateway has no tier to advise on")
    for place, one in enumerate(found):
        if place:
            click.echo()
        cache_tables.show_advice(one)


cache.add_command(purge)
cache.add_command(warm)
