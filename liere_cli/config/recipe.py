"""Recipes: every setting that affects a run's results, as validated sections.

One schema serves a single run (``encoding``, ``data``, ``model``, ``training``, ``seed``) and a
comparison, which adds ``compare``: the encodings, data sets and seeds of its runs.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from liere_cli.config.budget import Budget
from liere_cli.config.compare import CompareSettings
from liere_cli.config.fields import Extent, Spec
from liere_cli.config.section import Section, added

#: width, layers and heads; tiny, base and large are those of the LieRE paper (arXiv 2406.10322)
SIZES = {
    "nano": (128, 4, 4),
    "micro": (192, 6, 6),
    "tiny": (384, 12, 6),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
}


#: the name of liere's own transformer
DEFAULT_MODEL = "transformer"


def check_folder_name(name: str) -> str:
    """The name, or ValueError if a folder of runs can't have it."""
    if name and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", name):
        raise ValueError(
            "must be a folder's name: at most 80 letters, digits, '.', '_' and '-', the first a "
            "letter or a digit"
        )
    return name


class ModelSettings(Section):
    """The transformer; ``layers``, ``dim`` and ``heads`` default to those of ``size``."""

    size: Literal["nano", "micro", "tiny", "base", "large"] = Field(
        "nano", description="preset of layers, width and heads"
    )
    layers: int | None = Field(
        None, ge=1, le=1000, description="number of blocks; null: that of the size"
    )
    dim: int | None = Field(
        None, ge=1, le=65536, description="width of the residual stream; null: that of the size"
    )
    heads: int | None = Field(
        None, ge=1, le=1024, description="attention heads; null: that of the size"
    )
    mlp_ratio: float = Field(4.0, gt=0, le=64, description="width of the MLP relative to dim")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout probability")
    pooling: Literal["cls", "mean"] = Field(
        "mean", description="input of the classifier: a CLS token or the mean over tokens"
    )
    patch: Extent | None = Field(
        None, description="pixels of a patch along each axis, as 4 or 2x4x4; null: the data set's"
    )
    norm: Literal["layernorm", "rmsnorm"] = added(
        "layernorm", description="normalisation before attention, MLP and head"
    )
    mlp: Literal["gelu", "swiglu", "geglu"] = added(
        "gelu", description="MLP: plain, or gated at two thirds of the width, so equal parameters"
    )
    qk_norm: bool = added(
        False, description="normalise queries and keys over each head, before they are encoded"
    )
    registers: int = added(
        0, ge=0, le=1024, description="learned tokens without a position, before all others"
    )
    kv_heads: int | None = added(
        None,
        ge=1,
        le=1024,
        description="heads of keys and values, shared by groups of heads; null: as many as heads",
    )
    tie_embeddings: bool = added(
        False, description="a language model's head is its byte embeddings"
    )
    logit_cap: float | None = added(
        None, gt=0, description="c of c tanh(x / c) on the model's output logits; null: no cap"
    )
    window: int | None = added(
        None,
        ge=1,
        description="attend only to tokens less than this many away along every axis; null: to all",
    )
    name: str = added(
        DEFAULT_MODEL,
        description="transformer (liere's), your class in a file, as FILE.py:Class, or one that a "
        "package installs in the entry-point group liere.models",
    )


class PositionSettings(Section):
    """Random displacement of positions in training; see :mod:`liere_cli.positions.augment`."""

    jitter: float = Field(
        0.0, ge=0, le=1, description="each token within its patch; ComRoPE's setting is 1"
    )
    shift: float = Field(
        0.0, ge=0, le=2, description="the whole grid, by up to this many halves of it, as DINOv3"
    )
    stretch: float = Field(
        1.0, ge=1, le=10, description="each axis by a factor in 1/x to x, as DINOv3's jitter"
    )
    rescale: float = Field(
        1.0, ge=1, le=10, description="all axes by one factor in 1/x to x, as DINOv3"
    )


_Norm = Annotated[float, Field(gt=0)]


class ClipSettings(Section):
    """Maximum gradient norms of the model and of the encoding, which are then clipped apart."""

    model: _Norm | None = Field(1.0, description="of all weights but the encoding's; null: none")
    encoding: _Norm | None = Field(1.0, description="of the encoding's parameters; null: none")


