"""What every command prints with: results on stdout, everything else on stderr."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from liere_cli.report.escape import plain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

#: seconds between lines of progress where stderr is no terminal
QUIET_SECONDS = 15.0
#: columns that are used even where the terminal, or COLUMNS, has fewer
MIN_WIDTH = 40
_silent = False


def silence() -> None:
    """From now on this process prints errors only: another one of the same run prints the rest."""
    global _silent
    _silent = True


def stdout() -> Console:
    """The console for results."""
    return _console()


def stderr(width: int | None = None) -> Console:
    """The console for progress, notes and errors; ``width`` in columns, if not the terminal's."""
    return _console(stderr=True, quiet=_silent, width=width)


def _console(**settings: Any) -> Console:
    from rich.console import Console

    made = Console(highlight=False, **settings)
    if made.width < MIN_WIDTH:  # rich prints blank lines where nothing fits, as with COLUMNS=1
        made = Console(highlight=False, **settings | {"width": MIN_WIDTH})
    return made


def table(**settings: Any) -> Table:
    """A table without lines; ``settings`` are those of rich's ``Table``."""
    from rich.table import Table

    defaults = {"box": None, "pad_edge": False, "header_style": "bold", "title_justify": "left"}
    return Table(**defaults | settings)


def note(message: str) -> None:
    stderr().print(f"[dim]{shown(message)}[/dim]", soft_wrap=True)


def warn(message: str, screen: Console | None = None) -> None:
    """A warning on stderr, or on the console that shows the progress there."""
    (screen or stderr()).print(f"[yellow]warning[/yellow]: {shown(message)}", soft_wrap=True)


def error(message: str) -> None:
    _console(stderr=True).print(f"[bold red]error[/bold red]: {shown(message)}", soft_wrap=True)


def printable(text: str) -> str:
    """Text without control characters, so that no name can drive the terminal."""
    return "\n".join(plain(line) for line in text.split("\n"))


def shown(text: object) -> str:
    """Text escaped for use inside markup."""
    from rich.markup import escape

    return escape(printable(str(text)))


def print_json(value: Any) -> None:
    """A value as JSON, alone on stdout."""
    import sys

    from liere_cli.utils.files import to_json

    sys.stdout.write(to_json(value))


def format_metric(metric: str, value: float | None) -> str:
    """A metric as people write it: ``2.3456 bits/byte``, ``31.20% top-1``."""
    if value is None:
        return "no result"
    if metric.startswith("bits_per_"):
        return f"{value:.4f} bits/{metric.removeprefix('bits_per_')}"
    return f"{value:.2%} top-1"
