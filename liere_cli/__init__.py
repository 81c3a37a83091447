"""Settle questions about transformer position encodings, from text to video.

    import liere_cli as liere

    comparison = liere.compare("quick", seeds=5)
    comparison.verdict("liere", data="motion")
    run = liere.train(encoding="liere", data="stdlib", budget="200steps")
    liere.evaluate(run, grids=[512])
    liere.load_runs("outputs/quick").to_pandas()
    encoding = liere.build_encoding("liere:block=8", axes=2, heads=6, head_dim=64)

Every name is imported on first use, so that importing the package loads neither torch nor data
libraries.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from liere_cli.api.compare import compare
    from liere_cli.api.comparison import Comparison, ComparisonRow
    from liere_cli.api.evaluate import evaluate, open_trained
    from liere_cli.api.runs import RunRow, Runs, load_runs
    from liere_cli.api.train import train
    from liere_cli.cli.progress import ProgressBar
    from liere_cli.encodings import (
        EncodingOptions,
        PositionedOptions,
        PositionEncoding,
        Shape,
        build_encoding,
    )
    from liere_cli.errors import LiereError, RunFailed, UsageError
    from liere_cli.positions.grid import Grid
    from liere_cli.runs.folder import Run

#: the module of each public name
_PUBLIC = {
    "compare": "api.compare",
    "Comparison": "api.comparison",
    "ComparisonRow": "api.comparison",
    "train": "api.train",
    "evaluate": "api.evaluate",
    "open_trained": "api.evaluate",
    "load_runs": "api.runs",
    "RunRow": "api.runs",
    "Runs": "api.runs",
    "Run": "runs.folder",
    "ProgressBar": "cli.progress",
    "build_encoding": "encodings",
    "PositionEncoding": "encodings",
    "EncodingOptions": "encodings",
    "PositionedOptions": "encodings",
    "Shape": "encodings",
    "Grid": "positions.grid",
    "LiereError": "errors",
    "UsageError": "errors",
    "RunFailed": "errors",
}

__all__ = [
    "Comparison",
    "ComparisonRow",
    "EncodingOptions",
    "Grid",
    "LiereError",
    "PositionEncoding",
    "PositionedOptions",
    "ProgressBar",
    "Run",
    "RunFailed",
    "RunRow",
    "Runs",
    "Shape",
    "UsageError",
    "__version__",
    "build_encoding",
    "compare",
    "evaluate",
    "load_runs",
    "open_trained",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    value = getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
