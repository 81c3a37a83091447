"""What all pictures have in common: formats, style, and that the same picture is the same file."""

import io
from pathlib import Path
from typing import Any

from liere_cli.errors import LiereError, UsageError
from liere_cli.utils.files import write_atomically

#: by suffix, with what would put the time of day into the file
FORMATS: dict[str, dict[str, None]] = {
    ".png": {},
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
}
STYLE: Any = {
    "font.size": 8, "axes.titlesize": 8, "axes.spines.top": False, "axes.spines.right": False,
    "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6,
    "figure.dpi": 100, "savefig.dpi": 200, "svg.fonttype": "none", "svg.hashsalt": "liere",
    "pdf.fonttype": 42,
}  # fmt: skip


def check_plot_path(path: Path) -> None:
    """Raises, before anything is computed, where no picture could be drawn there.

    Raises:
        UsageError: a suffix of no known format.
        LiereError: matplotlib is not installed.
    """
    if path.suffix.lower() not in FORMATS:
        end = f"ends in '{path.suffix}'" if path.suffix else "has no suffix"
        raise UsageError(f"--plot {path} {end}; allowed are {', '.join(FORMATS)}")
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise LiereError(
            f"{path} needs matplotlib to be drawn: pip install 'liere[report]'"
        ) from None


def save(figure: Any, path: Path) -> None:
    """Writes a matplotlib figure, beside and renamed, in the format of the suffix.

    Raises:
        LiereError: the file can't be written.
    """
    suffix, content = path.suffix.lower(), io.BytesIO()
    figure.savefig(content, format=suffix[1:], metadata=FORMATS[suffix] or None)
    write_atomically(path, content.getvalue())
