"""``liere encodings --plot``: how an encoding makes scores depend on position."""

from pathlib import Path
from typing import TYPE_CHECKING

from liere_cli.errors import UsageError

if TYPE_CHECKING:
    from liere_cli.encodings import PositionEncoding
    from liere_cli.report.kernels import Kernel


def picture(
    name: str | None,
    path: Path,
    *,
    grid: str | None,
    layer: int | None,
    run: str | None,
    out: Path,
    data_root: Path | None,
) -> None:
    """Draws a named encoding at initialisation, or that of a run as it was trained.

    Raises:
        UsageError: both or none are given, or a suffix, grid or layer that does not fit.
        LiereError: the run can't be opened, or the picture can't be drawn.
    """
    from liere_cli.cli import console
    from liere_cli.report.drawing import draw
    from liere_cli.report.kernels import kernel_of
    from liere_cli.report.pictures import check_picture

    check_picture(path)
    if (name is None) == (run is None):
        raise UsageError("--plot draws either NAME at initialisation or, with --run RUN, that run")
    if run is None:
        assert name is not None
        title = name
        encoding, extents = _at_initialisation(name, grid)
        moment = "at initialisation, seed 0"
    else:
        encoding, extents, title = _trained(run, grid, out, data_root)
        moment = "as trained"
    kernel = kernel_of(encoding, extents, layer or 0)
    words = caption(kernel, encoding, moment, layer or 0)
    draw(kernel, path, title=title, caption=words)
    console.note(f"{path}: {words}")


def _at_initialisation(name: str, grid: str | None) -> tuple["PositionEncoding", tuple[int, ...]]:
    """An encoding at the shape of a nano model, on two axes if it serves them."""
    from liere_cli.data.options import parse_grid
    from liere_cli.encodings import build_encoding
    from liere_cli.encodings.facts import NANO, served_axes
    from liere_cli.report.kernels import default_grid

    axes = served_axes(name)
    if not axes:
        raise UsageError(f"--plot draws encodings of up to 3 axes, and '{name}' has more")
    if grid is None:
        extents = default_grid(2 if 2 in axes else axes[0])
    else:
        count = grid.count("x") + 1
        if count > 3:
            raise UsageError(f"--grid {grid} has {count} axes, but a picture shows at most 3")
        extents = parse_grid(grid, count)
    encoding = build_encoding(name, axes=len(extents), grid=extents, seed=0, **NANO)
    return encoding, extents


def _trained(
    run: str, grid: str | None, out: Path, data_root: Path | None
) -> tuple["PositionEncoding", tuple[int, ...], str]:
    import torch

    from liere_cli.inspection import TrainedRun

    if grid is not None:
        raise UsageError(f"--grid {grid}: a run is drawn on the grid that it was trained on")
    opened = TrainedRun.open(
        run, outputs=out, root=data_root, device=torch.device("cpu"), weights="last"
    )
    title = f"{opened.cell.encoding} on {opened.cell.data}"
    return opened.model.encoding, opened.model.token_grid, title


def caption(kernel: "Kernel", encoding: "PositionEncoding", moment: str, layer: int) -> str:
    """What is drawn, of what, in which units, and whether it tells all."""
    from liere_cli.grid import MEANINGS
    from liere_cli.report.kernels import DRAWN

    shape, grid = encoding.shape, " x ".join(map(str, kernel.grid))
    sentences = [
        f"{DRAWN[kernel.place][1].capitalize()}, {moment}",
        f"{shape.dim} channels"
        if kernel.place == "embed"
        else f"Layer {layer} of 0 to {shape.depth - 1}, {shape.heads} heads of {shape.head_dim} "
        "channels",
        f"Training grid {grid} tokens, positions {encoding.scaling} ({MEANINGS[encoding.scaling]})",
    ]
    if kernel.values.shape[1] == 1 and kernel.place != "embed":
        sentences.append("Every head has the same")
    if kernel.relative:
        sentences.append(
            "Relative: scores depend on differences of positions alone, so any query gives the same"
        )
    else:
        sentences.append(
            "Not relative: scores depend on where the query stands, so a second query is shown"
        )
    return ". ".join(sentences) + "."
