"""Shell completion of names and keys, without importing torch or a data library."""

from collections.abc import Iterable, Iterator
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def complete_encodings(incomplete: str) -> list[str]:
    """Encodings; of a list separated by commas, its last part."""
    from liere_cli.config.names import names_of

    return _last_part(incomplete, sorted(names_of("encoding")))


def complete_data(incomplete: str) -> list[str]:
    from liere_cli.config.names import names_of

    return _last_part(incomplete, sorted(names_of("data set")))


def _last_part(incomplete: str, names: Iterable[str]) -> list[str]:
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in names if name.startswith(last)]


def complete_loggers(incomplete: str) -> list[str]:
    return _last_part(incomplete, ("tensorboard", "wandb", "mlflow"))


def complete_recipe(incomplete: str) -> list[str]:
    """Built-in recipes; paths are completed by the shell."""
    folders = (_PACKAGE / "_recipes", _PACKAGE.parent / "recipes")
    stems = {path.stem for folder in folders for path in folder.glob("*.yaml")}
    return sorted(stem for stem in stems if stem.startswith(incomplete))


def complete_run(incomplete: str) -> list[str]:
    """Paths of experiments and runs under ``outputs``, and identities of runs."""
    from liere_cli.runs.find import all_runs

    names: dict[str, None] = {}
    for run in all_runs(Path("outputs")):
        names |= dict.fromkeys((str(run.folder.parent), str(run.folder), run.run_id))
    return [name for name in names if name.startswith(incomplete)]


def complete_source(incomplete: str) -> list[str]:
    """What ``liere compare`` takes: recipes and runs."""
    return [*complete_recipe(incomplete), *complete_run(incomplete)]


def complete_assignment(incomplete: str) -> list[tuple[str, str]]:
    """Keys of recipes with their meaning, as ``training.batch=``; then values, where few do."""
    from liere_cli.config.reference import keys

    key, equals, _ = incomplete.partition("=")
    if not equals:
        return [
            (f"{entry.key}=", entry.meaning) for entry in keys() if entry.key.startswith(incomplete)
        ]
    values = [entry.values for entry in keys() if entry.key == key]
    return [(f"{key}={value}", "") for value in _flat(values)]


def _flat(values: Iterable[Iterable[str]]) -> Iterator[str]:
    for part in values:
        yield from part
