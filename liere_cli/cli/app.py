"""The command ``liere``: parses, calls, prints. Nothing heavy is imported before a command runs."""

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from liere_cli import __version__
from liere_cli.cli import INTERRUPTED
from liere_cli.cli.bench import bench
from liere_cli.cli.catalogue import data, encodings
from liere_cli.cli.compare import compare
from liere_cli.cli.evaluate import evaluate
from liere_cli.cli.train import train
from liere_cli.errors import LiereError


class _Commands(TyperGroup):
    """Turns errors into one sentence and an exit code, for every command."""

    def invoke(self, ctx: Any) -> Any:
        from liere_cli.cli import console

        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except LiereError as error:
            console.error(str(error))
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            console.note("stopped; the same command goes on from here")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            raise
        except OSError as error:
            # a full disk, a vanished mount: whatever was finished is safe in its folder
            console.error(f"{error.filename or 'output'}: {error.strerror or error}")
            raise typer.Exit(1) from None


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Settle questions about transformer position encodings, from text to video.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"liere {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


app.command()(train)
app.command("eval")(evaluate)
app.command()(compare)
app.command()(bench)
app.command()(encodings)
app.command()(data)
