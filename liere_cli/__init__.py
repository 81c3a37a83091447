"""Settle questions about transformer position encodings, from text to video.

    import liere_cli as liere

    comparison = liere.compare("quick", seeds=5)
    comparison.verdict("liere", data="motion")
    run = liere.train(encoding="liere", data="stdlib", budget="200steps")
    liere.evaluate(run, grids=[512])
    liere.load_runs("outputs/quick").to_pandas()
    encoding = liere.build_encoding("liere:block=8", axes=2, heads=6, head_dim=64)
    liere.apply_to(timm.create_model("vit_small_patch16_224"), "liere:block=8")

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
    from liere_cli.api.in_models.apply_to import apply_to
    from liere_cli.api.judge import judge
    from liere_cli.api.own_data import data_from
    from liere_cli.api.removal import remove_runs
    from liere_cli.api.report import write_report
    from liere_cli.api.runs import Runs, load_runs
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
    from liere_cli.planning.run_row import RunRow
    from liere_cli.positions.grid import Grid
    from liere_cli.runs.folder import Run

#: public names by module
_PUBLIC = {
    "api.in_models.apply_to": ["apply_to"],
    "api.compare": ["compare"],
    "api.comparison": ["Comparison", "ComparisonRow"],
    "api.evaluate": ["evaluate", "open_trained"],
    "api.judge": ["judge"],
    "api.removal": ["remove_runs"],
    "api.own_data": ["data_from"],
    "api.report": ["write_report"],
    "api.runs": ["Runs", "load_runs"],
    "api.train": ["train"],
    "cli.progress": ["ProgressBar"],
    "encodings": [
        "EncodingOptions", "PositionEncoding", "PositionedOptions", "Shape", "build_encoding",
    ],
    "errors": ["LiereError", "RunFailed", "UsageError"],
    "planning.run_row": ["RunRow"],
    "positions.grid": ["Grid"],
    "runs.folder": ["Run"],
}  # fmt: skip
_MODULES = {name: module for module, names in _PUBLIC.items() for name in names}

__all__ = [
    "Comparison", "ComparisonRow", "EncodingOptions", "Grid", "LiereError", "PositionEncoding",
    "PositionedOptions", "ProgressBar", "Run", "RunFailed", "RunRow", "Runs", "Shape", "UsageError",
    "__version__", "apply_to", "build_encoding", "compare", "data_from", "evaluate", "judge",
    "load_runs", "open_trained", "remove_runs", "train", "write_report",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
