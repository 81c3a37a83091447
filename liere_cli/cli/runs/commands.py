"""``liere runs`` with its commands."""

import typer

from liere_cli.cli.commands import Command, Group
from liere_cli.cli.runs.list import list_runs, show
from liere_cli.cli.runs.remove import prune, remove

runs = typer.Typer(cls=Group, invoke_without_command=True)
runs.callback()(list_runs)
runs.command(cls=Command)(show)
runs.command("rm", cls=Command)(remove)
runs.command(cls=Command)(prune)
