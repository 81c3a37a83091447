"""Recipes: everything that decides a run's numbers, in one typed, validated file.

One schema serves a single run (``encoding``, ``data``, ``model``, ``training``, ``seed``) and a
comparison (the same, with ``compare`` spanning the cells).
"""

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field

from liere_cli.config.budget import Budget
from liere_cli.config.section import Section, added
from liere_cli.config.spec import parse_scalar, parse_spec

#: width, layers and heads; tiny, base and large are those of the LieRE paper (arXiv 2406.10322)
SIZES = {
    "nano": (128, 4, 4),
    "micro": (192, 6, 6),
    "tiny": (384, 12, 6),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
}


def _as_spec(value: object) -> object:
    return parse_spec(value) if isinstance(value, str) else value


def _has_name(spec: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(spec.get("name"), str):
        raise ValueError("must be a name, 'name:key=value', or a mapping with 'name'")
    return spec


def _folder_name(name: str) -> str:
    if name and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", name):
        raise ValueError(
            "must be a folder's name: at most 80 letters, digits, '.', '_' and '-', the first a "
            "letter or a digit"
        )
    return name


def _as_ints(value: object) -> object:
    if isinstance(value, str):
        return [parse_scalar(part) for part in value.lower().split("x")]
    return [value] if isinstance(value, int) else value


Spec = Annotated[dict[str, Any], BeforeValidator(_as_spec), AfterValidator(_has_name)]
Extent = Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(_as_ints)]


class ModelSettings(Section):
    """The transformer; ``layers``, ``dim`` and ``heads`` default to those of ``size``."""

    size: Literal["nano", "micro", "tiny", "base", "large"] = "nano"
    layers: int | None = Field(None, ge=1, le=1000)
    dim: int | None = Field(None, ge=1, le=65536, description="width of the residual stream")
    heads: int | None = Field(None, ge=1, le=1024)
    mlp_ratio: float = Field(4.0, gt=0, le=64)
    dropout: float = Field(0.0, ge=0, lt=1)
    pooling: Literal["cls", "mean"] = "mean"
    patch: Extent | None = Field(None, description="pixels along each axis; None: the data set's")


class PositionSettings(Section):
    """Random displacement of positions in training; see :mod:`liere_cli.positions.augment`."""

    jitter: float = Field(
        0.0, ge=0, le=1, description="of each token within its patch, as ComRoPE; 1 is its setting"
    )
    shift: float = Field(
        0.0, ge=0, le=2, description="of the grid, up to this many halves of it, as DINOv3"
    )
    stretch: float = Field(
        1.0, ge=1, le=10, description="of each axis, by 1/stretch to stretch, as DINOv3's jitter"
    )
    rescale: float = Field(
        1.0, ge=1, le=10, description="of all axes, by 1/rescale to rescale, as DINOv3"
    )


class TrainingSettings(Section):
    """The optimisation, the same for every encoding."""

    budget: Budget = Field("1000steps", validate_default=True)
    batch: int = Field(32, ge=1, le=1_000_000, description="examples a step, over all parts")
    accumulate: int = Field(1, ge=1, description="parts in which a step's batch is computed")
    learning_rate: float = Field(1e-3, gt=0, le=10)
    encoding_rate: float = Field(1.0, ge=0, description="multiplies the encoding's learning rate")
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the budget")
    final_rate: float = Field(0.01, ge=0, le=1, description="share of the learning rate at the end")
    weight_decay: float = Field(0.05, ge=0, le=10, description="matrices only; not the encoding")
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (
        0.9,
        0.99,
    )
    clip: float | None = Field(1.0, gt=0, description="largest gradient norm; null: no clipping")
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    augment: bool = Field(True, description="the data set's random shifts and flips")
    fraction: float = added(
        1.0, gt=0, le=1, description="share of the training split, the same for all encodings"
    )
    positions: PositionSettings = added(
        PositionSettings(), description="random displacement of positions, in training only"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 autocast on a GPU, float32 elsewhere"
    )
    compile: bool = Field(False, description="torch.compile the model")
    validations: int = Field(5, ge=1, le=10_000, description="evenly spaced over the budget")
    validation_limit: int | None = Field(
        None, ge=1, description="examples or windows in each of them; null: all"
    )
    test_limit: int | None = Field(
        None, ge=1, description="examples or windows in the closing evaluations; null: all"
    )
    tested: bool = added(
        True, description="false: the run never reads the test split, as runs that tune"
    )
    log_every: int = Field(10, ge=1, description="steps between lines of metrics.jsonl")
    checkpoint_seconds: float | None = Field(
        None,
        gt=0,
        description="between checkpoints; null: 5, or more where writing takes over 2% of the time",
    )


