"""Which folder a comparison has: one of its own, so that no table replaces another's."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from liere_cli.config.files import read_settings
from liere_cli.config.recipe import Recipe
from liere_cli.errors import LiereError, unwritable
from liere_cli.planning.plan_file import EARLIER
from liere_cli.utils.files import digest_of

#: what a comparison writes beside its runs
_WRITTEN = ("table.*", "report.*", "comparison-fixed.yaml", "comparison.yaml")
#: characters of the names of encodings and data sets in a folder's name
MAX_NAME = 48
DIGITS = 6


def ad_hoc_name(recipe: Recipe, stem: str | None) -> str:
    """The folder of a comparison that flags define, or by which they change a recipe.

    ``stem`` is the recipe's folder; None: the name says what is compared. The digits at the end are
    a digest of all settings but the seeds, so that more seeds go into the same folder.
    """
    readable = stem or re.sub(r"[^A-Za-z0-9.-]+", "_", "-".join(_names(recipe)))
    readable = readable[:MAX_NAME].strip("._-") or "compare"
    return f"{readable}-{_key(recipe.model_dump(mode='json'))}"


def _names(recipe: Recipe) -> Iterator[str]:
    """Names of the encodings and data sets; of local data and code, the name of the file."""
    compare = recipe.compare
    specs = [*compare.encodings, *(entry.data for entry in compare.data)] if compare else []
    for spec in specs:
        name = str(spec["name"]).rpartition(":")[2]
        yield Path(str(spec["path"])).stem if "path" in spec else name


def _key(settings: Mapping[str, Any]) -> str:
    """Digest of what is compared, but for seeds and what affects no number."""
    kept = {key: value for key, value in settings.items() if key not in ("experiment", "seed")}
    compare = dict(kept.pop("compare", None) or {})
    for key in ("seeds", "until_settled", "slurm"):
        compare.pop(key, None)
    training = dict(kept.pop("training", None) or {})
    training.pop("checkpoint_seconds", None)
    return digest_of(json.dumps([kept, training, compare], sort_keys=True), DIGITS)


def adds_seeds(folder: Path) -> bool:
    """Whether the folder's recipe adds seeds until verdicts are settled."""
    try:
        settings = read_settings(folder / "comparison.yaml")["compare"]
        return settings.get("until_settled") is not None
    except (LiereError, OSError, KeyError, TypeError, AttributeError):
        return False


def set_aside(folder: Path, recipe: Recipe) -> Path | None:
    """Moves the tables of another comparison out of the way, and returns their new folder.

    Tables at fewer seeds of the same comparison are replaced.
    """
    path = folder / "comparison.yaml"
    if not path.is_file():
        return None
    try:
        old, new = read_settings(path), recipe.model_dump(mode="json")
        fewer = set(old["compare"]["seeds"]) <= set(new["compare"]["seeds"])
        if fewer and _key(old) == _key(new):
            return None
    except (LiereError, KeyError, TypeError):
        pass  # of another version, or damaged: kept as it is
    try:
        target = folder / EARLIER / digest_of(path.read_bytes(), DIGITS)
        target.mkdir(parents=True, exist_ok=True)
        # comparison.yaml last: after a kill, the next comparison moves the rest
        for name in _WRITTEN:
            for file in sorted(folder.glob(name)):
                file.replace(target / file.name)
    except OSError as error:
        raise unwritable(folder, error) from None
    return target
