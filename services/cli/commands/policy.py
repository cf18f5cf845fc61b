"""`forebay policy`: how tasks are ordered, limited and routed; shown, and changed while everything runs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from services.cli import render
from services.cli.exits import CommandFailed
from services.cli.policy_edits import Edit, changes, read_edits, shown
from services.cli.session import as_json, client

if TYPE_CHECKING:
    from forebay.client import Client, PolicyInfo

_TRIES: Final = 3
"""How often a change is made anew because somebody else changed the policy in the same moment."""


@click.group()
def policy() -> None:
    """How tasks are ordered, limited and routed. docs/scheduling.md explains each field."""


@policy.command()
@as_json
@click.pass_obj
def show(address: str, json_: bool) -> None:
    """Show the policy that stands, in the words that `forebay policy set` takes."""
    with client(address) as opened:
        standing = opened.policy()
    if json_:
        render.emit(standing)
    else:
        render.facts([*_heading(standing), *shown(standing)])


@policy.command("set")
@click.argument("words", metavar="FIELD=VALUE...", nargs=-1, required=True)
@click.option(
    "--version", type=click.IntRange(0), help="Refuse unless this version of the policy stands (see show)."
)
@as_json
@click.pass_obj
def set_(address: str, words: tuple[str, ...], version: int | None, json_: bool) -> None:
    """Change the policy while everything runs. A change that breaks a rule is refused and the old policy stays.

    \b
    order=shortest ageing=60s express_slack=never   fields, as `forebay policy show` names them
    weights.low=2 tenant_weights.a=3                entries of a field
    routing.smollm2=prefix_affinity                 a model's routing; routing=round_robin for all others
    limit.add='tenant=a level=low queued=1000'      a limit, in place of the one for the same tasks; it bounds
                                                    queued=, work= and rate= (with burst=), for a tenant=,
                                                    for each by itself, or for all together: shared
    limit.remove='tenant=a level=low' limit.clear   that limit; all limits
    order=default tenant_weights.a=default          back to the default
    """  # noqa: D301 - click wants the character itself
    try:
        edits = read_edits(words)
    except ValueError as fault:
        raise click.UsageError(str(fault)) from None
    with client(address) as opened:
        before, after = _update(opened, edits, version)
    if json_:
        render.emit(after)
        return
    if after.version == before.version:
        click.echo(f"nothing changed: version {after.version} of the policy stands")
        return
    old, new = shown(before), shown(after)
    set_now = [(name, text or "none") for name, text in new if (name, text) not in old]
    gone = [("no limit", text) for name, text in old if name == "limit" and (name, text) not in new]
    render.facts([*_heading(after), *set_now, *gone])


def _update(
    opened: "Client", edits: Sequence[Edit], version: int | None
) -> tuple["PolicyInfo", "PolicyInfo"]:
    """Change the policy from what it is; returns it as it was and as it is. Raises CommandFailed for what it lacks."""
    from forebay.client import Conflict

    tries = 1 if version is not None else _TRIES
    while True:
        tries -= 1
        before = opened.policy()
        try:
            changed = changes(edits, before)
        except ValueError as fault:
            raise CommandFailed(str(fault)) from None
        try:
            # Entries are added to what was read: another policy must not have come in between.
            meant = before.version if version is None else version
            return before, opened.update_policy(version=meant, **changed)
        except Conflict:
            if not tries:
                raise


def _heading(standing: "PolicyInfo") -> list[tuple[str, object]]:
    return [("version", standing.version), ("changed", standing.update_time)]