class DatasetSettings(Section):
    """One data set of a comparison, with what differs from the recipe for it."""

    data: Spec
    encodings: list[Spec] | None = Field(None, min_length=1)
    model: dict[str, Any] = {}
    training: dict[str, Any] = {}
    tuning: dict[str, Any] = Field({}, description="what differs from compare.tuning for it")
    transfer: dict[str, Any] | None = Field(
        {}, description="what differs from compare.transfer for it; null: nothing of the kind"
    )
    margin: float | None = Field(
        None, gt=0, description="smallest difference worth caring about, in the metric's unit"
    )


def _as_dataset_settings(value: object) -> object:
    is_dataset = isinstance(value, Mapping) and "data" in value
    return value if is_dataset else {"data": value}


def _as_seeds(value: object) -> object:
    return list(range(value)) if isinstance(value, int) and not isinstance(value, bool) else value


def _as_list(value: object) -> object:
    return [value] if isinstance(value, int) and not isinstance(value, bool) else value


def _distinct(seeds: list[int]) -> list[int]:
    if len(set(seeds)) != len(seeds):
        raise ValueError("the seeds must differ")
    return seeds


def _is_time(budget: Budget) -> Budget:
    if budget.unit != "seconds":
        raise ValueError("must be a time, such as 90m or 2h")
    return budget


class SettleSettings(Section):
    """Adds seeds to a comparison until each verdict is settled or in vain."""

    max_seeds: int = Field(10, ge=2, le=1000, description="of any encoding")
    time: Annotated[Budget, AfterValidator(_is_time)] | None = Field(
        None, description="training time of all runs together; null: no limit"
    )


class InteractionSettings(Section):
    """Is an encoding's gain over the baseline larger on some data than on other?

    Gains are shares of the baseline's own gain over ``control``, which makes metrics comparable.
    """

    against: str = Field(
        "text", description="modality or data set that the others are held against"
    )
    control: Spec = Field({"name": "none"}, validation_alias=AliasChoices("control", "floor"))
    encodings: list[Spec] | None = Field(
        None, min_length=1, description="null: all that stand on both sides"
    )
    margin: float | None = Field(
        None, gt=0, description="smallest difference worth caring about; 0.1: a tenth of that gain"
    )


def _flattened(value: object) -> object:
    """``{encoding: {scale: [..]}}`` as ``{encoding.scale: [..]}``, which ``--set`` writes."""
    if not isinstance(value, Mapping) or not isinstance(value.get("encoding"), Mapping):
        return value
    own = {f"encoding.{key}": one for key, one in value["encoding"].items()}
    return {key: one for key, one in value.items() if key != "encoding"} | own


class TuningSettings(Section):
    """The same search for every encoding, on the validation split, before anything is compared.

    Keys are those of ``training``, and ``encoding.KEY`` for options of the encodings that have it.
    """

    grid: Annotated[
        dict[str, Annotated[list[Any], Field(min_length=1)]], BeforeValidator(_flattened)
    ] = Field({}, description="values of each key; every combination of them is tried")
    candidates: list[Annotated[dict[str, Any], BeforeValidator(_flattened)]] = Field(
        [], description="in place of a grid: the combinations themselves"
    )
    seeds: Annotated[
        list[Annotated[int, Field(ge=0, lt=2**31)]],
        BeforeValidator(_as_list),
        AfterValidator(_distinct),
        Field(min_length=1, max_length=1000),
    ] = Field([1000], description="of its runs; the comparison may use none of them")
    budget: Budget | None = Field(
        None, description="of each of its runs; null: that of the comparison's runs"
    )


class TransferSettings(Section):
    """After training, every run at other lengths or resolutions, beside those of training."""

    grids: list[Any] = Field(
        [], max_length=100, description="as 512, 48x48 or 8x32x32; the trained one is among them"
    )
    extend: list[Literal["none", "pi", "refit", "ntk", "yarn"]] = Field(
        ["none"],
        description="how encodings serve them, each by those that it has; none is among them",
    )
    shuffle: bool = Field(
        False, description="also the training grid with its patches in random order"
    )
    limit: int | None = Field(
        None, ge=1, description="test items or blocks of text; null: training.test_limit"
    )


def _is_job_time(budget: Budget) -> Budget:
    if _is_time(budget).amount < 300:  # notice of the end may come 150 s before it
        raise ValueError("must be at least 5m")
    return budget


