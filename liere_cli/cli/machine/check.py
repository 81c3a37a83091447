"""``liere check``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from liere_cli.cli import console
from liere_cli.cli.options import DEFAULT_OUTPUTS, DataRoot, Device, Outputs
from liere_cli.utils.paths import expand

if TYPE_CHECKING:
    from liere_cli.checks.registry import CheckReport

_COLOURS = {"ok": "green", "failed": "red", "skipped": "yellow", "info": "dim"}


def check(
    device: Device = "auto",
    json: Annotated[
        Path | None,
        Option("--json", parser=expand, metavar="FILE", help="File that gets all findings."),
    ] = None,
    out: Outputs = DEFAULT_OUTPUTS,
    data_root: DataRoot = None,
) -> None:
    """Check this machine: versions, data, storage, and the results of its device.

    Without a GPU it takes about a minute. With one it also checks determinism, waiting, compilation
    and several GPUs, and times the paper's models. Exit code 1 when a check failed.
    """
    from liere_cli.api.check import check as run_check

    with console.stderr().status("checking") as status:
        report = run_check(
            device,
            out=out,
            data_root=data_root,
            json=json,
            on_progress=lambda name: status.update(f"checking {name}"),
        )
    _show(report)
    if json is not None:
        console.note(f"written to {json}")
    if report.failed:
        console.error(
            f"{len(report.failed)} checks failed ({'; '.join(report.failed)}); please report the "
            "table and the file of --json, with how PyTorch was installed"
        )
        raise typer.Exit(1)


def _show(report: "CheckReport") -> None:
    table = console.table(title=f"{report.device}, {report.seconds:.0f} s")
    table.add_column("check", no_wrap=True)
    table.add_column("subject", overflow="fold")
    table.add_column("", no_wrap=True)
    table.add_column("finding", overflow="fold")
    for name, findings in report.findings.items():
        for index, finding in enumerate(findings):
            colour = _COLOURS[finding.state]
            table.add_row(
                "" if index else name,
                console.shown(finding.subject),
                f"[{colour}]{finding.state}[/{colour}]",
                console.shown(finding.text),
            )
    console.stdout().print(table)
