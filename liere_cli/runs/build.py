"""Builds a run from its recipe: data set, encoding, model and identity."""

from dataclasses import dataclass
from pathlib import Path

import torch

from liere_cli import __version__
from liere_cli.config.recipe import (
    DEFAULT_MODEL,
    SIZES,
    ModelSettings,
    Recipe,
    TrainingSettings,
)
from liere_cli.config.spec import format_spec, scalar_text
from liere_cli.data import Dataset, build_dataset
from liere_cli.encodings import registry
from liere_cli.errors import UsageError
from liere_cli.model import ModelShape, Transformer, encoding_for
from liere_cli.runs.find import Listing, find_run
from liere_cli.runs.folder import Run
from liere_cli.runs.identity import BFLOAT16, folder_name, identity
from liere_cli.runs.user_model import UserModel, model_digest
from liere_cli.utils.determinism import reserve_workspaces
from liere_cli.utils.devices import has_bfloat16
from liere_cli.utils.torch_modes import cpu_float32


@dataclass(frozen=True)
class RunSpec:
    """A run to train: its resolved recipe, as in recipe.yaml, and what follows from it.

    Args:
        dataset: not yet loaded.
        encoding, data: short labels for tables.
    """

    recipe: Recipe
    dataset: Dataset
    encoding: str
    data: str
    run_id: str

    def run(self, outputs: Path | Listing) -> Run:
        """The run's folder: an existing one of that identity in any experiment, or a new one."""
        if isinstance(outputs, Listing):
            existing, outputs = outputs.find(self.run_id), outputs.outputs
        else:
            existing = find_run(outputs, self.run_id)
        name = folder_name(self.data, self.encoding, self.recipe.seed, self.run_id)
        experiment = self.recipe.experiment or self.dataset.name
        return existing or Run(outputs / experiment / name)


def choose_device(name: str, here: bool = True) -> torch.device:
    """The device named ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Also reserves what deterministic results on it need, which must precede the start of CUDA.

    Raises UsageError for another name, or (if ``here``) a device that this machine does not have.
    """
    reserve_workspaces()
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise UsageError(f"--device {name}: allowed are auto, cpu, cuda and cuda:N")
    count = torch.cuda.device_count()
    if here and device.type == "cuda" and (device.index or 0) >= count:
        available = f"this machine has {count} CUDA devices"
        raise UsageError(
            f"--device {name}: {available if count else 'no CUDA device is available'}; "
            "use --device cpu or auto"
        )
    return device


@cpu_float32()
def assemble(recipe: Recipe, *, root: Path | None = None, device: torch.device) -> RunSpec:
    """Resolves every value of a recipe, and checks that the model can be built.

    ``device`` decides what ``training.precision: auto`` means.

    Raises:
        UsageError: unknown names, options out of range, or sizes that don't fit together.
        LiereError: the data is not available, or damaged.
    """
    if recipe.parent is not None and not recipe.parent.id:
        raise UsageError(f"parent {recipe.parent.run}: only a single run has it, see compare.from")
    encoding = registry.resolve_spec(recipe.encoding)
    dataset = build_dataset(recipe.data, root)
    dim, layers, heads = SIZES[recipe.model.size]
    patch = recipe.model.patch or dataset.patch
    if dataset.task == "language-model":
        if recipe.model.patch not in (None, (1,)):
            raise UsageError(f"model.patch {recipe.model.patch[0]}: text has no patches")
        patch = (1,)
    elif len(patch) == 1:
        patch *= len(dataset.grid)
    sizes: dict[str, int | None] = {
        "layers": recipe.model.layers or layers,
        "dim": recipe.model.dim or dim,
        "heads": recipe.model.heads or heads,
    }
    if recipe.model.kv_heads == sizes["heads"]:
        sizes["kv_heads"] = None  # the same model, and so the same run
    precision = recipe.training.precision
    if precision == "auto":
        precision = "bfloat16" if has_bfloat16(device) else "float32"
    if recipe.training.batch % recipe.training.accumulate:
        raise UsageError(
            f"training.batch {recipe.training.batch} can't be split into "
            f"training.accumulate {recipe.training.accumulate} equal parts"
        )
    resolved = recipe.model_copy(
        update={
            "encoding": encoding,
            "data": {"name": dataset.spec_name or dataset.name, **dataset.options.identifying()},
            "model": recipe.model.model_copy(update=sizes | {"patch": patch}),
            "training": recipe.training.model_copy(update={"precision": precision}),
        }
    )
    encoding_for(model_shape(resolved, dataset), encoding)
    run_id = run_identity(resolved, dataset)
    return RunSpec(resolved, dataset, registry.label(encoding), _data_label(dataset), run_id)


