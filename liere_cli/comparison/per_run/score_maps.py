"""Score maps of the encodings of a comparison, at initialisation and as trained."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from liere_cli.errors import LiereError
from liere_cli.planning.plan import ComparedRun, DatasetPlan, PlannedRun
from liere_cli.planning.progress import Outcome
from liere_cli.planning.run_record import signature_of

if TYPE_CHECKING:
    from liere_cli.encodings.base import PositionEncoding
    from liere_cli.encodings.score_map import ScoreMap

#: largest file of weights that is read, in bytes
MAX_WEIGHTS_BYTES = 1 << 28
#: tokens of a training grid up to which maps are drawn
MAX_TOKENS = 16_384


@dataclass(frozen=True)
class EncodingMaps:
    """An encoding's score maps in the first layer, at the seed of one run.

    Args:
        trained: None for an encoding without parameters, or without readable weights.
        missing: why there is no map, or none after training.
    """

    encoding: str
    seed: int
    initial: "ScoreMap | None" = None
    trained: "ScoreMap | None" = None
    missing: str = ""


def score_maps(dataset: DatasetPlan, outcomes: Mapping[str, Outcome]) -> Iterator[EncodingMaps]:
    """Maps of the first finished run of every encoding. Loads torch."""
    for row in dataset.encodings:
        finished = [run for run in row.runs if outcomes[run.run_id].state == "finished"]
        if finished:
            yield _maps(row.label, finished[0])


def _maps(label: str, planned: ComparedRun) -> EncodingMaps:
    from liere_cli.encodings.score_map import score_map

    maps = EncodingMaps(label, planned.seed)
    # an encoding may be anybody's code, which must not cost the report
    try:
        encoding, grid = _encoding_of(planned)
        maps = replace(maps, initial=score_map(encoding, grid))
        if not list(encoding.parameters()):
            return replace(maps, missing="it has no parameters, so training changes nothing")
        _load(planned, encoding)
        return replace(maps, trained=score_map(encoding, grid))
    except Exception as error:
        return replace(maps, missing=_reason(error, planned))


def _reason(error: Exception, planned: ComparedRun) -> str:
    """One sentence, without the path above the run, which a page for others need not show."""
    from liere_cli.utils.user_code import error_summary

    text = str(error) if isinstance(error, LiereError) else error_summary(error)
    return text.replace(str(planned.run.folder), planned.run.name)


def _encoding_of(planned: ComparedRun) -> tuple["PositionEncoding", tuple[int, ...]]:
    """The encoding as the run initialised it, and its grid in tokens; reads no data.

    Raises LiereError for a run whose files don't describe it, and for one whose encoding is code in
    a file, unless the user named that file in this comparison.
    """
    from liere_cli.encodings.registry import build_encoding

    recipe = planned.run.recipe()
    name = str(recipe.encoding["name"])
    if ".py:" in name and not isinstance(planned, PlannedRun):
        raise LiereError("its code is in a file, which is run only where a flag names it")
    model = recipe.model
    grid_text = (signature_of(planned.run) or {}).get("grid", "")
    extents = [int(part) for part in grid_text.split("x") if part.isdecimal() and len(part) < 7]
    if not (extents and model.patch and model.dim and model.heads and model.layers):
        raise LiereError(f"{planned.run.folder}: its files don't state the model's shape")
    if len(model.patch) != len(extents):
        raise LiereError(f"{planned.run.folder}: its grid and patch have different axes")
    tokens = tuple(n // patch for n, patch in zip(extents, model.patch, strict=True))
    count = 1
    for extent in tokens:
        count *= extent
    if not 0 < count <= MAX_TOKENS or len(tokens) > 3:
        raise LiereError(f"its training grid has {count:,} tokens on {len(tokens)} axes")
    encoding = build_encoding(
        recipe.encoding,
        axes=len(tokens),
        heads=model.heads,
        head_dim=model.dim // model.heads,
        depth=model.layers,
        dim=model.dim,
        grid=tokens,
        seed=recipe.seed,
    )
    return encoding, tokens


def _load(planned: ComparedRun, encoding: "PositionEncoding") -> None:
    """Loads the encoding's part of the run's last weights; LiereError if it can't be read."""
    from safetensors.torch import load

    path = planned.run.path("last.safetensors")
    try:
        tensors = load(planned.run.checked(path.name, MAX_WEIGHTS_BYTES))
        own = {
            name.removeprefix("encoding."): value
            for name, value in tensors.items()
            if name.startswith("encoding.")
        }
        encoding.load_state_dict(own)
    except LiereError:
        raise
    except FileNotFoundError:
        raise LiereError(f"{path} is missing, so there is no map after training") from None
    except Exception as error:
        raise LiereError(f"{path}: is damaged ({type(error).__name__})") from None
