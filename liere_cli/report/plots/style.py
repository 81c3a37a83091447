"""What all plots share: file formats, style, and writing without the time of day."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liere_cli.errors import LiereError, UsageError
from liere_cli.utils.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: metadata by suffix: without the time of day, equal plots are equal files
FORMATS: dict[str, dict[str, None]] = {
    ".png": {},
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
}
# Any: the type of matplotlib's keys differs between its versions
STYLE: Any = {
    "font.size": 8, "axes.titlesize": 8, "axes.spines.top": False, "axes.spines.right": False,
    "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6,
    "figure.dpi": 100, "savefig.dpi": 200, "svg.fonttype": "none", "svg.hashsalt": "liere",
    "pdf.fonttype": 42,
}  # fmt: skip


def check_plot_path(path: Path) -> None:
    """Raises UsageError for a suffix of no known format, LiereError without matplotlib."""
    if path.suffix.lower() not in FORMATS:
        suffix = f"ends in '{path.suffix}'" if path.suffix else "has no suffix"
        raise UsageError(f"--plot {path} {suffix}; allowed are {', '.join(FORMATS)}")
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise LiereError(
            f"{path} needs matplotlib to be drawn: pip install 'liere[report]'"
        ) from None


def save(figure: "Figure", path: Path) -> None:
    """Writes a figure atomically, in the format of the suffix; LiereError if it can't be."""
    suffix, content = path.suffix.lower(), io.BytesIO()
    figure.savefig(content, format=suffix[1:], metadata=FORMATS[suffix] or None)
    write_atomically(path, content.getvalue())
