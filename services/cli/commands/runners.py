"""`forebay runners`: the processes that run models."""

import click

from services.cli import render
from services.cli.session import as_json, client

COLUMNS = (
    "id",
    "model",
    "state",
    "provider",
    ">held",
    ">capacity",
    ">loaded in",
    "pid",
    "address",
    "metrics",
    "why",
)


@click.command()
@click.option("--model", default="", help="Only of this model.")
@as_json
@click.pass_obj
def runners(address: str, model: str, json_: bool) -> None:
    """List runner processes, by model."""
    with client(address) as opened:
        found = opened.runners(model)
    if json_:
        render.emit(found)
        return
    rows = (
        (one.id, one.model, one.state, one.provider, one.held, one.capacity, render.seconds(one.load_s), one.pid,
         one.address, one.metrics_address, one.reason)
        for one in found
    )  # fmt: skip
    render.table(COLUMNS, rows, empty="no runners: is a model given to `forebay up` with --model NAME=PATH?")
