"""`forebay models`: what the fleet serves, and bringing model files into shape."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from services.cli import render
from services.cli.session import as_json, client

if TYPE_CHECKING:
    from forebay.client import ModelInfo, TensorInfo

COLUMNS = ("name", "engine", ">ready", "provider", ">context", "inputs", "outputs", "digest", "why not")
DEFAULT_OUT = Path("models")


@click.group()
def models() -> None:
    """List models, or import one."""


@models.command()
@as_json
@click.pass_obj
def ls(address: str, json_: bool) -> None:
    """List the models that runners serve, with the execution provider in use."""
    with client(address) as opened:
        found = opened.models()
    if json_:
        render.emit(found)
        return
    render.table(COLUMNS, (_row(model) for model in found), empty="no models")


@models.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--name", required=True, help="What the model shall be called.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_OUT,
    show_default=True,
    help="Folder in which a folder NAME is made.",
)
@click.option(
    "--quantization",
    type=click.Choice(("int4", "fp32")),
    default="int4",
    show_default=True,
    help="How weights are stored.",
)
def import_(file: Path, name: str, out: Path, quantization: Literal["int4", "fp32"]) -> None:
    """Convert a GGUF language model into a folder that runners load. Needs no server."""  # fmt: skip
    from inference.importers import import_gguf

    begun = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    folder = import_gguf(file, out / name, quantization=quantization, report=progress)
    click.echo(f"{name} is in {folder} ({time.monotonic() - begun:.1f} s); serve it with:")
    click.echo(f"  forebay up --model {name}={folder}")


def progress(text: str) -> None:
    """Tell on stderr what goes on."""
    click.echo(f"  {text}", err=True)


def _row(model: "ModelInfo") -> tuple[object, ...]:
    return (
        model.name,
        model.engine,
        model.ready_runners,
        ", ".join(model.providers),
        model.context_length or "",
        _signatures(model.inputs),
        _signatures(model.outputs),
        model.digest[:12],
        "; ".join(model.failures),
    )


def _signatures(tensors: Iterable["TensorInfo"]) -> str:
    return ", ".join(
        f"{one.name} {one.datatype}[{','.join('?' if size < 0 else str(size) for size in one.shape)}]"
        for one in tensors
    )