def run_identity(recipe: Recipe, dataset: Dataset) -> str:
    """The identity of a run, from its resolved recipe and its data."""
    spec = recipe.encoding
    digest = registry.code_digest(registry.encoding_class(spec["name"]))
    acts = "encode_qk" in registry.encoding_class(spec["name"]).places
    differs = dataset.task == "classification" or acts
    changed = BFLOAT16 if differs and recipe.training.precision == "bfloat16" else None
    options = registry.identifying_spec(spec)
    model_code = model_digest(recipe.model.name)
    return identity(recipe, options, dataset.fingerprint, digest, changed, model_code)


def _data_label(dataset: Dataset) -> str:
    """The file's name without suffix, or the data set's with the options that are not defaults."""
    options = dataset.options
    if (path := getattr(options, "path", None)) is not None:
        return Path(str(path)).stem
    changed = {
        key: getattr(options, key)
        for key, field in type(options).model_fields.items()
        if getattr(options, key) != field.get_default(call_default_factory=True)
    }
    return format_spec({"name": dataset.name, **changed})


def model_shape(recipe: Recipe, dataset: Dataset) -> ModelShape:
    """The shape of the transformer, from a resolved recipe."""
    model = recipe.model
    if not (model.layers and model.dim and model.heads and model.patch):
        raise ValueError("the recipe is not resolved")
    return ModelShape(
        **model.model_dump(exclude={"size", "name"}),
        causal=dataset.task == "language-model",
        grid=dataset.grid,
        channels=dataset.channels,
        classes=dataset.classes,
    )


@cpu_float32()
def build_model(run_spec: RunSpec) -> Transformer:
    """The model on the CPU, initialised by the run's seed."""
    shape, encoding = model_shape(run_spec.recipe, run_spec.dataset), run_spec.recipe.encoding
    name = run_spec.recipe.model.name
    own = name == DEFAULT_MODEL
    model = Transformer(shape, encoding) if own else UserModel(shape, encoding, name)
    model.initialise(run_spec.recipe.seed)
    return model


def _blocks(model: ModelSettings) -> list[str]:
    """The settings of the model that are not as in every earlier run, as ``qk_norm=true``."""
    before = ModelSettings.before()
    changed = {key: getattr(model, key) for key in before if getattr(model, key) != before[key]}
    return [f"{key}={scalar_text(value)}" for key, value in changed.items()]


def tested(training: TrainingSettings) -> str:
    """How much of the test split a run is evaluated on: ``all``, a number of items, or ``none``."""
    return str(training.test_limit or "all") if training.tested else "none"


def signature(run_spec: RunSpec) -> str:
    """One line of the settings and versions behind a result, as sacreBLEU's signatures."""
    recipe = run_spec.recipe
    model = recipe.model
    parts = {
        "encoding": run_spec.encoding,
        "data": f"{run_spec.data}@{run_spec.dataset.fingerprint}",
        **({"fraction": f"{fraction:g}"} if (fraction := recipe.training.fraction) < 1 else {}),
        "grid": "x".join(map(str, run_spec.dataset.grid)),
        "model": f"{model.dim}/{model.layers}/{model.heads}",
        **({"blocks": ",".join(blocks)} if (blocks := _blocks(model)) else {}),
        **({"from": recipe.parent.id} if recipe.parent else {}),
        "budget": recipe.training.budget,
        "batch": recipe.training.batch,
        "precision": recipe.training.precision,
        "tested": tested(recipe.training),
        "seed": recipe.seed,
        "torch": torch.__version__,
        "liere": __version__,
        "id": run_spec.run_id,
    }
    return "|".join(f"{key}:{value}" for key, value in parts.items())
