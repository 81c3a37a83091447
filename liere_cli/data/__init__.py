"""Data sets: text, images, video, volumes and generated probes behind one interface."""

from liere_cli.data.base import BYTES, ByteStream, Dataset, Examples, Metric, Split, Task
from liere_cli.data.batches import TrainingBatches, evaluation_batches
from liere_cli.data.external.own import ItemDataset, ItemOptions
from liere_cli.data.options import parse_grid
from liere_cli.data.registry import available, build_dataset, dataset_class, mirror

__all__ = [
    "BYTES",
    "ByteStream",
    "Dataset",
    "Examples",
    "ItemDataset",
    "ItemOptions",
    "Metric",
    "Split",
    "Task",
    "TrainingBatches",
    "available",
    "build_dataset",
    "dataset_class",
    "evaluation_batches",
    "mirror",
    "parse_grid",
]
