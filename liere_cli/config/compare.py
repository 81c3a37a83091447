"""The settings of a comparison: the ``compare`` section of a recipe."""

import itertools
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field

from liere_cli.config.budget import Budget
from liere_cli.config.fields import Spec
from liere_cli.config.section import Section, added
from liere_cli.utils.nested import flattened


class DatasetSettings(Section):
    """One data set of a comparison, with settings that replace the recipe's for it."""

    data: Spec = Field(description="the data set, as NAME:key=value or a mapping with 'name'")
    encodings: list[Spec] | None = Field(
        None, min_length=1, description="encodings on this data set; null: compare.encodings"
    )
    model: dict[str, Any] = Field({}, description="replaces settings of the recipe's model")
    training: dict[str, Any] = Field({}, description="replaces settings of the recipe's training")
    tuning: dict[str, Any] = Field({}, description="replaces settings of compare.tuning")
    transfer: dict[str, Any] | None = Field(
        {}, description="replaces settings of compare.transfer; null: no transfer"
    )
    margin: float | None = Field(
        None, gt=0, description="smallest relevant difference, in the metric's unit"
    )


def _as_dataset_settings(value: object) -> object:
    is_dataset = isinstance(value, Mapping) and "data" in value
    return value if is_dataset else {"data": value}


_Seed = Annotated[int, Field(ge=0, lt=2**31)]


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
    """Adds seeds until each verdict is settled, or further seeds are unlikely to help."""

    max_seeds: int = Field(20, ge=2, le=1000, description="maximum seeds of each encoding")
    time: Annotated[Budget, AfterValidator(_is_time)] | None = Field(
        None, description="maximum training time of all runs together; null: no limit"
    )


class InteractionSettings(Section):
    """Tests whether an encoding's gain over the baseline differs between data sets, or between
    the settings of ``compare.over``.

    Gains are shares of the baseline's own gain over ``control``, which makes metrics comparable.
    """

    against: str = Field(
        "text", description="modality or data set that the others are compared with"
    )
    control: Spec = Field(
        {"name": "none"},
        validation_alias=AliasChoices("control", "floor"),
        description="encoding relative to which the baseline's own gain is measured",
    )
    encodings: list[Spec] | None = Field(
        None, min_length=1, description="encodings to test; null: all that both sides have"
    )
    margin: float | None = Field(
        None, gt=0, description="smallest relevant difference, as a share of the baseline's gain"
    )


def _flattened(value: object) -> object:
    """``{encoding: {scale: [..]}}`` as ``{encoding.scale: [..]}``, which ``--set`` writes."""
    if not isinstance(value, Mapping) or not isinstance(value.get("encoding"), Mapping):
        return value
    options = {f"encoding.{key}": values for key, values in value["encoding"].items()}
    return {key: values for key, values in value.items() if key != "encoding"} | options


def _as_combinations(value: object) -> object:
    """A mapping of keys to lists as the list of all combinations; nested keys become dotted."""
    if isinstance(value, list):
        return [flattened(part) if isinstance(part, Mapping) else part for part in value]
    if not isinstance(value, Mapping):
        return value
    lists = flattened(value)
    for key, values in lists.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"needs a list of values for '{key}', such as [false, true]")
    return [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]


class ParentsSettings(Section):
    """Finished runs that a comparison's runs go on from, each from one of its own seed."""

    runs: str = Field(description="folder of an experiment, or of one run")
    encoding: Spec | None = Field(
        None,
        description="encoding of those runs; null: each encoding's own, or the only one there is",
    )


def _as_parents(value: object) -> object:
    return {"runs": value} if isinstance(value, str) else value


class TuningSettings(Section):
    """A search for each encoding's settings on the validation split, before the comparison.

    Keys are those of ``training``, and ``encoding.KEY`` for options of the encodings that have it.
    """

    grid: Annotated[
        dict[str, Annotated[list[Any], Field(min_length=1)]],
        BeforeValidator(
            _flattened, json_schema_input_type=dict[str, list[Any] | dict[str, list[Any]]]
        ),
    ] = Field({}, description="values of each key; all combinations are tried")
    candidates: list[Annotated[dict[str, Any], BeforeValidator(_flattened)]] = Field(
        [], description="combinations to try, in place of a grid"
    )
    seeds: Annotated[
        list[_Seed],
        BeforeValidator(_as_list, json_schema_input_type=int | list[_Seed]),
        AfterValidator(_distinct),
        Field(min_length=1, max_length=1000),
    ] = Field([1000], description="seeds of the tuning runs, none of which the comparison may use")
    budget: Budget | None = Field(
        None, description="budget of each tuning run; null: that of the comparison's runs"
    )


