"""``liere report``: the HTML report of a comparison, or an index of several."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from liere_cli.cli import console
from liere_cli.cli.options import DEFAULT_OUTPUTS, DataRoot, Device, Outputs


def report(
    sources: Annotated[
        list[str],
        Argument(
            metavar="FOLDER|RECIPE",
            help="The folder of a comparison, or its recipe. Of several, an index page is written.",
        ),
    ],
    open_it: Annotated[bool, Option("--open", help="Open the report in a browser.")] = False,
    to: Annotated[
        Path | None,
        Option(metavar="FILE", help="File to write, instead of report.html in the folder."),
    ] = None,
    device: Device = "auto",
    out: Outputs = DEFAULT_OUTPUTS,
    data_root: DataRoot = None,
) -> None:
    """Write the report of a comparison as one HTML file. Nothing is trained."""
    from liere_cli.api.report import ReportRequest
    from liere_cli.launchers.events import Event, Notice

    def listen(event: Event) -> None:
        if isinstance(event, Notice):
            (console.warn if event.warning else console.note)(event.text)

    values = {
        "sources": sources, "to": to, "device": device, "out": out, "data_root": data_root,
    }  # fmt: skip
    path = ReportRequest.validated(values, "flags").write(listen)
    console.stdout().print(console.printable(str(path)), markup=False, soft_wrap=True)
    if open_it:
        import webbrowser

        if not webbrowser.open(path.absolute().as_uri()):
            console.warn(f"no browser could be started; open {path} in one")
