"""``liere encodings``: the position encodings there are."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from liere_cli.cli import console
from liere_cli.cli.catalogue.listing import NARROW, option_rows, option_text
from liere_cli.cli.completion import complete_encodings, complete_run
from liere_cli.cli.options import DEFAULT_OUTPUTS, AsJson, DataRoot, MovedData, Outputs
from liere_cli.errors import UsageError
from liere_cli.utils.paths import expand

if TYPE_CHECKING:
    from liere_cli.encodings import PositionEncoding
    from liere_cli.encodings.score_map import ScoreMap


def encodings(
    name: Annotated[
        str | None,
        Argument(
            help="Show this one in full; with options, NAME:key=value.",
            autocompletion=complete_encodings,
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        Option(parser=expand, metavar="FILE", help="Plot scores by position: .png, .svg or .pdf."),
    ] = None,
    grid: Annotated[
        str | None, Option(help="Of --plot: training grid in tokens, as 256 or 14x14.")
    ] = None,
    layer: Annotated[int | None, Option(min=0, help="Of --plot: which layer.")] = None,
    run: Annotated[
        str | None,
        Option(
            metavar="RUN",
            help="Of --plot: a trained run instead of initialisation.",
            autocompletion=complete_run,
        ),
    ] = None,
    moved_data: MovedData = None,
    out: Outputs = DEFAULT_OUTPUTS,
    data_root: DataRoot = None,
    as_json: AsJson = False,
) -> None:
    """List the position encodings, or show one: formula, units, costs, options, source, plot."""
    from liere_cli.config.names import check_specs

    check_specs("encoding", [name])
    if plot is not None:
        if as_json:
            raise UsageError(f"--json: --plot {plot} writes a plot, and nothing on stdout")
        plot_encoding(
            name, plot, grid=grid, layer=layer, run=run, data=moved_data, out=out,
            data_root=data_root,
        )  # fmt: skip
        return
    only_plot = {"--grid": grid, "--layer": layer, "--run": run, "--data": moved_data}
    for flag, value in only_plot.items():
        if value is not None:
            raise UsageError(f"{flag} {value} says what to draw; it needs --plot FILE")
    from liere_cli.encodings import available, encoding_class, resolve_spec
    from liere_cli.encodings.describe import profile

    rows = []
    for spec in [name] if name else available():
        given = resolve_spec(spec)
        options = option_rows(encoding_class(given["name"]).Options)
        values = [{**option, "value": given.get(option["name"])} for option in options]
        rows.append({**asdict(profile(given)), "options": values})
    if as_json:
        console.print_json(rows)
    elif name:
        _show_encoding(rows[0])
    else:
        _list_encodings(rows)
        console.note("in full: liere encodings NAME · use: --encoding NAME:key=value,key=value")


#: what each family of encodings is called
FAMILIES = {
    "none": "no position",
    "embedding": "added to the embeddings",
    "rotary": "rotary: planes rotate by angles linear in the position",
    "matrix": "matrices: blocks of channels are rotated, or changed, together",
    "polar": "polar: position is the phase alone",
    "bias": "added to the attention logits",
    "other": "other",
}


def _list_encodings(rows: list[dict[str, Any]]) -> None:
    narrow = console.stdout().width < NARROW
    for family, title in FAMILIES.items():
        members = [row for row in rows if row["family"] == family]
        if not members:
            continue
        table = console.table(title=title, title_style="italic", show_header=not narrow)
        width = max(len(row["name"]) for row in rows)
        table.add_column("name", min_width=width, no_wrap=True, style="bold")
        if not narrow:
            for heading, least in (("axes", 4), ("relative", 9), ("learned", 7), ("units", 8)):
                table.add_column(heading, min_width=least)
        table.add_column("summary", overflow="fold")
        for row in members:
            learned = "yes" if any(at.get("parameters") for at in row["by_axes"]) else "no"
            columns = (_axes_text(row), _relative(row), learned, row["units"] or "-")
            table.add_row(row["name"], *(() if narrow else columns), row["summary"])
        console.stdout().print(table)
        console.stdout().print()


def _show_encoding(row: dict[str, Any]) -> None:
    from liere_cli.positions.grid import MEANINGS

    table = console.table(show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    width = row["qk_width"]
    for key, value in {
        "name": row["name"],
        "summary": row["summary"],
        "formula": row["formula"] or "not stated",
        "source": row["source"],
        "family": FAMILIES[row["family"]],
        "axes": row["axes"],
        "acts on": ", ".join(row["acts_on"]) or "nothing",
        "positions": f"{row['units']}: {MEANINGS[row['units']]}" if row["units"] else "none",
        "prefix tokens": row["prefix"],
        "relative": f"{_relative(row)}: scores depend on differences of positions alone"
        if _relative(row) != "no"
        else "no: scores depend on absolute positions",
        "q and k": "as wide as before" if width == 1 else f"{width} times as wide",
        "weight decay": "none on its parameters",
    }.items():
        table.add_row(key, value)
    for option in row["options"]:
        value = "..." if option["required"] else option_text(option["value"])
        table.add_row(f"  {option['name']}={value}", option["meaning"])
    screen = console.stdout()
    screen.print(table)
    screen.print("\n[italic]at a nano model (4 layers of 4 heads of 32) and 64 tokens[/italic]")
    costs = console.table()
    for heading in ("grid", "relative", "parameters", "extra FLOPs per token"):
        costs.add_column(heading, justify="left" if heading == "grid" else "right")
    for at in row["by_axes"]:
        if "refused" in at:
            costs.add_row(f"{at['axes']} axes", at["refused"])
            continue
        grid, relative = "x".join(map(str, at["grid"])), "yes" if at["relative"] else "no"
        costs.add_row(grid, relative, f"{at['parameters']:,}", f"+{at['flops_per_token']:,.0f}")
    screen.print(costs)


def _axes_text(row: dict[str, Any]) -> str:
    """``1..3``: the first and last number of axes, ``any`` for all."""
    axes = [at["axes"] for at in row["by_axes"]]
    if row["axes"].startswith("any"):
        return "any"
    return str(axes[0]) if len(axes) == 1 else f"{axes[0]}..{axes[-1]}"


def _relative(row: dict[str, Any]) -> str:
    held = [at for at in row["by_axes"] if "refused" not in at]
    yes = [at["axes"] for at in held if at["relative"]]
    if len(yes) in (0, len(held)):
        return "yes" if yes else "no"
    return f"with {' and '.join(map(str, yes))} {'axis' if yes == [1] else 'axes'}"


def plot_encoding(
    name: str | None,
    path: Path,
    *,
    grid: str | None,
    layer: int | None,
    run: str | None,
    out: Path,
    data_root: Path | None,
    data: str | None,
) -> None:
    """Plots a named encoding at initialisation, or that of a run as trained."""
    from liere_cli.encodings.score_map import score_map
    from liere_cli.report.plots.files import check_plot_path, save
    from liere_cli.report.plots.score_map import score_map_figure

    check_plot_path(path)
    if (name is None) == (run is None):
        raise UsageError("--plot draws either NAME at initialisation or, with --run RUN, that run")
    if name is not None:
        title, moment = name, "at initialisation, seed 0"
        encoding, extents = _at_initialisation(name, grid)
    else:
        encoding, extents, title = _trained(str(run), grid, out, data_root, data)
        moment = "as trained"
    kernel = score_map(encoding, extents, layer or 0)
    text = caption(kernel, encoding, moment, layer or 0)
    save(score_map_figure(kernel, title=title, caption=text), path)
    console.note(f"{path}: {text}")


def _at_initialisation(name: str, grid: str | None) -> tuple["PositionEncoding", tuple[int, ...]]:
    """An encoding at the shape of a nano model, on two axes if it serves them."""
    from liere_cli.data.options import parse_grid
    from liere_cli.encodings import build_encoding
    from liere_cli.encodings.describe import NANO, served_axes
    from liere_cli.encodings.score_map import default_grid

    axes = served_axes(name)
    if not axes:
        raise UsageError(f"--plot draws encodings of up to 3 axes, and '{name}' has more")
    if grid is None:
        extents = default_grid(2 if 2 in axes else axes[0])
    else:
        count = grid.count("x") + 1
        if count > 3:
            raise UsageError(f"--grid {grid} has {count} axes, but a plot shows at most 3")
        extents = parse_grid(grid, count)
    encoding = build_encoding(name, axes=len(extents), grid=extents, seed=0, **NANO)
    return encoding, extents


def _trained(
    run: str, grid: str | None, out: Path, data_root: Path | None, data: str | None
) -> tuple["PositionEncoding", tuple[int, ...], str]:
    import torch

    from liere_cli.evaluation.trained_run import TrainedRun

    if grid is not None:
        raise UsageError(f"--grid {grid}: a run is drawn on the grid that it was trained on")
    opened = TrainedRun.open(
        run, outputs=out, root=data_root, device=torch.device("cpu"), weights="last", data=data
    )
    title = f"{opened.run_spec.encoding} on {opened.run_spec.data}"
    return opened.model.encoding, opened.model.token_grid, title


def caption(kernel: "ScoreMap", encoding: "PositionEncoding", moment: str, layer: int) -> str:
    """What is plotted, of which encoding, in which units, and whether more queries would differ."""
    from liere_cli.encodings.score_map import PLOTTED
    from liere_cli.positions.grid import MEANINGS

    shape, grid = encoding.shape, " x ".join(map(str, kernel.grid))
    sentences = [
        f"{PLOTTED[kernel.place][1].capitalize()}, {moment}",
        f"{shape.dim} channels"
        if kernel.place == "embed"
        else f"Layer {layer} of 0 to {shape.depth - 1}, {shape.heads} heads of {shape.head_dim} "
        "channels",
        f"Training grid {grid} tokens, positions {encoding.scaling} ({MEANINGS[encoding.scaling]})",
    ]
    if kernel.values.shape[1] == 1 and kernel.place != "embed":
        sentences.append("Every head has the same")
    sentences.append(
        "Relative: scores depend on differences of positions alone, so any query gives the same"
        if kernel.relative
        else "Not relative: scores depend on the position of the query, so a second query is shown"
    )
    return ". ".join(sentences) + "."
