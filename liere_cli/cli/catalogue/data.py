"""``liere data``: the data sets there are."""

from typing import Annotated, Any

from typer import Argument

from liere_cli.cli import console
from liere_cli.cli.catalogue.listing import NARROW, option_rows, option_text
from liere_cli.cli.completion import complete_data
from liere_cli.cli.options import AsJson, DataRoot


def data(
    name: Annotated[
        str | None, Argument(help="Show this one in full.", autocompletion=complete_data)
    ] = None,
    data_root: DataRoot = None,
    as_json: AsJson = False,
) -> None:
    """List the data sets: axes, metric, licence, whether they are available."""
    from liere_cli.config.names import check_specs

    check_specs("data set", [name])
    from liere_cli.data import available, dataset_class
    from liere_cli.data.registry import mirror

    root = mirror(data_root)
    classes = {name: dataset_class(name)} if name else available()
    rows = [
        {
            "name": key,
            "summary": cls.summary,
            "axes": cls.axes or "2 or 3",
            "task": cls.task,
            "metric": cls.metric,
            "available": cls.is_available(root),
            "source": cls.source,
            "licence": cls.licence,
            "options": option_rows(cls.Options),
        }
        for key, cls in classes.items()
    ]
    columns = ["name", "axes", "metric", "available", "summary", "licence"]
    _show(rows, columns, as_json, full=name is not None)
    if not as_json and name is None:
        console.note("options: liere data NAME · use: --data NAME:key=value,key=value or KIND:PATH")


def _show(rows: list[dict[str, Any]], columns: list[str], as_json: bool, full: bool) -> None:
    if as_json:
        console.print_json(rows)
        return
    table = console.table()
    if full:
        table.show_header = False
        table.add_column(style="bold")
        table.add_column(overflow="fold")
        for key, value in rows[0].items():
            if key != "options":
                table.add_row(key.replace("_", " "), _text(value))
        for option in rows[0]["options"]:
            default = "..." if option["required"] else option_text(option["default"])
            table.add_row(f"  {option['name']}={default}", option["meaning"])
    elif console.stdout().width < NARROW:
        # a block of lines each, since columns would break words
        table.show_header = False
        table.add_column(overflow="fold")
        table.add_column(overflow="fold")
        for row in rows:
            for column in columns:
                style = "bold" if column == "name" else ""
                table.add_row(column.replace("_", " "), _text(row[column]), style=style)
            table.add_row()
    else:
        for column in columns:
            in_prose = column in ("summary", "options", "source", "licence")
            table.add_column(column.replace("_", " "), overflow="fold", no_wrap=not in_prose)
        for row in rows:
            table.add_row(*[_text(row[column]) for column in columns])
    console.stdout().print(table)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(item["name"] if isinstance(item, dict) else str(item) for item in value)
    return "null" if value is None else str(value)
