"""``liere cache``."""

import sys
from typing import Annotated

import typer
from typer import Argument

from liere_cli.cli import console
from liere_cli.cli.commands import Command, Group
from liere_cli.cli.options import AsJson
from liere_cli.cli.runs.columns import Column, print_columns
from liere_cli.cli.runs.remove import Yes
from liere_cli.errors import UsageError
from liere_cli.report.numbers import size

cache = typer.Typer(cls=Group, invoke_without_command=True)


@cache.callback()
def show(context: typer.Context, as_json: AsJson = False) -> None:
    """Show where the cache is and how large. Its content is downloaded or made again when needed.

    LIERE_CACHE moves it. liere cache clean empties it, or parts of it.
    """
    if context.invoked_subcommand is not None:
        return
    from liere_cli.utils.cache_folder import cache_parts
    from liere_cli.utils.paths import cache_root

    parts = cache_parts()
    if as_json:
        rows = [{**vars(part), "path": str(part.path)} for part in parts]
        console.print_json({"folder": str(cache_root()), "parts": rows})
        return
    columns = (Column("part"), Column("files", right=True), Column("size", right=True), Column(""))
    rows_shown = [(part.name, f"{part.files:,}", size(part.bytes), part.content) for part in parts]
    print_columns(columns, rows_shown)
    console.note(f"{size(sum(part.bytes for part in parts))} in {cache_root()}")


@cache.command(cls=Command)
def verify() -> None:
    """Read all prepared data again and compare it with its digests.

    Other commands trust a file whose size, time of change and inode stay. What is damaged is
    removed, and made again when needed. Exit code 1 if something was.
    """
    from liere_cli.data.sources.cache import verified

    read, damaged = 0, 0
    for entry, whole in verified():
        read += 1
        if not whole:
            damaged += 1
            console.warn(f"{entry} was damaged, and is removed")
    console.note(f"{read:,} prepared data sets read, {damaged} damaged")
    if damaged:
        raise typer.Exit(1)


@cache.command(cls=Command)
def clean(
    parts: Annotated[
        list[str] | None,
        Argument(
            metavar="PART...",
            help="downloads, prepared, digests or kernels. Default: all of them.",
            autocompletion=lambda incomplete: [
                name
                for name in ("downloads", "prepared", "digests", "kernels")
                if name.startswith(incomplete)
            ],
        ),
    ] = None,
    yes: Yes = False,
) -> None:
    """Empty the cache, or parts of it. What another process is making is kept."""
    from liere_cli.utils.cache_folder import PARTS, cache_parts, clean_cache
    from liere_cli.utils.paths import cache_root

    names = parts or []
    if not yes and not set(names) - PARTS.keys():
        total = size(sum(part.bytes for part in cache_parts() if part.name in (names or PARTS)))
        what = f"{', '.join(names) or 'everything'} in {cache_root()} ({total})"
        if not sys.stdin.isatty():
            raise UsageError(f"would remove {what}; --yes removes without asking")
        if not typer.confirm(f"Remove {console.printable(what)}?", err=True):
            console.note("nothing was removed")
            raise typer.Exit(1)
    freed, kept = clean_cache(names)
    for reason in kept:
        console.warn(reason)
    console.note(f"removed {size(freed)}")
    if kept:
        raise typer.Exit(1)