def _as_clip(value: object) -> object:
    """A mapping is validated as one, so that an error names its key."""
    return ClipSettings.model_validate(dict(value)) if isinstance(value, Mapping) else value


class TrainingSettings(Section):
    """The optimisation, the same for every encoding."""

    budget: Budget = Field(
        "1000steps",
        validate_default=True,
        description="how long to train: steps, examples, tokens or time, as 2000steps or 10m",
    )
    batch: int = Field(
        32, ge=1, le=1_000_000, description="examples per step, over all parts and processes"
    )
    accumulate: int = Field(
        1, ge=1, description="parts in which a step's gradients are accumulated"
    )
    learning_rate: float = Field(1e-3, gt=0, le=10, description="peak learning rate of AdamW")
    encoding_rate: float = Field(1.0, ge=0, description="multiplies the encoding's learning rate")
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the budget spent warming up")
    final_rate: float = Field(
        0.01, ge=0, le=1, description="final learning rate as a share of the peak"
    )
    weight_decay: float = Field(
        0.05, ge=0, le=10, description="of weight matrices; none for the encoding"
    )
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = Field(
        (0.9, 0.99), description="AdamW's decay rates of the two moments"
    )
    clip: Annotated[_Norm | ClipSettings | None, BeforeValidator(_as_clip)] = Field(
        1.0,
        description="maximum gradient norm of model and encoding together, or, as {model: 1, "
        "encoding: 1}, of each; null: no clipping",
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="label smoothing of the training loss"
    )
    augment: bool = Field(
        True, description="apply the data set's random crops, shifts, flips and other augmentation"
    )
    fraction: float = added(
        1.0,
        gt=0,
        le=1,
        description="share of the training split that is used, the same for all encodings",
    )
    positions: PositionSettings = added(
        PositionSettings(), description="random displacement of positions during training"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="auto: bfloat16 autocast on a GPU that has it natively, float32 elsewhere",
    )
    compile: bool = Field(False, description="compile the model with torch.compile")
    validations: int = Field(
        5, ge=1, le=10_000, description="number of validations, evenly spaced over the budget"
    )
    validation_limit: int | None = Field(
        None, ge=1, description="examples or windows of each validation; null: all"
    )
    test_limit: int | None = Field(
        None, ge=1, description="examples or windows of the closing evaluations; null: all"
    )
    tested: bool = added(True, description="false: never reads the test split, as in tuning runs")
    log_every: int = Field(10, ge=1, description="steps between lines of metrics.jsonl")
    checkpoint_seconds: float | None = Field(
        None,
        gt=0,
        description="seconds between checkpoints; null: 5, or more if writing takes over 2% of it",
    )


class ParentSettings(Section):
    """A finished run whose weights are the initial ones; everything but ``run`` is filled in."""

    run: str = Field(description="its folder, name or identity")
    id: str = Field("", description="its identity")
    weights: str = Field("", description="digest of its last weights")
    encoding: str = Field("", description="label of its encoding")
    settings: str = Field("", description="digest of its settings but encoding and seed")
    generation: int = Field(1, ge=1, description="runs that it goes on from, one after another")


def _as_parent(value: object) -> object:
    return {"run": value} if isinstance(value, str) else value


class Recipe(Section):
    """A run or a comparison, as written; :mod:`liere_cli.runs.build` resolves every value."""

    experiment: Annotated[str, AfterValidator(check_folder_name)] = Field(
        "", description="folder of the runs under the outputs; empty: the data set's name"
    )
    seed: int = Field(0, ge=0, lt=2**31, description="seed of every random stream")
    encoding: Spec = Field(
        {"name": "liere"}, description="position encoding, as NAME:key=value or a mapping"
    )
    parent: Annotated[
        ParentSettings | None,
        BeforeValidator(_as_parent, json_schema_input_type=ParentSettings | str | None),
    ] = added(None, description="finished run to go on from, as liere train --from; null: none")
    data: Spec = Field({"name": "stdlib"}, description="data set, as NAME:key=value or a mapping")
    model: ModelSettings = Field(ModelSettings(), description="the transformer")
    training: TrainingSettings = Field(TrainingSettings(), description="the optimisation")
    compare: CompareSettings | None = Field(
        None, description="makes the recipe a comparison; null: a single run"
    )


def merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the values of ``change``; nested sections are merged."""
    result = dict(base)
    for key, value in change.items():
        nested = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if nested else value
    return result
