"""Copies between devices."""

import torch
from torch import Tensor

CPU = torch.device("cpu")


def send(values: Tensor, device: torch.device) -> Tensor:
    """``values`` on a device; a copy to a GPU overlaps with its work, and nothing waits for it."""
    if device.type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)
