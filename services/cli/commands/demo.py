"""`forebay demo`: a real language model, four priorities, one queue, from nothing to answers."""

import asyncio
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import psutil

from services.cli.demo_model import CACHE, MODEL, bring_model
from services.cli.settings import ServerSettings, UpSettings

if TYPE_CHECKING:
    from services.cli.up.terminal import Terminal

PORTS: Final = (7070, 7080)
_SMALL: Final = {"FOREBAY_ENGINE_SLOTS": "4"}
"""Settings of the demo: few places, so that its tasks have to queue."""


@click.command()
@click.option("--keep", is_flag=True, help="Leave everything running afterwards, until Ctrl-C.")
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    default=CACHE,
    show_default=True,
    help="Where the model is kept for the next time.",
)
def demo(keep: bool, cache: Path) -> None:
    """See it work: bring SmolLM2-135M, start everything, and let requests of four priorities compete.

    The first run fetches 98 MB and converts them. Nothing is left running afterwards.
    """  # fmt: skip
    from services.cli.up.terminal import Terminal

    terminal = Terminal()
    begun_s = psutil.Process(os.getpid()).create_time()
    model = bring_model(cache.expanduser(), terminal.say)
    with ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="forebay-demo-")))
        grpc_port, http_port = demo_ports()
        settings = UpSettings(
            data=data, grpc_port=grpc_port, http_port=http_port, models=(f"{MODEL}={model}",), grace_s=5.0
        )
        asyncio.run(show(settings, begun_s, keep=keep, terminal=terminal))
    terminal.line("Nothing is left running.")


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
    from observability import names, tracing
    from services.cli.demo_scene import Scene
    from services.cli.demo_trace import trace_tap
    from services.cli.exits import CommandFailed, Exit
    from services.cli.up.platform import platform
    from services.cli.up.supervisor import Killed, Stopped

    try:
        # The demo needs no settings of the person's own, and must not touch the servers that they may name.
        async with (
            trace_tap() as (tap, endpoint),
            platform(settings, ServerSettings(otlp_endpoint=endpoint), _SMALL, terminal.say) as running,
        ):
            flush = tracing.configure(names.SERVICE_CLIENT, endpoint)
            address = running.plan.addresses.grpc
            terminal.say(
                "forebay", f"forebay is ready: grpc {address}, http http://{running.plan.addresses.http}"
            )
            if running.fleet.failed:
                raise CommandFailed(f"the model {MODEL} is not ready; its reason is above")
            scene = Scene(address, running.key, MODEL, begun_s, terminal.line)
            await running.supervisor.unless_ending(scene.play(tap, flush))
            if keep:
                terminal.line("\nEverything goes on until Ctrl-C.")
                await running.supervisor.unless_ending(running.fleet.watched())
    except Killed:
        raise CommandFailed("killed", Exit.INTERRUPTED) from None
    except Stopped:
        terminal.line("Stopped.")
