"""Flags that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set any recipe key, as training.batch=64."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Outputs = Annotated[Path, typer.Option("--out", help="Folder that runs land in.")]
DataRoot = Annotated[
    Path | None,
    typer.Option(envvar="LIERE_DATA", help="Folder with local copies of the data sets."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON alone on stdout.")]
DEFAULT_OUTPUTS = Path("outputs")
