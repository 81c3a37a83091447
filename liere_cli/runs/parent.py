"""A finished run from whose weights another one goes on, with another encoding, length or data."""

import json
from pathlib import Path

from torch import Tensor, nn

from liere_cli.config.recipe import ParentSettings, Recipe
from liere_cli.config.spec import scalar_text
from liere_cli.encodings.registry import label, recorded_spec
from liere_cli.errors import LiereError, UsageError
from liere_cli.runs.checkpoint import read_weights
from liere_cli.runs.find import find_run, open_run
from liere_cli.runs.folder import Run
from liere_cli.runs.summary import RunSummary
from liere_cli.utils.distributed import ALONE, Ranks
from liere_cli.utils.files import digest_of

WEIGHTS = "last"
#: weights that must fit: with others of them, the parent is another model
_INNER = ("blocks.", "norm.")


def parent_settings(run: Run, where: str) -> ParentSettings:
    """What a recipe records of the run that it goes on from.

    Args:
        where: the flag or key that names the run, for error messages.

    Raises UsageError for a run that is not finished, LiereError for one without its weights.
    """
    summary = run.summary()
    if summary is None:
        raise UsageError(f"{where}: {run.folder} is not over, so it has no weights to go on from")
    if summary.status != "finished":
        raise UsageError(f"{where}: {run.folder} has {summary.status}; choose a finished run")
    recipe = run.recipe()
    _, digest = read_weights(run, WEIGHTS)
    return ParentSettings(
        run=str(run.folder.absolute()),
        id=run.recorded_id(),
        weights=digest,
        encoding=label(recipe.encoding),
        settings=_settings_of(recipe, summary),
        generation=1 + (recipe.parent.generation if recipe.parent else 0),
    )


def _settings_of(recipe: Recipe, summary: RunSummary) -> str:
    """Digest of the settings that runs of one table share."""
    settings = recipe.identifying()
    for key in ("experiment", "compare", "encoding", "seed"):
        settings.pop(key)
    settings["training"].pop("checkpoint_seconds")
    settings["data"].pop("path", None)
    if recipe.parent is not None:
        settings["parent"] = recipe.parent.settings
    return digest_of(json.dumps([settings, summary.fingerprint], sort_keys=True), 12)


def check_same_model(parent: Recipe, recipe: Recipe, where: str) -> None:
    """Raises UsageError unless two resolved recipes have the same blocks."""
    for key in type(recipe.model).model_fields:
        theirs, ours = getattr(parent.model, key), getattr(recipe.model, key)
        if theirs != ours and key not in ("size", "patch", "dropout", "pooling", "window"):
            raise UsageError(
                f"{where}: that run has model.{key}={scalar_text(theirs)}, this one "
                f"{scalar_text(ours)}; its weights fit no other: set model.{key}="
                f"{scalar_text(theirs)}"
            )


def check_parent(parent: ParentSettings, recipe: Recipe, outputs: Path) -> None:
    """``check_same_model`` with the parent, where it is still there."""
    if (run := find_run(outputs, parent.id)) is not None:
        check_same_model(run.recipe(), recipe, str(run.folder))


def take_over(model: nn.Module, recipe: Recipe, outputs: Path, ranks: Ranks = ALONE) -> list[str]:
    """Copies the parent's weights, and returns sentences about those that start anew.

    Those of the encoding are taken over if both runs have an encoding of the same name. Whatever
    the parent lacks, or has in another shape, keeps its initial values.

    Raises LiereError if the parent is gone, has changed, or has other blocks.
    """
    parent = recipe.parent
    assert parent is not None
    name, tensors = ranks.broadcast(lambda: _weights_of(parent, outputs))
    ours = model.state_dict()
    same = name == recipe.encoding["name"]
    taken = {
        key: value
        for key, value in tensors.items()
        if key in ours
        and ours[key].shape == value.shape
        and (same or not key.startswith("encoding."))
    }
    anew = [key for key in ours if key not in taken]
    others = () if same else tuple(key for key in tensors if key.startswith("encoding."))
    unused = [key for key in tensors if key not in ours or key in others]
    if inner := [key for key in (*anew, *unused) if key.startswith(_INNER)]:
        raise LiereError(
            f"{parent.run}: is of another model: its '{inner[0]}' does not fit this recipe's"
        )
    model.load_state_dict(ours | taken)
    sentences = {
        f"initialised anew, as run {parent.id} has no weights of their name and shape": anew,
        f"weights of run {parent.id} that are not used": unused,
    }
    return [f"{what}: {', '.join(keys)}" for what, keys in sentences.items() if keys]


def _weights_of(parent: ParentSettings, outputs: Path) -> tuple[str, dict[str, Tensor]]:
    """The name of the parent's encoding, and its weights; LiereError if it is gone or changed."""
    run = find_run(outputs, parent.id)
    if run is None:
        try:
            run = open_run(parent.run, outputs)
        except UsageError:
            raise LiereError(
                f"{parent.run}: the run that this one goes on from, {parent.id}, is gone: it is "
                f"neither there nor in '{outputs}'"
            ) from None
    tensors, digest = read_weights(run, WEIGHTS)
    if run.recorded_id() != parent.id or digest != parent.weights:
        raise LiereError(
            f"{run.folder}: has changed since this run was planned: it is run {run.recorded_id()} "
            f"with weights {digest}, not {parent.id} with {parent.weights}; start anew from it"
        )
    return str(recorded_spec(run.recipe().encoding)["name"]), tensors
