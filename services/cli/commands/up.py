"""`forebay up`: the whole platform on this machine, until Ctrl-C."""

import asyncio
import os
from pathlib import Path
from typing import Any

import click

from services.cli import settings as configuration
from services.cli.exits import CommandFailed, Exit
from services.cli.settings import ServerSettings, UpSettings
from services.cli.version import version


@click.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for everything that is kept. Default: ~/.local/share/forebay.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    envvar="FOREBAY_CONFIG",
    help="TOML file with settings; FOREBAY_* variables override it, flags override both.",
)
@click.option("--grpc-port", type=click.IntRange(1, 65535), help="Port of the gRPC server. Default: 7070.")
@click.option("--http-port", type=click.IntRange(1, 65535), help="Port of the HTTP server. Default: 7080.")
@click.option(
    "--model",
    "models",
    metavar="NAME=PATH",
    multiple=True,
    help="A model to serve: a folder or an .onnx file. May be repeated.",
)
@click.option(
    "--model-repository",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder whose model folders and .onnx files are all served, and followed as they change.",
)
@click.option(
    "--model-control",
    type=click.Choice(("poll", "explicit", "none")),
    help="Load all models of the repository and follow their folders, only those that operators load, or all at the "
    "start alone. Default: poll.",
)
@click.option(
    "--demo-model",
    is_flag=True,
    help="Serve SmolLM2-135M-Instruct as smollm2; the first time it is fetched (98 MB) and converted.",
)
@click.option(
    "--broker",
    metavar="URL",
    default="",
    help="Apache Pulsar instead of the embedded broker: pulsar://HOST:6650.",
)
@click.option(
    "--broker-admin",
    metavar="URL",
    default="",
    help="Its admin API. Default: the broker's host with port 8080.",
)
@click.option(
    "--redis",
    metavar="URL",
    default="",
    help="Redis or Valkey instead of the embedded one: redis://HOST:6379/0.",
)
@click.option("--otlp-endpoint", metavar="URL", default="", help="Send traces there (OTLP over gRPC).")
def up(
    data: Path | None,
    config: Path | None,
    grpc_port: int | None,
    http_port: int | None,
    models: tuple[str, ...],
    model_repository: Path | None,
    model_control: str | None,
    demo_model: bool,
    broker: str,
    broker_admin: str,
    redis: str,
    otlp_endpoint: str,
) -> None:
    """Run the whole platform on this machine, until Ctrl-C.

    The first Ctrl-C lets running work end, the second kills. Nothing is left running either way.
    """  # fmt: skip
    if demo_model:
        from inference.providers import installed_runtime
        from services.cli.demo_model import CACHE, MODEL, bring_model
        from services.cli.up.terminal import Terminal

        installed_runtime()
        models = (*models, f"{MODEL}={bring_model(CACHE.expanduser(), Terminal().say)}")
    flags = {
        "data": data,
        "grpc_port": grpc_port,
        "http_port": http_port,
        "models": models or None,
        "model_repository": model_repository,
        "model_control": model_control,
    }
    variables = configuration.variables(config, os.environ)
    settings = resolve(flags, variables)
    external = configuration.servers(
        variables, broker=broker, broker_admin=broker_admin, redis=redis, otlp=otlp_endpoint
    )
    asyncio.run(stay_up(settings, external, variables))


def resolve(flags: dict[str, Any], variables: dict[str, str]) -> UpSettings:
    """Settle the settings of section `up`, flags first. Raises StartupRefused with every fault."""
    from dataclasses import replace

    from services.settings import load

    found = load(UpSettings, section="up", file=None, environ=variables, overrides=flags)
    return replace(found, models=configuration.parse_models(found.models))


async def stay_up(settings: UpSettings, external: ServerSettings, variables: dict[str, str]) -> None:
    """Start everything, say so, and wait for the end.

    Raises StartupRefused, RuntimeMissing, and CommandFailed when a person had everything killed.
    """
    # Imported here: `forebay up --help` needs none of it.
    from services.cli.up.platform import platform
    from services.cli.up.supervisor import Killed, Stopped
    from services.cli.up.terminal import Terminal

    terminal = Terminal()
    terminal.say("forebay", version())
    try:
        async with platform(settings, external, variables, terminal.say) as running:
            where = running.plan.addresses
            if shortfall := running.fleet.shortfall():
                terminal.say("forebay", shortfall)
            terminal.say(
                "forebay",
                f"forebay is ready: grpc {where.grpc}, http http://{where.http}, data {running.data}",
            )
            await running.supervisor.unless_ending(running.fleet.watched())
    except Killed:
        terminal.say("forebay", "killed; nothing is left running")
        raise CommandFailed("killed", Exit.INTERRUPTED) from None
    except Stopped:
        terminal.say("forebay", "stopped; nothing is left running")
