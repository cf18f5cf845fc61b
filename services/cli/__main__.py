"""Entry point: `forebay`, or `python -m services.cli`. Commands are imported only when they are called."""

import importlib
import sys
from typing import Final

import click

from services.cli.exits import Exit, ending, leave_quietly
from services.cli.settings import API_KEY, DEFAULT_ADDRESS

COMMANDS: Final = {
    "up": ("up", "Run the whole platform on this machine."),
    "demo": ("demo", "See it work: a real language model, four priorities, one queue."),
    "submit": ("submit", "Submit one task, or many alike."),
    "get": ("get", "Show a task."),
    "explain": ("explain", "Say why a task waits, or how it spent its time."),
    "ls": ("ls", "List tasks, newest first."),
    "watch": ("watch", "Follow tasks as they change."),
    "cancel": ("cancel", "Cancel tasks."),
    "update": ("update", "Change tasks that wait."),
    "dlq": ("dlq", "Dead letters: list, show, replay, purge."),
    "schedules": ("schedules", "Tasks that recur: create, list, pause, run, delete."),
    "queues": ("queues", "Show what waits and what runs."),
    "pause": ("pause", "Stop the start of tasks."),
    "resume": ("resume", "Take back a pause."),
    "policy": ("policy", "Show or change how tasks are ordered, limited and routed."),
    "cache": ("cache", "The result cache: stats, purge, get, warm, advise."),
    "keys": ("keys", "API keys, by which a gateway tells tenants apart."),
    "models": ("models", "List models, or import one."),
    "runners": ("runners", "List runner processes."),
    "recover": ("recover", "Make lost records again from the log, or the log from the records."),
    "backup": ("backup", "Copy all records into a file."),
    "restore": ("restore", "Write a backup into an empty store."),
    "doctor": ("doctor", "Check this machine and say how to fix what is wrong."),
}
"""Name -> (module and function in services.cli.commands, what `--help` says)."""


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports one when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table above."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command; None when there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"services.cli.commands.{COMMANDS[cmd_name][0]}")
        command = getattr(module, COMMANDS[cmd_name][0])
        if not isinstance(command, click.Command):
            raise TypeError(f"{cmd_name} is not a command")
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; a reader of stdout that leaves early is no error (click's own answer is exit code 1)."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            leave_quietly()

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        from services.cli.version import version

        click.echo(f"forebay {version()}")
        ctx.exit()


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.option("--address", metavar="HOST:PORT", envvar="FOREBAY_ADDRESS", default=DEFAULT_ADDRESS, show_default=True,
              help="The gateway; FOREBAY_ADDRESS says the same.")  # fmt: skip
@click.option("--api-key", metavar="KEY", default=None, show_default=False,
              help="Who calls. Better in FOREBAY_API_KEY: everybody can see command lines.")  # fmt: skip
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version,
              help="Show the version and exit.")  # fmt: skip
@click.pass_context
def cli(ctx: click.Context, address: str, api_key: str | None) -> None:
    """A durable, prioritised pool in front of AI models.

    Exit codes: 0 done, 1 the task or command failed, 2 usage, 3 the server cannot be reached.
    """
    ctx.obj = address
    ctx.meta[API_KEY] = api_key


def main() -> None:
    """Run the command line and exit."""
    with ending():
        try:
            code = cli.main(prog_name="forebay", standalone_mode=False)
        except click.ClickException as error:
            error.show()
            raise SystemExit(error.exit_code) from None
        except click.Abort:
            if not sys.stdin.isatty():
                sys.stderr.write(
                    "\nforebay: nobody could be asked, nothing was done; --yes goes without asking\n"
                )
            raise SystemExit(int(Exit.INTERRUPTED)) from None
        sys.stdout.flush()
        raise SystemExit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
