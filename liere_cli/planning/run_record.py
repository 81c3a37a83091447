"""What a table needs of a run, read from the files in its folder."""

import json
import re
from dataclasses import dataclass, field, replace
from typing import Any

from liere_cli.config.budget import Budget
from liere_cli.config.files import MAX_RECIPE_BYTES, parse_settings
from liere_cli.config.recipe import Recipe
from liere_cli.errors import LiereError, UsageError, unreadable
from liere_cli.runs.folder import ITEMS_FILE, Run
from liere_cli.runs.summary import RunSummary

#: the line that alone differs between the recipes of one encoding's seeds
_SEED = re.compile(rb"^seed: (\d+)$", re.M)


@dataclass(frozen=True)
class RunRecord:
    """One run in a comparison of finished runs.

    Args:
        encoding, data: short labels.
        metric: empty while the run is not over.
        name: the encoding's own, or its file and class.
        test_limit: items of the test split that are scored; None: all.
        axes: of the data's grid.
        shared: JSON of the settings that all runs of a table have in common.
        parent: label of the encoding of the run that it goes on from; empty for none.
        summary: of a run that is over, without the digests of its files.
        items: digest of its results per test item, where the summary has it.
    """

    encoding: str
    data: str
    fingerprint: str
    run_id: str
    metric: str
    name: str
    seed: int
    budget: Budget
    test_limit: int | None
    axes: int
    dataset: str
    shared: str
    parent: str
    summary: RunSummary | None
    items: str | None


@dataclass
class RunRecordReader:
    """Reads records; recipes that differ only in the seed are parsed once."""

    _parsed: dict[bytes, tuple[Recipe, str]] = field(default_factory=dict)

    def read(self, run: Run) -> RunRecord:
        """The run's record; UsageError if it was never scored on the test split."""
        summary = run.summary()
        known = signature_of(run) if summary is None else vars(summary)
        if known is None:
            raise LiereError(
                f"{run.folder}: is not a run folder, or the run had not begun to train"
            )
        recipe, shared = self._recipe(run, summary)
        try:
            record = RunRecord(
                encoding=str(known["encoding"]),
                data=str(known["data"]),
                fingerprint=str(known["fingerprint"]),
                run_id=str(known["id"]),
                metric=str(known.get("metric", "")),
                name=str(recipe.encoding["name"]),
                seed=recipe.seed,
                budget=recipe.training.budget,
                test_limit=recipe.training.test_limit,
                axes=len(recipe.model.patch or ()),
                dataset=str(recipe.data["name"]),
                shared=json.dumps(
                    json.loads(shared) | {"fingerprint": str(known["fingerprint"])}, sort_keys=True
                ),
                parent=recipe.parent.encoding if recipe.parent else "",
                summary=summary and replace(summary, files={}, sha256=None),
                items=summary.files.get(ITEMS_FILE) if summary else None,
            )
        except KeyError as error:
            raise LiereError(f"{run.folder}: its summary lacks {error}; train it again") from None
        if not recipe.training.tested:
            raise UsageError(
                f"{run.folder}: was never scored on the test split (training.tested: false), as "
                "runs that tune, and can't be compared"
            )
        return record

    def _recipe(self, run: Run, summary: RunSummary | None) -> tuple[Recipe, str]:
        """The recipe, and its settings but the fingerprint as JSON."""
        path = run.path("recipe.yaml")
        try:
            content = run.checked(path.name, MAX_RECIPE_BYTES, summary)
        except OSError as error:
            raise unreadable(path, error) from None
        seeds = _SEED.findall(content)
        rest = _SEED.sub(b"", content)
        if len(seeds) == 1 and rest in self._parsed and len(seeds[0]) < 10:
            recipe, shared = self._parsed[rest]
            return recipe.model_copy(update={"seed": int(seeds[0])}), shared
        recipe = Recipe.validated(parse_settings(content, str(path)), str(path))
        shared = json.dumps(shared_settings(recipe, ""), sort_keys=True)
        if [int(seed) for seed in seeds] == [recipe.seed]:
            self._parsed[rest] = recipe, shared
        return recipe, shared


def shared_settings(recipe: Recipe, fingerprint: str) -> dict[str, Any]:
    """The settings that all runs of a table share: everything but encoding and seed."""
    settings = recipe.model_dump(mode="json", exclude={"experiment", "compare", "encoding", "seed"})
    settings["training"].pop("checkpoint_seconds")
    if (parent := settings.pop("parent")) is not None:
        settings["parent"] = parent["settings"]
    # the fingerprint stands for the path
    settings["data"].pop("path", None)
    return settings | {"fingerprint": fingerprint}


def signature_of(run: Run) -> dict[str, str] | None:
    """The parts of the line that a run writes before its first step; None without one."""
    try:
        line = run.path("signature.txt").read_text().strip()
    except (OSError, ValueError):
        return None
    fields = dict(part.split(":", 1) for part in line.split("|") if ":" in part)
    data, _, fingerprint = fields.pop("data", "").rpartition("@")
    return fields | {"data": data, "fingerprint": fingerprint}
