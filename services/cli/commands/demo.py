"""`forebay demo`: a real language model, four priorities, one queue, from nothing to answers."""

import asyncio
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import psutil

from services.cli.settings import ServerSettings, UpSettings

if TYPE_CHECKING:
    from services.cli.up.terminal import Terminal

MODEL: Final = "smollm2"
PORTS: Final = (7070, 7080)


@click.command()
@click.option("--keep", is_flag=True, help="Leave everything running afterwards, until Ctrl-C.")
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    default="~/.cache/forebay/models",
    show_default=True,
    help="Where the model is kept for the next time.",
)
def demo(keep: bool, cache: Path) -> None:
    """See it work: bring SmolLM2-135M, start everything, and let requests of four priorities compete.

    The first run fetches 93 MB and converts them. Nothing is left running afterwards.
    """  # fmt: skip
    from services.cli.up.terminal import Terminal

    terminal = Terminal()
    begun_s = psutil.Process(os.getpid()).create_time()
    model = bring_model(cache.expanduser(), terminal)
    with ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="forebay-demo-")))
        grpc_port, http_port = demo_ports()
        settings = UpSettings(
            data=data, grpc_port=grpc_port, http_port=http_port, models=(f"{MODEL}={model}",), grace_s=5.0
        )
        asyncio.run(show(settings, begun_s, keep=keep, terminal=terminal))
    terminal.line("Nothing is left running.")


def bring_model(cache: Path, terminal: "Terminal") -> Path:
    """Return the model's folder in the cache; fetch and convert it when it is not there.

    Raises ModelUnusable or ImportRefused.
    """
    from inference.importers import fetch_smollm2, import_gguf

    def report(text: str) -> None:
        terminal.say("model", text)

    folder = cache / MODEL
    if (folder / "genai_config.json").is_file():
        report(f"SmolLM2-135M-Instruct is in {folder}")
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    report("bringing SmolLM2-135M-Instruct (93 MB, Apache-2.0), for this time only")
    file = fetch_smollm2(cache, report)
    return import_gguf(file, folder, quantization="int4", report=report)


def demo_ports() -> tuple[int, int]:
    """Return the usual ports where they are free, others where not."""
    from services.cli.up import ports

    host = UpSettings().host
    others = ports.pick(host, len(PORTS))
    grpc_port, http_port = (
        usual if ports.is_free(host, usual) else other for usual, other in zip(PORTS, others, strict=True)
    )
    return grpc_port, http_port


async def show(settings: UpSettings, begun_s: float, *, keep: bool, terminal: "Terminal") -> None:
    """Start everything, play the scene, and take everything down. Raises StartupRefused, CommandFailed."""
    from services.cli.demo_scene import Scene
    from services.cli.exits import CommandFailed
    from services.cli.up.platform import platform
    from services.cli.up.supervisor import Stopped

    try:
        # The demo needs no settings of the person's own, and must not touch the servers that they may name.
        async with platform(settings, ServerSettings(), {}, terminal.say) as running:
            address = running.plan.addresses.grpc
            terminal.say(
                "forebay", f"forebay is ready: grpc {address}, http http://{running.plan.addresses.http}"
            )
            if running.fleet.failed:
                raise CommandFailed(f"the model {MODEL} is not ready; its reason is above")
            await running.supervisor.unless_ending(Scene(address, MODEL, begun_s, terminal.line).play())
            if keep:
                terminal.line("\nEverything goes on until Ctrl-C.")
                await running.supervisor.unless_ending(running.fleet.watched())
    except Stopped:
        terminal.line("Stopped.")