def _one_word(text: str) -> str:
    if not re.fullmatch(r"[\w.,:=&|*()\[\]@+/-]{1,200}", text):
        raise ValueError("must be one word, as sbatch takes it")
    return text


def _as_memory(text: str) -> str:
    if not re.fullmatch(r"[0-9]{1,9}[KMGT]", text):
        raise ValueError("must be a number and K, M, G or T, as 16G")
    return text


#: on a line of its own in the script that Slurm gets
Word = Annotated[str, AfterValidator(_one_word)]


class SlurmSettings(Section):
    """The jobs that train a comparison with ``--launcher slurm``: an array, one job a run."""

    partition: Word | None = None
    account: Word | None = None
    qos: Word | None = None
    time: Annotated[Budget, AfterValidator(_is_job_time)] = Field(
        "1h",
        validate_default=True,
        description="limit of each job; a run that needs longer goes on in its next",
    )
    gpus: int = Field(0, ge=0, le=8, description="of each job; a run uses one")
    gres: Word | None = Field(None, description="where GPUs are asked for so, as gpu:a100:1")
    cpus: int = Field(1, ge=1, le=1024, description="of each job, and threads of its run")
    memory: Annotated[str, AfterValidator(_as_memory)] | None = Field(
        None, description="of each job, as 16G"
    )
    constraint: Word | None = None
    reservation: Word | None = None
    exclude: Word | None = Field(None, description="nodes to avoid")
    resubmissions: int = Field(
        3, ge=0, le=100, description="of a run whose job died without saying why"
    )

    @property
    def device(self) -> str:
        """What runs are trained on: ``cuda`` where GPUs are asked for, else ``cpu``."""
        return "cuda" if self.gpus or (self.gres or "").startswith("gpu") else "cpu"

    @property
    def minutes(self) -> int:
        return math.ceil(self.time.amount / 60)


class CompareSettings(Section):
    """Which cells a comparison spans: encodings x data x seeds."""

    encodings: list[Spec] = Field(
        [{"name": "none"}, {"name": "axial"}, {"name": "rope-mixed"}, {"name": "liere"}],
        min_length=1,
    )
    data: list[Annotated[DatasetSettings, BeforeValidator(_as_dataset_settings)]] = Field(
        [], max_length=1000
    )
    seeds: Annotated[
        list[Annotated[int, Field(ge=0, lt=2**31)]],
        BeforeValidator(_as_seeds),
        AfterValidator(_distinct),
        Field(min_length=1, max_length=10_000),
    ] = [0, 1, 2]
    baseline: Annotated[
        list[Spec], BeforeValidator(lambda value: value if isinstance(value, list) else [value])
    ] = Field(
        [{"name": "rope"}, {"name": "axial"}],
        min_length=1,
        description="the first one that takes part and is defined on the data's axes",
    )
    margins: dict[Literal["bits_per_byte", "top1"], Annotated[float, Field(gt=0)]] = Field(
        {},
        description="smallest difference worth caring about, by metric, for data without its own "
        "'margin'; top1 is a share of 1, so that 0.01 means one point",
    )
    until_settled: SettleSettings | None = Field(
        None, description="adds seeds to those of 'seeds' where they are needed"
    )
    aa: bool = Field(
        False,
        description="also hold the baseline against itself at other seeds, which must not end in "
        "'better' or 'worse'",
    )
    tuning: TuningSettings | None = Field(
        None, description="chooses settings for each encoding before the comparison"
    )
    interaction: InteractionSettings | None = None
    fractions: list[Annotated[float, Field(gt=0, le=1)]] = Field(
        [],
        max_length=100,
        description="of the training split; each data set is compared at these and at all of it",
    )
    transfer: TransferSettings | None = Field(
        None, description="measures every run at other lengths or resolutions"
    )
    efficiency: bool = Field(
        False, description="also compare at equal seconds, and what reaches the baseline's score"
    )
    slurm: SlurmSettings = Field(
        SlurmSettings(), description="what each job asks for, with --launcher slurm"
    )


class Recipe(Section):
    """A run or a comparison, as written; see :mod:`liere_cli.runs.build` for the resolved form."""

    experiment: Annotated[str, AfterValidator(_folder_name)] = ""
    seed: int = Field(0, ge=0, lt=2**31)
    encoding: Spec = {"name": "liere"}
    data: Spec = {"name": "stdlib"}
    model: ModelSettings = ModelSettings()
    training: TrainingSettings = TrainingSettings()
    compare: CompareSettings | None = None


def merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``change`` laid over it, section by section."""
    result = dict(base)
    for key, value in change.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both else value
    return result
