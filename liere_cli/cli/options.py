"""Flags that several commands share, and those of ``liere compare``."""

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

from liere_cli.cli.completion import (
    complete_assignment,
    complete_data,
    complete_encodings,
    complete_loggers,
    complete_run,
    complete_source,
)
from liere_cli.errors import UsageError
from liere_cli.utils.paths import expand

Assignments = Annotated[
    list[str] | None,
    Option(
        "--set",
        metavar="KEY=VALUE",
        help="Set any recipe key, as training.batch=64; liere schema --keys lists them.",
        autocompletion=complete_assignment,
    ),
]
Device = Annotated[str, Option(help="auto, cpu, cuda or cuda:N.")]
Outputs = Annotated[
    Path, Option("--out", parser=expand, metavar="FOLDER", help="Folder that runs land in.")
]
DataRoot = Annotated[
    Path | None,
    Option(
        parser=expand,
        metavar="FOLDER",
        envvar="LIERE_DATA",
        help="Folder with local copies of the data sets.",
    ),
]
MovedData = Annotated[
    str | None,
    Option("--data", metavar="PATH", help="Where the run's data lies now, if it was moved."),
]
AsJson = Annotated[bool, Option("--json", help="Print JSON alone on stdout.")]
DEFAULT_OUTPUTS = Path("outputs")
RunArgument = Annotated[
    str,
    Argument(
        metavar="RUN",
        help="A run's folder, name, or identity, of which the first digits are enough.",
        autocompletion=complete_run,
    ),
]

Sources = Annotated[
    list[str] | None,
    Argument(
        metavar="RECIPE|RUN",
        help="A recipe's path, a built-in one's name, or folders of finished runs. "
        "Nothing at all means the recipe 'quick'.",
        show_default=False,
        autocompletion=complete_source,
    ),
]
Encodings = Annotated[
    list[str] | None,
    Option(
        metavar="A,B",
        help="Encodings, as none,rope,liere:block=8,share=layers; of finished runs, those to show; "
        "repeatable.",
        autocompletion=complete_encodings,
    ),
]
DataSets = Annotated[
    list[str] | None,
    Option(
        metavar="X,Y",
        help="Data sets, as stdlib,pointing; of finished runs, those to show; repeatable.",
        autocompletion=complete_data,
    ),
]
Seeds = Annotated[str | None, Option(metavar="N", help="How many seeds (3), or which (0,1,2).")]
Baseline = Annotated[
    list[str] | None,
    Option(
        metavar="A",
        help="Encoding that the others are compared with; of several, the first that takes "
        "part and is defined on the data; repeatable.",
        autocompletion=complete_encodings,
    ),
]
Model = Annotated[
    str | None,
    Option(
        metavar="FILE.py:Class",
        help="Your model instead of liere's transformer (runs that file), or an installed one.",
    ),
]
Budget = Annotated[
    str | None, Option(help="Of every run: 2000steps, 50Mtokens, 100kexamples, 90s, 10m or 2h.")
]
UntilSettled = Annotated[
    bool,
    Option(
        "--until-settled",
        help="Add seeds until each verdict is settled, or further seeds are unlikely to help.",
    ),
]
MaxSeeds = Annotated[
    int | None, Option(metavar="N", help="With --until-settled: maximum seeds (default 20).")
]
Time = Annotated[
    str | None,
    Option(
        metavar="TIME",
        help="With --until-settled: training time of all runs together, as 2h; seeds then go "
        "to the closest verdicts first.",
    ),
]
AgainstItself = Annotated[
    bool,
    Option("--aa", help="Also compare the baseline with itself, at seeds that nothing else uses."),
]
Name = Annotated[
    str | None,
    Option(
        metavar="NAME",
        help="Folder of the comparison under --out. Default: the recipe's name; where flags change "
        "what it compares, or there is no recipe, a name made from what is compared.",
    ),
]
Log = Annotated[
    str | None,
    Option(
        metavar="NAME,NAME",
        help="Record every run with tensorboard, wandb (offline) or mlflow (files in OUT/mlruns).",
        autocompletion=complete_loggers,
    ),
]


def _jobs(text: str) -> str:
    if text != "auto" and not (text.isdecimal() and int(text) >= 1):
        raise UsageError(f"--jobs {text}: must be auto, or a whole number of at least 1")
    return text


Jobs = Annotated[
    str,
    Option(
        parser=_jobs,
        metavar="N|auto",
        help="Runs at a time. auto: as many as suit cores, GPUs, memory and models; in Slurm all "
        "of them. Scores don't depend on it.",
    ),
]
GpusPerRun = Annotated[
    int, Option(min=1, metavar="N", help="GPUs of this machine that train each run together.")
]
Launcher = Annotated[
    Literal["local", "slurm"], Option(help="What trains the runs: this machine, or Slurm jobs.")
]
Slurm = Annotated[
    list[str] | None,
    Option(
        metavar="KEY=VALUE",
        help="With --launcher slurm: what each job asks for, as partition=gpu or time=4h.",
    ),
]
Format = Literal["table", "markdown", "csv", "latex", "json"]
TableFormat = Annotated[Format, Option("--format", help="How the tables are shown on stdout.")]
Verbose = Annotated[
    bool,
    Option(
        "--verbose",
        "-v",
        help="Also show standard errors, notes, the method and the full signature.",
    ),
]
Plot = Annotated[
    Path | None,
    Option(
        parser=expand,
        metavar="FILE",
        help="Also draw learning curves, and scores at other grids, as .png, .svg or .pdf.",
    ),
]
DryRun = Annotated[bool, Option("--dry-run", help="Show the plan and train nothing.")]
