"""``liere encodings`` and ``liere data``: what there is."""

from typing import Annotated, Any

import typer

from liere_cli.cli.options import AsJson, DataRoot


def encodings(
    name: Annotated[str | None, typer.Argument(help="Show this one in full.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the position encodings: axes, options, sources."""
    from liere_cli.cli import console
    from liere_cli.encodings import available, encoding_class

    classes = {name: encoding_class(name)} if name else available()
    rows = [
        {
            "name": key,
            "summary": cls.summary,
            "axes": _axes(cls.max_axes),
            "acts_on": list(cls.places),
            "relative": cls.relative,
            "source": cls.source,
            "options": _options(cls.Options),
        }
        for key, cls in classes.items()
    ]
    _show(rows, ["name", "axes", "summary", "options", "source"], as_json, full=name is not None)
    if not as_json and name is None:
        console.note("options: liere encodings NAME · use: --encoding NAME:key=value,key=value")


def data(
    name: Annotated[str | None, typer.Argument(help="Show this one in full.")] = None,
    data_root: DataRoot = None,
    as_json: AsJson = False,
) -> None:
    """List the data sets: axes, metric, licence, whether they are at hand."""
    from liere_cli.cli import console
    from liere_cli.data import available, dataset_class

    classes = {name: dataset_class(name)} if name else available()
    rows = [
        {
            "name": key,
            "summary": cls.summary,
            "axes": cls.axes or "of the file",
            "task": cls.task,
            "metric": cls.metric,
            "at_hand": cls.at_hand(data_root),
            "source": cls.source,
            "licence": cls.licence,
            "options": _options(cls.Options),
        }
        for key, cls in classes.items()
    ]
    columns = ["name", "axes", "metric", "at_hand", "summary", "licence"]
    _show(rows, columns, as_json, full=name is not None)
    if not as_json and name is None:
        console.note("options: liere data NAME · use: --data NAME:key=value,key=value or KIND:PATH")


def _options(section: type[Any]) -> list[dict[str, Any]]:
    """Every option with its default and meaning."""
    described = []
    for key, field in section.model_fields.items():
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        described.append({"name": key, "default": default, "meaning": field.description or ""})
    return described


def _show(rows: list[dict[str, Any]], columns: list[str], as_json: bool, full: bool) -> None:
    from rich.table import Table

    from liere_cli.cli import console

    if as_json:
        console.print_json(rows)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    if full:
        table.show_header = False
        table.add_column(style="bold")
        table.add_column(overflow="fold")
        for key, value in rows[0].items():
            if key != "options":
                table.add_row(key.replace("_", " "), _text(value))
        for option in rows[0]["options"]:
            table.add_row(f"  {option['name']}={_text(option['default'])}", option["meaning"])
    else:
        for column in columns:
            table.add_column(column.replace("_", " "), overflow="fold")
        for row in rows:
            table.add_row(*[_text(row[column]) for column in columns])
    console.stdout().print(table)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(item["name"] if isinstance(item, dict) else str(item) for item in value)
    return "null" if value is None else str(value)


def _axes(most: int | None) -> str:
    return "any" if most is None else "1" if most == 1 else f"1..{most}"
