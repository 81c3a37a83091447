"""Where runs lie, where data lies, and on what models are computed."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Context:
    """What every step of an experiment shares, whatever its recipe.

    Args:
        data_root: folder of local copies of the data sets; None: LIERE_DATA, or downloads.
        device: ``cpu``, ``cuda`` or ``cuda:N``; it decides what ``training.precision: auto`` means.
        experiment: folder of a comparison's runs, under ``outputs``.
        log: loggers that record the training of runs, by name.
        gpus_per_run: GPUs that train each run together.
    """

    outputs: Path
    data_root: Path | None = None
    device: str = "cpu"
    experiment: str = ""
    log: tuple[str, ...] = ()
    gpus_per_run: int = 1

    @property
    def torch_device(self) -> "torch.device":
        """The device as torch has it."""
        import torch

        return torch.device(self.device)
