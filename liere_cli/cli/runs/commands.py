"""``liere runs`` with its commands."""

import typer

from liere_cli.cli.runs.list import list_runs, show
from liere_cli.cli.runs.remove import prune, remove

runs = typer.Typer(invoke_without_command=True)
runs.callback()(list_runs)
runs.command()(show)
runs.command("rm")(remove)
runs.command()(prune)