class TransferSettings(Section):
    """Evaluates every trained run at other lengths or resolutions too."""

    grids: list[Any] = Field(
        [],
        max_length=100,
        description="grids, as 512, 48x48 or 8x32x32; the training grid is always included",
    )
    extend: list[Literal["none", "pi", "refit", "edges", "ntk", "yarn", "yarn-paper"]] = Field(
        ["none"],
        description="methods of extension, where an encoding supports them; none is included",
    )
    shuffle: bool = Field(
        False, description="also evaluates the training grid with its patches in random order"
    )
    limit: int | None = Field(
        None, ge=1, description="maximum test items or blocks of text; null: training.test_limit"
    )


def _is_job_time(budget: Budget) -> Budget:
    if _is_time(budget).amount < 300:  # notice of the end may come 150 s before it
        raise ValueError("must be at least 5m")
    return budget


def _one_word(text: str) -> str:
    if not re.fullmatch(r"[\w.,:=&|*()\[\]@+/-]{1,200}", text):
        raise ValueError("must be one word without spaces or quotes, as for sbatch")
    return text


def _as_memory(text: str) -> str:
    if not re.fullmatch(r"[0-9]{1,9}[KMGT]", text):
        raise ValueError("must be a number and K, M, G or T, as 16G")
    return text


def _one_line(text: str) -> str:
    if not re.fullmatch(r"[^\x00-\x1f\x7f]{1,1000}", text):
        raise ValueError("must be one line of a shell script")
    return text


#: options of sbatch that a job needs as they are
_RESERVED = {"array", "error", "job-name", "open-mode", "output", "requeue", "signal", "time"}


def _option_name(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,50}", text) or text in _RESERVED:
        reserved = ", ".join(sorted(_RESERVED))
        raise ValueError(f"must name options of sbatch, but none of {reserved}")
    return text


#: a value on a line of its own in the script for Slurm
Word = Annotated[str, AfterValidator(_one_word)]
Line = Annotated[str, AfterValidator(_one_line)]
Name = Annotated[str, AfterValidator(_option_name)]


class SlurmSettings(Section):
    """The jobs that train a comparison with ``--launcher slurm``: an array, one job per run."""

    partition: Word | None = Field(None, description="partition of the jobs")
    account: Word | None = Field(None, description="account that the jobs are charged to")
    qos: Word | None = Field(None, description="quality of service")
    time: Annotated[Budget, AfterValidator(_is_job_time)] = Field(
        "1h",
        validate_default=True,
        description="time limit of each job; a longer run continues in another job",
    )
    gpus: int | None = Field(
        None,
        ge=0,
        le=8,
        description="GPUs of each job, which train its run together; null: 1 with --device cuda",
    )
    gres: Word | None = Field(
        None, description="generic resources, where GPUs are requested so, as gpu:a100:1"
    )
    cpus: int = Field(1, ge=1, le=1024, description="CPUs of each job, and most threads of its run")
    memory: Annotated[str, AfterValidator(_as_memory)] | None = Field(
        None, description="memory of each job, as 16G"
    )
    constraint: Word | None = Field(None, description="node features that the jobs require")
    reservation: Word | None = Field(None, description="reservation that the jobs use")
    exclude: Word | None = Field(None, description="nodes to exclude")
    setup: list[Line] = Field(
        [], max_length=100, description="shell lines of the job's script, as module load cuda"
    )
    parameters: dict[Name, Word | int] = Field(
        {}, max_length=50, description="further options of sbatch, as nice: 100"
    )
    srun: list[Word] = Field(
        [], max_length=50, description="further options of srun, as --container-image=FILE"
    )
    resubmissions: int = Field(
        3, ge=0, le=100, description="maximum resubmissions of a run whose job failed unexplained"
    )

    @property
    def device(self) -> str | None:
        """The device of the runs: ``cuda`` where GPUs are requested, ``cpu`` where they are not
        wanted; None: nothing is said of them.
        """
        if self.gpus or (self.gres or "").startswith("gpu"):
            return "cuda"
        return "cpu" if self.gpus == 0 else None

    def gpus_for(self, device: str) -> int:
        """GPUs to request for each job, where ``gres`` does not request them."""
        if self.gpus is not None:
            return self.gpus
        return int(device == "cuda" and not (self.gres or "").startswith("gpu"))

    @property
    def minutes(self) -> int:
        return math.ceil(self.time.amount / 60)


