"""``liere init``."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument

from liere_cli.cli import console
from liere_cli.errors import UsageError

TEMPLATE = """\
# What do you want to know? A recipe opens with its question.
#
#   liere compare {name} --dry-run         shows the runs, and trains nothing
#   liere compare {name}                   trains what is missing, and judges the differences
#
# Keys after '#' show their default values. All keys: liere schema --keys
# yaml-language-server: $schema={schema}

# the transformer, the same for every encoding
model:
  size: nano                # nano, micro, tiny, base or large
  # dropout: 0.0
  # pooling: mean           # or cls; of images and video

# the optimisation, the same for every encoding
training:
  budget: 1000steps         # or 50Mtokens, 100kexamples, 10m, 2h
  batch: 32
  learning_rate: 0.001
  # warmup: 0.05            # share of the budget
  # weight_decay: 0.05
  # validations: 5          # evenly spaced over the budget
  # validation_limit: null  # examples of each validation; null: all

# encodings x data sets x seeds; liere encodings and liere data list the names
compare:
  seeds: 3                  # more seeds settle smaller differences
  baseline: [rope, axial]   # the first that is defined on the data
  encodings: [none, rope, liere]
  data:
    - stdlib                # Python's own source; enwik8, text:FILE, ...
    # an entry may have encodings and settings of its own
    # - data: cifar100
    #   encodings: [none, axial, rope-mixed, liere]
    #   training: {{budget: 400kexamples, batch: 64}}
  # until_settled: {{max_seeds: 10}}    # adds seeds until each verdict is settled
  # margins: {{top1: 0.01}}             # smallest difference that matters
  # transfer: {{grids: [512, 1024]}}    # also evaluates at other lengths or resolutions
"""


def init(
    name: Annotated[
        str, Argument(metavar="NAME", help="Name or path of the recipe, without .yaml.")
    ] = "recipe",
) -> None:
    """Write a commented recipe to start from. An existing file is kept."""
    from liere_cli.config.files import builtin_recipes
    from liere_cli.config.recipe import check_folder_name
    from liere_cli.config.schema import FILE

    path = Path(name if name.endswith((".yaml", ".yml")) else f"{name}.yaml")
    try:
        check_folder_name(path.stem)
    except ValueError as error:
        raise UsageError(f"{name}: the recipe's name {error}") from None
    if path.stem in builtin_recipes():
        raise UsageError(f"{name}: is the name of a built-in recipe; choose another")
    schema = next(iter(builtin_recipes().values())).with_name(FILE).resolve()
    try:
        with path.open("x") as file:
            file.write(TEMPLATE.format(name=path, schema=schema.as_uri()))
    except FileExistsError:
        raise UsageError(f"{path}: exists already; choose another name") from None
    typer.echo(console.printable(str(path)))
    console.note(f"liere compare {console.printable(str(path))} --dry-run shows its runs")
