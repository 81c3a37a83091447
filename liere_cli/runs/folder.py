"""Run folders: their files, how they are written, and how they are verified.

outputs/EXPERIMENT/RUN/
    recipe.yaml        every value resolved
    signature.txt      one line, as sacreBLEU's
    environment.json   versions, device, threads
    metrics.jsonl      one line per logged step or validation
    items-SPLIT.safetensors  per-item results, for paired tests
    best.safetensors, last.safetensors   weights
    transfer/          per-item results at other grids, see evaluation/conditions.py
    summary.json       written last: with it, the run is over; has digests of itself and the others
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from liere_cli.config.files import MAX_RECIPE_BYTES, dump_yaml, parse_settings
from liere_cli.config.recipe import Recipe
from liere_cli.errors import LiereError, unreadable
from liere_cli.runs.summary import AGAIN, FORMAT, RunSummary, verified
from liere_cli.utils.files import digest_of, parse_json, read_json, read_limited, seal, to_json
from liere_cli.utils.files import write_atomically as write

#: files whose digests the summary has
_SEALED = (
    "recipe.yaml", "signature.txt", "environment.json", "metrics.jsonl", "items-*.safetensors",
    "best.safetensors", "last.safetensors",
)  # fmt: skip
#: the folder of Slurm jobs beside the runs of an experiment, and its file
FOLDER, JOBS_FILE = "slurm", "jobs.json"
#: results per item of the test split
ITEMS_FILE = "items-test.safetensors"
#: largest files that are read from a run, in bytes
MAX_SUMMARY_BYTES, MAX_METRICS_BYTES, MAX_ITEMS_BYTES = 1 << 20, 1 << 28, 1 << 30


@dataclass(frozen=True)
class Run:
    """One run's folder."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def run_id(self) -> str:
        """The identity at the end of the folder's name."""
        return self.name.rpartition("-")[2]

    def recorded_id(self) -> str:
        """The identity that the run's files record, whatever its folder is called now."""
        if (summary := self.summary()) is not None:
            return summary.id
        try:
            signature = read_limited(self.path("signature.txt"), MAX_SUMMARY_BYTES).decode()
        except (OSError, ValueError):
            return self.run_id
        return signature.strip().rpartition("|id:")[2] or self.run_id

    def path(self, name: str) -> Path:
        return self.folder / name

    def summary(self) -> RunSummary | None:
        """The closing summary; None while the run is not over; LiereError if it is damaged."""
        path = self.path("summary.json")
        try:
            record = read_json(path, MAX_SUMMARY_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise unreadable(path, error, AGAIN) from None
        try:
            return verified(record, self.run_id)
        except ValueError as error:
            raise LiereError(f"{path}: {error}") from None

    def checked(self, name: str, most: int, summary: RunSummary | None = None) -> bytes:
        """The content of one of the run's files, verified by the digest in the summary, if any.

        Raises:
            OSError: the file can't be read.
            LiereError: it has more than ``most`` bytes, or its digest differs.
        """
        path = self.path(name)
        try:
            content = read_limited(path, most)
        except ValueError as error:
            raise unreadable(path, error) from None
        summary = summary or self.summary()
        digest = summary.files.get(name) if summary else None
        if digest is not None and digest != digest_of(content):
            raise LiereError(
                f"{path}: was damaged or changed after the run ended (its digest is not the one "
                "in summary.json); liere train --fresh trains the run again"
            )
        return content

    def recipe(self) -> Recipe:
        """The resolved recipe that the run was made from."""
        path = self.path("recipe.yaml")
        try:
            content = self.checked(path.name, MAX_RECIPE_BYTES)
        except OSError as error:
            raise unreadable(path, error) from None
        recipe = Recipe.validated(parse_settings(content, str(path)), str(path))
        if isinstance(recipe.encoding, str):
            return recipe
        from liere_cli.encodings.registry import recorded_spec

        return recipe.model_copy(update={"encoding": recorded_spec(recipe.encoding)})

    def environment(self) -> dict[str, Any]:
        """Where and how the run was trained; empty if the file is missing or damaged."""
        try:
            content = parse_json(self.checked("environment.json", MAX_SUMMARY_BYTES))
        except (OSError, ValueError, LiereError):
            return {}
        return content if isinstance(content, dict) else {}

    def metrics(self) -> Iterator[dict[str, Any]]:
        """Lines as :func:`metrics_in`; LiereError if the file was changed after the run ended."""
        try:
            content = self.checked("metrics.jsonl", MAX_METRICS_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise unreadable(self.path("metrics.jsonl"), error) from None
        yield from metrics_in(content)

    def write_recipe(self, recipe: Recipe) -> None:
        """Writes the recipe without its comparison."""
        settings = recipe.model_dump(mode="json", exclude={"compare"})
        write(self.path("recipe.yaml"), dump_yaml(settings))

    def write_summary(self, summary: RunSummary) -> RunSummary:
        """Ends the run; returns the summary as written, with digests of the run's files."""
        paths = sorted(path for name in _SEALED for path in self.folder.glob(name))
        files = {path.name: digest_of(path.read_bytes()) for path in paths}
        sealed = replace(summary, format=FORMAT, files=files, sha256=None)
        sealed = replace(sealed, sha256=seal(sealed.to_record(), "sha256"))
        write(self.path("summary.json"), to_json(sealed.to_record()))
        return sealed


def data_root_of(run: Run) -> Path | None:
    """The folder of local data that the run was trained with, where it is still there.

    LIERE_DATA outweighs it.
    """
    root = run.environment().get("data_root")
    if os.environ.get("LIERE_DATA") or not isinstance(root, str) or not os.path.isdir(root):
        return None
    return Path(root)


def metrics_in(content: bytes) -> Iterator[dict[str, Any]]:
    """Lines of the content of metrics.jsonl, up to the first that is incomplete or damaged."""
    for text in content.decode(errors="replace").splitlines():
        try:
            line = parse_json(text)
        except ValueError:
            return
        if not isinstance(line, dict) or not isinstance(line.get("step"), int):
            return
        yield line