class CompareSettings(Section):
    """The runs of a comparison (encodings x data sets x seeds), and how they are analysed."""

    encodings: list[Spec] = Field(
        [{"name": "none"}, {"name": "axial"}, {"name": "rope-mixed"}, {"name": "liere"}],
        min_length=1,
        description="encodings to compare, as NAME:key=value or mappings with 'name'",
    )
    data: list[
        Annotated[
            DatasetSettings,
            BeforeValidator(
                _as_dataset_settings, json_schema_input_type=DatasetSettings | str | dict[str, Any]
            ),
        ]
    ] = Field(
        [], max_length=1000, description="data sets, one table each; empty: the recipe's data"
    )
    seeds: Annotated[
        list[_Seed],
        BeforeValidator(_as_seeds, json_schema_input_type=int | list[_Seed]),
        AfterValidator(_distinct),
        Field(min_length=1, max_length=10_000),
    ] = Field(
        [0, 1, 2, 3, 4],
        description="seeds of each encoding: a list, or how many from 0 on; verdicts need 5",
    )
    baseline: Annotated[
        list[Spec],
        BeforeValidator(
            lambda value: value if isinstance(value, list) else [value],
            json_schema_input_type=Spec | list[Spec],
        ),
    ] = Field(
        [{"name": "rope"}, {"name": "axial"}],
        min_length=1,
        description="candidates; the first that is compared and defined on the data's axes is used",
    )
    margins: dict[
        Literal["bits_per_byte", "bits_per_token", "top1"], Annotated[float, Field(gt=0)]
    ] = Field(
        {},
        description="smallest relevant difference by metric, for data without its own 'margin'; "
        "0.01 of top1 is one percentage point",
    )
    until_settled: SettleSettings | None = Field(
        None, description="adds seeds to 'seeds' until verdicts are settled; null: adds none"
    )
    aa: bool = Field(
        False,
        description="also compares the baseline with itself at other seeds, as a check of the test",
    )
    tuning: TuningSettings | None = Field(
        None, description="chooses settings for each encoding before the comparison; null: no"
    )
    interaction: InteractionSettings | None = Field(
        None, description="compares gains over the baseline between data sets; null: no"
    )
    over: Annotated[
        list[dict[str, Any]],
        BeforeValidator(
            _as_combinations, json_schema_input_type=list[dict[str, Any]] | dict[str, Any]
        ),
    ] = added(
        [],
        max_length=100,
        description="settings of model and training at which each data set is compared, as "
        "{model.qk_norm: [false, true]}, all combinations, or a list of them; an interaction then "
        "compares gains with each to those with the first",
    )
    parents: Annotated[
        ParentsSettings | None,
        BeforeValidator(_as_parents, json_schema_input_type=ParentsSettings | str | None),
    ] = added(
        None,
        validation_alias=AliasChoices("from", "parents"),
        description="finished runs to go on from, as liere train --from does, each run from that "
        "of its seed; null: new weights",
    )
    fractions: list[Annotated[float, Field(gt=0, le=1)]] = Field(
        [],
        max_length=100,
        description="fractions of the training split at which each data set is compared too",
    )
    transfer: TransferSettings | None = Field(
        None, description="evaluates every run at other lengths or resolutions; null: no"
    )
    all_pairs: bool = Field(
        False,
        description="also compares every pair of encodings, and ranks them",
    )
    best: bool = Field(
        False, description="also says which encodings may be the best, with 95% confidence"
    )
    efficiency: bool = Field(
        False, description="also compares at equal training time, and the cost of equal scores"
    )
    slurm: SlurmSettings = Field(
        SlurmSettings(), description="resources of each job, with --launcher slurm"
    )
