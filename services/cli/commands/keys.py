"""`forebay keys`: API keys, by which a gateway tells tenants apart."""

import click

from services.cli import render
from services.cli.session import as_json


@click.group()
def keys() -> None:
    """API keys, by which a gateway tells tenants apart."""


@keys.command()
@click.argument("tenant")
@click.option("--operator", is_flag=True, help="It may pause queues and change the policy, too.")
@as_json
def new(tenant: str, operator: bool, json_: bool) -> None:
    """Make a key, and the line that lets it in. The key is shown this once: the line cannot be turned back into it.

    Put the line into the file that FOREBAY_GATEWAY_API_KEYS_FILE names (or `[gateway] api_keys_file`); gateways follow
    within two seconds. Callers keep the key in FOREBAY_API_KEY. Taking the line out again ends the key.
    """
    from services.api_keys import line_of, new_key

    key = new_key()
    try:
        line = line_of(key, tenant, operator=operator)
    except ValueError as fault:
        raise click.UsageError(str(fault)) from None
    if json_:
        render.emit({"key": key, "line": line})
    else:
        click.echo(f"key   {key}\nline  {line}")
