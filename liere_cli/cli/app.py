"""The command ``liere``: parses, calls, prints. Nothing heavy is imported before a command runs."""

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from liere_cli import __version__
from liere_cli.cli import INTERRUPTED, console
from liere_cli.cli.bench import bench
from liere_cli.cli.catalogue.data import data
from liere_cli.cli.catalogue.encodings import encodings
from liere_cli.cli.commands import Command
from liere_cli.cli.compare import compare
from liere_cli.cli.evaluate import evaluate
from liere_cli.cli.judge import judge
from liere_cli.cli.machine.check import check
from liere_cli.cli.recipes.init import init
from liere_cli.cli.recipes.schema import schema
from liere_cli.cli.report import report
from liere_cli.cli.runs.cache import cache
from liere_cli.cli.runs.commands import runs
from liere_cli.cli.runs.status import status
from liere_cli.cli.train import train
from liere_cli.errors import LiereError, UsageError


class _Commands(TyperGroup):
    """Turns errors into one sentence and an exit code, for every command."""

    def main(self, *args: Any, **settings: Any) -> Any:
        """As the base class, but a wrong flag gets a sentence like every other error."""
        standalone = settings.pop("standalone_mode", True)
        try:
            result = super().main(*args, **settings | {"standalone_mode": False})
        except TyperException as error:
            if not standalone:
                raise
            if _is_first():
                console.error(_sentence(error))
            sys.exit(2)
        if not standalone:
            return result
        sys.exit(result if isinstance(result, int) else 0)

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except LiereError as error:
            if not error.reported:
                console.error(str(error))
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt as error:
            # of a command that can be resumed, the text says how far it came
            texts = [part for part in error.args if isinstance(part, str)]
            console.note(" ".join(texts) or "Interrupted.")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            raise
        except OSError as error:
            # a full disk, a vanished mount: finished runs are safe in their folders
            console.error(f"{error.filename or 'output'}: {error.strerror or error}")
            raise typer.Exit(1) from None


def _launched() -> bool:
    """Whether torchrun started this process as one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1"


def _is_first() -> bool:
    """Whether this process reports a wrong command line, which all ranks got."""
    return not _launched() or os.environ.get("RANK") == "0"


def _sentence(error: TyperException) -> str:
    """The argument parser's message as one sentence, with the command that explains it."""
    message = getattr(error, "format_message", lambda: str(error))().strip()
    message = message[:1].lower() + message[1:].rstrip(".")
    errors, option = getattr(error.__cause__, "errors", None), getattr(error, "param", None)
    if errors is not None and option is not None:  # pydantic's
        from liere_cli.config.section import violated_rule
        from liere_cli.errors import shortened

        first = errors()[0]
        message = f"{option.opts[0]} is {shortened(first['input'])}, but {violated_rule(first)}"
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "liere"
    return f"{message} (see {command} --help)"


app = typer.Typer(
    cls=_Commands,
    invoke_without_command=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Settle questions about transformer position encodings, from text to video.",
)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"liere {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)
    if context.invoked_subcommand != "train" and _launched():
        error = UsageError(
            f"torchrun starts several processes for one training: liere train, not liere "
            f"{context.invoked_subcommand} (liere compare --jobs N trains several runs at a time)"
        )
        error.reported = not _is_first()
        raise error


app.command(cls=Command)(train)
app.command("eval", cls=Command)(evaluate)
app.command(cls=Command)(compare)
app.command(cls=Command)(judge)
app.command(cls=Command)(report)
app.command(cls=Command)(bench)
app.command(cls=Command)(check)
app.command(cls=Command)(encodings)
app.command(cls=Command)(data)
app.add_typer(runs, name="runs")
app.command(cls=Command)(status)
app.command(cls=Command)(init)
app.command(cls=Command)(schema)
app.add_typer(cache, name="cache")
